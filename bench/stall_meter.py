"""How well does the stall meter see, and what does it cost? Prints a table, asserts nothing.

    python bench/stall_meter.py

Sight: stalls of known start and length are put on a metered loop, and what the meter reports is
held against them. Cost: a saturated loop with the meter and without, in turns, and asyncio's own
debug mode beside them.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import random
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import anyio

from helpers.lab.stall_meter import FLOOR, BlockedStep, StallMeter, Stretch

LENGTHS = (0.001, 0.002, 0.005, 0.010, 0.020, 0.050, 0.100, 0.200)
TIMES = 20
ROUNDS = 7
HANDOVERS = 40_000


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def python_loop(seconds: float) -> None:
    end = time.thread_time() + seconds
    any(time.thread_time() >= end for _ in itertools.count())


def c_loop(seconds: float) -> None:
    sum(itertools.repeat(1, int(seconds * C_RATE)))


def c_sleep(seconds: float) -> None:
    HOLDING_THE_GIL.usleep(int(seconds * 1e6))


def c_rate() -> float:
    """Turns of `c_loop` in a second."""
    turns, times = 300_000, []
    for _ in range(9):
        began = perf_counter()
        sum(itertools.repeat(1, turns))
        times.append(perf_counter() - began)
    return turns / statistics.median(times)


HOLDING_THE_GIL: Any = None if sys.platform == "win32" else ctypes.PyDLL(None)
C_RATE = c_rate()


@dataclass(frozen=True)
class Kind:
    name: str
    act: Callable[[float], None]
    waits: bool

    @property
    def line(self) -> int:
        """The last line of the function is the guilty one."""
        return max(line for *_, line in self.act.__code__.co_lines() if line is not None)


KINDS = [
    Kind("time.sleep", sleep, True),
    Kind("Python loop", python_loop, False),
    Kind("C loop, GIL held", c_loop, False),
    *([Kind("C sleep, GIL held", c_sleep, True)] if HOLDING_THE_GIL else []),
]


@dataclass(frozen=True)
class Injected:
    kind: Kind
    aim: float
    start: float
    end: float


def main() -> None:
    for backend in ("asyncio", "trio"):
        print_sight(backend)
    print_cost("call_soon chain", chain)
    print_cost("queue ping-pong", ping_pong)
    print_cost("echo over a socket pair", echo)


def print_sight(backend: str) -> None:
    injected, found = inject(backend)
    steps = [each for each in found if isinstance(each, BlockedStep)]
    print(f"{backend}: {TIMES} stalls of each kind and length; the floor is {FLOOR * 1000:.0f} ms")
    print("stall                       seen  error in ms  line  waiting or computing")
    print("                             %    med.  max.    %           %")
    for kind in KINDS:
        for aim in LENGTHS:
            print_row(kind, aim, [i for i in injected if (i.kind, i.aim) == (kind, aim)], steps)
    alien = sum(not any(holds(step, each) for each in injected) for step in steps)
    print(f"reported, but not injected  {alien}\n")


def print_row(kind: Kind, aim: float, injected: list[Injected], steps: list[BlockedStep]) -> None:
    pairs = [(each, step) for each in injected for step in steps if holds(step, each)]
    row = f"{kind.name:<20}{aim * 1000:4.0f} ms {share(len(pairs), len(injected))}"
    if pairs:
        errors = [abs(step.seconds - (each.end - each.start)) * 1000 for each, step in pairs]
        named = sum(
            step.frame is not None and step.frame[:2] == (__file__, kind.line) for _, step in pairs
        )
        judged = sum(
            step.cpu_share is not None and (step.cpu_share < 0.5) == kind.waits for _, step in pairs
        )
        row += f"  {statistics.median(errors):5.2f} {max(errors):5.2f}"
        row += f"  {share(named, len(pairs))}        {share(judged, len(pairs))}"
    print(row)


def share(part: int, whole: int) -> str:
    return f"{part / whole:5.0%}"


def holds(step: BlockedStep, injected: Injected) -> bool:
    return step.start <= injected.start and injected.end <= step.start + step.seconds


def inject(backend: str) -> tuple[list[Injected], list[BlockedStep | Stretch]]:
    plan = [(kind, aim) for kind in KINDS for aim in LENGTHS] * TIMES
    random.Random(1).shuffle(plan)  # noqa: S311
    injected: list[Injected] = []

    async def body() -> None:
        for kind, aim in plan:
            await anyio.sleep(0.003)
            start = perf_counter()
            kind.act(aim)
            injected.append(Injected(kind, aim, start, perf_counter()))

    found: list[BlockedStep | Stretch] = []
    with StallMeter(found.append) as meter:
        options: dict[str, Any] = {"loop_factory": meter.new_event_loop}
        if backend == "trio":
            options = {"instruments": [meter.trio_instrument()]}
        anyio.run(body, backend=backend, backend_options=options)
    return injected, found


def print_cost(name: str, work: Callable[[], Awaitable[None]]) -> None:
    times: dict[str, list[float]] = {arm: [] for arm in ("bare", "metered", "debug")}
    for _ in range(ROUNDS):
        times["bare"].append(timed(asyncio.Runner(), work))
        with StallMeter(lambda _: None) as meter:
            times["metered"].append(timed(asyncio.Runner(loop_factory=meter.new_event_loop), work))
        times["debug"].append(timed(asyncio.Runner(debug=True), work))
    metered, debug = (
        statistics.median(bare / slow for bare, slow in zip(times["bare"], times[arm], strict=True))
        for arm in ("metered", "debug")
    )
    print(f"{name:<26} throughput with the meter {metered:.2f}, in debug mode {debug:.2f} of bare")


def timed(runner: asyncio.Runner, work: Callable[[], Awaitable[None]]) -> float:
    """Seconds of CPU, the watchdog's included: a neighbour does not change them much."""
    with runner:
        began = time.process_time()
        runner.run(work())  # type: ignore[arg-type]
        return time.process_time() - began


async def chain() -> None:
    """Callbacks that do nothing but call the next one: the dearest case."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def link(left: int) -> None:
        if left:
            loop.call_soon(link, left - 1)
        else:
            done.set_result(None)

    link(HANDOVERS)
    await done


async def ping_pong() -> None:
    there: asyncio.Queue[int] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def pong() -> None:
        while True:
            await back.put(await there.get())

    player = asyncio.create_task(pong())
    for turn in range(HANDOVERS // 2):
        await there.put(turn)
        await back.get()
    player.cancel()


async def echo() -> None:
    """What an LLM client does all day: small pieces over a socket."""
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    far_reader, far_writer = await asyncio.open_connection(sock=far)

    async def answer() -> None:
        while piece := await far_reader.readline():
            far_writer.write(piece)

    answerer = asyncio.create_task(answer())
    for _ in range(HANDOVERS // 10):
        writer.write(b'data: {"choices": [{"delta": {"content": " token"}}]}\n')
        await reader.readline()
    writer.close()
    await answerer
    far_writer.close()


if __name__ == "__main__":
    main()
