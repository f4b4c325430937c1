"""Every lesson ten times under nbval, two at a time, while a process burns a core: ``make soak``.

Prints a line per round; the exit status is the number of rounds that failed.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time

ROUNDS = 10


def _burn() -> None:
    while True:
        pass


def main() -> int:
    burner = multiprocessing.Process(target=_burn, daemon=True)
    burner.start()
    failed = 0
    for number in range(1, ROUNDS + 1):
        start = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "notebooks"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        verdict = "passed" if done.returncode == 0 else "FAILED"
        seconds = time.monotonic() - start
        print(f"round {number} of {ROUNDS}: {verdict} in {seconds:.0f} s", flush=True)
        if done.returncode:
            failed += 1
            print(done.stdout)
    burner.kill()
    return failed


if __name__ == "__main__":
    sys.exit(main())
