"""How well does the stall meter see, and what does it cost? Prints tables, asserts nothing.

    python bench/stall_meter.py [TIMES]

Sight: stalls of known start, length and line are put on a metered loop, ``TIMES`` of each kind and
length (3 by default, about three minutes), and what the meter reports is held against them. Cost: a
saturated loop with the meter and without, in turns, and next to them asyncio's own debug mode.
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import gc
import inspect
import itertools
import json
import queue
import random
import re
import select
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel

from helpers.lab.stall_meter import BlockedStep, StallMeter, Stretch

LENGTHS = (0.002, 0.004, 0.006, 0.008, 0.010, 0.011, 0.013, 0.016, 0.025, 0.040, 0.100)
CLASSES = ((0, 0.005), (0.005, 0.006), (0.006, 0.0105), (0.0105, 0.025), (0.025, 1))
"""Seconds: the rows of the table, by true length."""
TIMES = 3
ROUNDS = 7
HANDOVERS = 40_000
LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


# What blocks the loop. Each function blocks it in its line that ends with "guilty". The line after
# it calls something, so that it would be taken for the guilty one.


def nothing(*_: object) -> None:
    """Comes after the guilty line."""


def time_sleep(seconds: float) -> None:
    time.sleep(seconds)  # guilty
    nothing()


def event_wait(seconds: float) -> None:
    threading.Event().wait(seconds)  # guilty
    nothing()


def lock_acquire(seconds: float) -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire(timeout=seconds)  # guilty
    nothing()


def queue_get(seconds: float) -> None:
    with suppress(queue.Empty):
        queue.Queue[int]().get(timeout=seconds)  # guilty
    nothing()


def future_result(seconds: float) -> None:
    with suppress(TimeoutError):
        Future[int]().result(timeout=seconds)  # guilty
    nothing()


def select_select(seconds: float) -> None:
    select.select([], [], [], seconds)  # guilty
    nothing()


def socket_recv(seconds: float) -> None:
    near, far = socket.socketpair()
    near.settimeout(seconds)
    with near, far, suppress(TimeoutError):
        near.recv(1)  # guilty
    nothing()


def thread_join(seconds: float) -> None:
    thread = threading.Thread(target=time.sleep, args=(seconds,))
    thread.start()
    thread.join()  # guilty
    nothing()


def sqlite_lock(seconds: float) -> None:
    database = sqlite3.connect(LOCKED_DATABASE, timeout=seconds)
    with suppress(sqlite3.OperationalError):
        database.execute("insert into t values (1)")  # guilty
    database.close()


def subprocess_run(seconds: float) -> None:
    subprocess.run(["sleep", str(seconds)], check=True)  # guilty
    nothing()


def sleep_with_the_gil(seconds: float) -> None:
    HOLDING_THE_GIL.usleep(int(seconds * 1e6))  # guilty
    nothing()


def nested_sleep(seconds: float, depth: int = 40) -> None:
    if depth:
        nested_sleep(seconds, depth - 1)
        return
    time.sleep(seconds)  # guilty
    nothing()


def python_loop(seconds: float) -> None:
    end = time.thread_time() + seconds
    any(time.thread_time() >= end for _ in itertools.count())  # guilty
    nothing()


def python_while(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:  # guilty
        pass
    nothing()


def list_comprehension(size: int) -> None:
    squares = [n * n for n in range(size)]  # guilty
    nothing(squares)


def generator(size: int) -> None:
    def count() -> Iterator[int]:
        for n in range(size):
            yield n * n  # guilty

    for _ in count():  # guilty
        pass  # guilty


def c_loop(size: int) -> None:
    total = sum(itertools.repeat(1, size))  # guilty
    nothing(total)


def sort(items: list[float]) -> None:
    count = len(items)
    ordered = sorted(items)  # guilty
    nothing(ordered, count)


def sort_after_a_call(items: list[float]) -> None:
    began = time.perf_counter()
    ordered = sorted(items)  # guilty
    nothing(ordered, began)


def sort_for_an_argument(items: list[float]) -> None:
    nothing(
        1,
        sorted(items),  # guilty
    )
    nothing()


def regex(text: str) -> None:
    found = re.findall("[ab]+$", text)  # guilty
    nothing(found)


def json_loads(text: str) -> None:
    found = json.loads(text)  # guilty
    nothing(found)


def deep_copy(items: list[list[int]]) -> None:
    copied = copy.deepcopy(items)  # guilty
    nothing(copied)


def join(items: list[str]) -> None:
    text = "".join(items)  # guilty
    nothing(text)


def multiply(number: int) -> None:
    square = number * number  # guilty
    nothing(square)


def multiply_in_place(number: int) -> None:
    number *= number  # guilty
    nothing(number)


def contains(items: list[int]) -> None:
    found = -1 in items  # guilty
    nothing(found)


def if_contains(items: list[int]) -> None:
    if -1 in items:  # guilty
        return
    nothing()


def equal(pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    same = one == other  # guilty
    nothing(same)


def reverse(items: list[int]) -> None:
    turned = items[::-1]  # guilty
    nothing(turned)


def concatenate(items: list[int]) -> None:
    longer = items + items  # guilty
    nothing(longer)


def format_string(items: list[int]) -> None:
    text = f"{items}"  # guilty
    nothing(text)


def percent_format(items: list[int]) -> None:
    text = "%s" % (items,)  # noqa: UP031  # guilty
    nothing(text)


def repeat(size: int) -> None:
    zeros = [0] * size  # guilty
    nothing(zeros)


def unpack(items: list[int]) -> None:
    first, *rest = items  # guilty
    nothing(first, rest)


def spread(items: list[int]) -> None:
    both = [*items, *items]  # guilty
    nothing(both)


def merge(mapping: dict[int, int]) -> None:
    merged = {**mapping, -1: 1}  # guilty
    nothing(merged)


def union(numbers: set[int]) -> None:
    more = numbers | {-1}  # guilty
    nothing(more)


def multiply_and_return(number: int) -> int:
    return number * number  # guilty


def returned(number: int) -> None:
    square = multiply_and_return(number)  # calls it
    nothing(square)


def delete(items: list[list[int]]) -> None:
    began = perf_counter()
    del items[:]  # guilty
    nothing(began)


class Closing:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        time.sleep(self.seconds)  # guilty
        nothing()

    @property
    def slow(self) -> int:
        time.sleep(self.seconds)  # guilty
        return 1

    def __mul__(self, other: object) -> int:
        time.sleep(self.seconds)  # guilty
        return 1


def context_manager(seconds: float) -> None:
    with Closing(seconds):
        nothing()
    nothing()


def attribute(seconds: float) -> None:
    nothing(Closing(seconds).slow)


def operator(seconds: float) -> None:
    nothing(Closing(seconds) * 1)


class Finalized:
    seconds = 0.0

    def __del__(self) -> None:
        time.sleep(self.seconds)  # guilty
        nothing()


def finalizer(seconds: float) -> None:
    one = Finalized()
    one.seconds = seconds
    del one
    nothing()


class Cycle:
    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        nothing()


def gc_collect(young: list[list[int]]) -> None:
    count = len(young)
    gc.collect()  # guilty
    nothing(count)


def collection(young: list[list[int]]) -> None:
    gc.enable()
    boxed = [young]  # guilty
    gc.disable()
    nothing(boxed)


def prelude(seconds: float) -> None:
    python_loop(seconds / 10)
    time.sleep(seconds)  # guilty
    nothing()


def size_for(act: Callable[[Any], object], make: Callable[[int], Any], power: float) -> float:
    """What to multiply ``seconds ** (1 / power)`` by to get a size that takes as long."""
    size, seconds = 500, 0.0
    while seconds < 0.01:
        size *= 2
        seconds = statistics.median(timed_call(act, make(size)) for _ in range(3))
    return float(size / seconds ** (1 / power))


def timed_call(act: Callable[[Any], object], argument: object) -> float:
    began = perf_counter()
    act(argument)
    return perf_counter() - began


def young_garbage(size: int) -> list[list[int]]:
    """Objects that the next collection looks through, and a cycle that it frees."""
    gc.freeze()
    Cycle()
    return lists(size)


def lists(size: int) -> list[list[int]]:
    return [[n] for n in range(size)]


def floats(size: int) -> list[float]:
    return [random.random() for _ in range(size)]  # noqa: S311


def numbers(size: int) -> list[int]:
    return list(range(size))


HOLDING_THE_GIL: Any = None if sys.platform == "win32" else ctypes.PyDLL(None)
LOCKED_DATABASE = ""


def marked(function: Callable[..., object], comment: str) -> set[int]:
    """The numbers of the lines that end with the comment."""
    lines, first = inspect.getsourcelines(function)
    return {n for n, line in enumerate(lines, first) if line.rstrip().endswith(f"# {comment}")}


@dataclass(frozen=True)
class Kind:
    act: Callable[[Any], object]
    waits: bool = False
    make: Callable[[int], Any] | None = None
    """Its argument, of a certain size; None if it takes seconds."""
    power: float = 1
    """Of the size, that its seconds grow with."""
    at: Callable[..., object] | None = None
    """The function with the guilty line, if it is another one."""

    @property
    def name(self) -> str:
        return self.act.__name__

    @cached_property
    def guilty(self) -> set[int]:
        return marked(self.at or self.act, "guilty")

    @cached_property
    def calling(self) -> set[int]:
        """Lines of the functions that call the guilty one."""
        return marked(self.act, "calls it") | marked(inject, "calls it")

    @cached_property
    def rate(self) -> float:
        return size_for(self.act, self.make, self.power) if self.make else 1

    def argument(self, seconds: float) -> Any:
        if self.make is None:
            return seconds
        return self.make(int(self.rate * seconds ** (1 / self.power)))


WAITS = [
    *(Kind(act, True) for act in (time_sleep, event_wait, lock_acquire, queue_get, future_result)),
    *(Kind(act, True) for act in (select_select, socket_recv, thread_join, sqlite_lock)),
    *(Kind(act, True) for act in (subprocess_run, nested_sleep, prelude)),
    *([Kind(sleep_with_the_gil, True)] if HOLDING_THE_GIL else []),
    Kind(context_manager, True, at=Closing.__exit__),
    Kind(attribute, True, at=Closing.slow.fget),  # type: ignore[attr-defined]
    Kind(operator, True, at=Closing.__mul__),
    Kind(finalizer, True, at=Finalized.__del__),
]
CALLS = [
    Kind(python_loop),
    Kind(python_while),
    Kind(list_comprehension, make=int),
    Kind(generator, make=int),
    Kind(c_loop, make=int),
    *(Kind(act, make=floats) for act in (sort, sort_after_a_call, sort_for_an_argument)),
    Kind(regex, make=lambda size: "ab" * int(size**0.5) + "c", power=1),
    Kind(json_loads, make=lambda size: json.dumps(list(range(size)))),
    Kind(deep_copy, make=lists),
    Kind(join, make=lambda size: ["ab"] * size),
    Kind(gc_collect, make=young_garbage),
]
OPERATORS = [
    Kind(multiply, make=lambda size: 3**size, power=1.58),
    Kind(multiply_in_place, make=lambda size: 3**size, power=1.58),
    Kind(contains, make=numbers),
    Kind(if_contains, make=numbers),
    Kind(equal, make=lambda size: (numbers(size), numbers(size))),
    *(Kind(act, make=numbers) for act in (reverse, concatenate, format_string, percent_format)),
    Kind(repeat, make=int),
    *(Kind(act, make=numbers) for act in (unpack, spread)),
    Kind(merge, make=lambda size: dict.fromkeys(range(size), 1)),
    Kind(union, make=lambda size: set(range(size))),
    Kind(returned, make=lambda size: 3**size, power=1.58, at=multiply_and_return),
    Kind(delete, make=lists),
    Kind(collection, make=young_garbage),
]
GROUPS = {"waits": WAITS, "calls that compute": CALLS, "operators, collector": OPERATORS}


@dataclass(frozen=True)
class Injected:
    kind: Kind
    start: float
    end: float
    computed: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def length(self) -> float:
        """Without what other processes added to it."""
        return self.seconds if self.kind.waits else self.computed


def main() -> None:
    global LOCKED_DATABASE
    times = int(sys.argv[1]) if len(sys.argv) > 1 else TIMES
    gc.disable()
    with tempfile.TemporaryDirectory() as folder:
        LOCKED_DATABASE = f"{folder}/locked"
        lock = sqlite3.connect(LOCKED_DATABASE, isolation_level=None)
        lock.execute("create table t (x)")
        lock.execute("begin exclusive")
        for backend in ("asyncio", "trio"):
            print_sight(backend, times)
        lock.close()
    gc.enable()
    gc.unfreeze()
    print_cost("call_soon chain", chain)
    print_cost("queue ping-pong", ping_pong)
    print_cost("echo over a socket pair", echo)


def print_sight(backend: str, times: int) -> None:
    injected, prepared, found = inject(backend, times)
    steps = [each for each in found if isinstance(each, BlockedStep)]
    kinds = sum(map(len, GROUPS.values()))
    print(f"{backend}: {kinds} kinds x {len(LENGTHS)} lengths x {times}")
    print("true length in ms   injected  found   line: right  range  caller  none  wrong", end="")
    print("   error in ms: median  95 %   waiting or computing: right")
    wrong: Counter[str] = Counter()
    for group, members in GROUPS.items():
        print(group)
        for shortest, longest in CLASSES:
            row = [i for i in injected if i.kind in members and shortest <= i.length < longest]
            if row:
                wrong += print_row(f"  {shortest * 1000:g} to {longest * 1000:g}", row, steps)
    spans = [(i.start, i.end) for i in injected] + prepared
    alien = sum(not any(overlap(step, span) for span in spans) for step in steps)
    print(f"wrong lines: {', '.join(f'{name} {n}' for name, n in wrong.items()) or 'none'}")
    print(f"reported, but not injected: {alien}\n", flush=True)


def print_row(title: str, injected: list[Injected], steps: list[BlockedStep]) -> Counter[str]:
    """The kinds of those whose line is wrong, counted."""
    pairs = [(each, step) for each in injected for step in steps if holds(step, each)]
    lines = Counter(line(step, each.kind) for each, step in pairs)
    errors = sorted(abs(step.seconds - each.seconds) * 1000 for each, step in pairs)
    judged = sum(
        step.cpu_share is not None and (step.cpu_share < 0.5) == each.kind.waits
        for each, step in pairs
    )
    print(f"{title:<18} {len(injected):9} {len(pairs):6}", end="")
    for outcome, width in (("right", 12), ("range", 6), ("caller", 7), ("none", 5), ("wrong", 6)):
        print(f" {lines[outcome]:{width}}", end="")
    if errors:
        print(f" {statistics.median(errors):19.2f} {errors[int(0.95 * len(errors))]:6.2f}", end="")
        print(f" {judged:20} of {len(pairs)}", end="")
    print()
    return Counter(each.kind.name for each, step in pairs if line(step, each.kind) == "wrong")


def line(step: BlockedStep, kind: Kind) -> str:
    if step.frame is None:
        return "none"
    lines = set(range(step.frame[1], (step.last_line or step.frame[1]) + 1))
    if step.frame[0] == __file__ and kind.guilty & lines:
        return "range" if step.last_line else "right"
    # What the guilty function drops as it returns belongs to it, but is done in this line.
    return "caller" if step.frame[0] == __file__ and kind.calling & lines else "wrong"


def overlap(step: BlockedStep, span: tuple[float, float]) -> bool:
    return step.start < span[1] and span[0] < step.start + step.seconds


def holds(step: BlockedStep, injected: Injected) -> bool:
    return step.start <= injected.start and injected.end <= step.start + step.seconds


def inject(
    backend: str, times: int
) -> tuple[list[Injected], list[tuple[float, float]], list[BlockedStep | Stretch]]:
    """What was injected, when that was prepared, and what the meter reports."""
    kinds = [kind for group in GROUPS.values() for kind in group]
    plan = [(kind, length) for kind in kinds for length in LENGTHS] * times
    random.Random(1).shuffle(plan)  # noqa: S311
    for kind in kinds:
        kind.rate  # noqa: B018 - measured now, not on the loop
    injected: list[Injected] = []
    prepared: list[tuple[float, float]] = []

    async def body() -> None:
        for kind, length in plan:
            began = perf_counter()
            argument = kind.argument(length)
            prepared.append((began, perf_counter()))
            await anyio.sleep(0.003)
            start, computed = perf_counter(), time.thread_time()
            kind.act(argument)  # calls it
            computed = time.thread_time() - computed
            injected.append(Injected(kind, start, perf_counter(), computed))
            await anyio.lowlevel.checkpoint()
            began = perf_counter()
            del argument
            prepared.append((began, perf_counter()))

    found: list[BlockedStep | Stretch] = []
    with StallMeter(found.append) as meter:
        options: dict[str, Any] = {"loop_factory": meter.new_event_loop}
        if backend == "trio":
            options = {"instruments": [meter.trio_instrument()]}
        anyio.run(body, backend=backend, backend_options=options)
    return injected, prepared, found


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
    """Callbacks that do nothing but call the next one: the most expensive case."""
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
