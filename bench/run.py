"""Runs the benchmarks one after another: ``make bench``.

    python bench/run.py [NAME ...]

Only the ratios can be compared between machines, so the header names this one.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
NAMES = ("stall_meter", "server", "peers", "lesson")


def main() -> int:
    names = sys.argv[1:] or NAMES
    print(header(), flush=True)
    failed = [name for name in names if not runs(name)]
    if failed:
        print(f"\nnot finished: {', '.join(failed)}")
    return bool(failed)


def header() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    lines = [
        f"{platform.platform()}, {platform.machine()}, {processor()}",
        f"{python}, {cores()} cores{load()}, {time.strftime('%Y-%m-%d')}",
    ]
    return "\n".join(lines)


def processor() -> str:
    """The processor's name: Linux hides it in a file."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2] for line in info.splitlines() if line.startswith("model name"))
    return next(names, platform.processor()).strip()


def cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load() -> str:
    """A machine that is busy already measures badly."""
    return f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""


def runs(name: str) -> bool:
    print(f"\n--- {name}", flush=True)
    began = time.perf_counter()
    done = subprocess.run([sys.executable, HERE / f"{name}.py"], check=False)
    print(f"({time.perf_counter() - began:.0f} s)", flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
