"""An arm runs in a process of its own; what it does comes back."""

import asyncio
import marshal
import os
import signal
import threading
import time
from collections.abc import Coroutine
from itertools import pairwise
from pathlib import Path
from types import CodeType
from typing import Any

import anyio
import cloudpickle
import httpx
import psutil
import pytest

from helpers.lab import ArmError, Comparison, Run, Snapshot, compare_arms, run_arm
from helpers.mock_llm import MockLLM


def in_loop(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def children() -> set[int]:
    """Processes under this one that may run an arm."""
    return {p.pid for p in psutil.Process().children(recursive=True)}


def body(question: str) -> dict[str, Any]:
    return {"model": "mock-1", "messages": [{"role": "user", "content": question}]}


async def returns(value: Any) -> Any:
    return {"got": value, "pid": os.getpid()}


async def raises() -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, 1)
        raise LookupError("no such turn")


async def hangs() -> None:
    await anyio.sleep(0.05)
    time.sleep(600)


async def waits_forever() -> None:
    await anyio.sleep_forever()


async def spans() -> tuple[float, float]:
    """From when to when it ran, on the clock of the machine."""
    start = time.perf_counter()
    await anyio.sleep(0.1)
    return start, time.perf_counter()


def hangs_without_a_loop() -> None:
    threading.Event().wait()


def test_the_result_comes_back_from_another_process() -> None:
    run = in_loop(run_arm(returns, None, [1, 2]))
    assert run.outcome == "returned"
    assert run.result["got"] == [1, 2]
    assert run.result["pid"] != os.getpid()
    assert run.backend == "asyncio"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_both_event_loops_have_a_heartbeat(backend: Any) -> None:
    async def rests() -> None:
        await anyio.sleep(0.3)

    run = in_loop(run_arm(rests, None, backend=backend))
    assert run.backend == backend
    assert 3 <= len(run.beats) <= 15


def test_a_plain_function_is_an_arm_too() -> None:
    run = in_loop(run_arm(sum, None, [1, 2, 3], name="adds"))
    assert (run.result, run.backend, run.beats) == (6, "none", ())


def test_what_the_arm_prints_appears(capsys: pytest.CaptureFixture[str]) -> None:
    async def speaks() -> None:
        print("one")
        await anyio.sleep(0.12)
        print("two")

    run = in_loop(run_arm(speaks, None))
    assert run.printed == "one\ntwo\n"
    assert capsys.readouterr().out == "one\ntwo\n"


def test_what_the_arm_raises_comes_back_with_its_line() -> None:
    with pytest.raises(
        ArmError, match=r"^raises raised LookupError at test_arm\.py, line"
    ) as caught:
        in_loop(run_arm(raises, None))
    failure = caught.value.run.failure
    assert failure is not None
    assert failure.where is not None
    assert failure.where.code == 'raise LookupError("no such turn")'
    assert "no such turn" in failure.traceback
    assert failure.stack[-1] == failure.where
    assert caught.value.run.outcome == "raised"


def test_lines_keep_their_file_s_name_whatever_cloudpickle_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From 3.1.3 on it drops the names."""

    def drop(code: CodeType) -> Any:
        return marshal.loads, (marshal.dumps(code.replace(co_filename="<dynamic-code>")),)

    async def by_value() -> None:
        raise LookupError

    monkeypatch.setitem(cloudpickle.Pickler.dispatch_table, CodeType, drop)
    with pytest.raises(ArmError, match=r"^by_value raised LookupError at test_arm\.py, line"):
        in_loop(run_arm(by_value, None))


@pytest.mark.parametrize("arm", [hangs, waits_forever, hangs_without_a_loop])
def test_a_hung_arm_is_ended_at_its_limit(arm: Any) -> None:
    before = children()
    run = in_loop(run_arm(arm, None, limit=0.5))
    assert run.outcome == "gave up"
    assert run.seconds == run.limit == 0.5
    assert len(children() - before) <= 1  # the fork server, if this is the first arm


def test_a_hung_arm_names_the_line_that_hangs() -> None:
    run = in_loop(run_arm(hangs, None, limit=0.6))
    culprit = run.culprits[0]
    assert culprit.where.code == "time.sleep(600)"
    assert culprit.waiting
    assert run.stalls[-1].seconds > 0.3


def test_cancelling_ends_the_arm(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    async def writes_its_pid(path: str) -> None:
        Path(path).write_text(str(os.getpid()))
        time.sleep(600)

    async def main() -> None:
        task = asyncio.create_task(run_arm(writes_its_pid, None, str(file)))
        with anyio.fail_after(30):
            while not (file.exists() and file.read_text()):
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    in_loop(main())
    assert not psutil.pid_exists(int(file.read_text()))


LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("arm", "args", "sentence"),
    [
        (lambda: LOCK.locked(), (), "`LOCK`, a lock, cannot be sent there"),
        (returns, (LOCK,), "argument 1 cannot be sent there"),
        (lambda: threading.Lock(), (), "returned a lock, which cannot be sent back"),
    ],
)
def test_what_cannot_be_sent_gets_one_sentence(arm: Any, args: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence) as caught:
        in_loop(run_arm(arm, None, *args, name="arm"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (signal.SIGKILL, r"^dies was killed \(SIGKILL\), as the system does when memory runs out$"),
        (signal.SIGSEGV, r"^dies crashed in C code \(SIGSEGV, a segmentation fault\)$"),
        (signal.SIGABRT, r"^dies was ended by a signal \(SIGABRT\)$"),
        (None, r"^dies ended its own process with exit status 3, as os\._exit does$"),
    ],
)
def test_an_arm_whose_process_dies_is_named_with_the_cause(
    number: signal.Signals | None, sentence: str
) -> None:
    def dies() -> None:
        if number is None:
            os._exit(3)
        os.kill(os.getpid(), number)

    for _ in range(5):
        with pytest.raises(ArmError, match=sentence) as caught:
            in_loop(run_arm(dies, None))
        assert caught.value.run.outcome == "died"


def test_the_server_s_books_are_on_the_arm_s_clock() -> None:
    async def asks(url: str) -> None:
        async with httpx.AsyncClient() as client, anyio.create_task_group() as tasks:
            for number in range(5):
                tasks.start_soon(one, client, f"{url}/chat/completions", str(number))

    async def one(client: httpx.AsyncClient, url: str, question: str) -> None:
        (await client.post(url, json=body(question))).raise_for_status()

    with MockLLM("medium", speed=4, answer_tokens=8) as llm:
        run = in_loop(run_arm(asks, llm))
    assert run.peak_in_flight == run.answered == 5
    assert len(run.connections) == 5
    for request in run.requests:
        assert request.last_byte is not None
        assert -0.001 <= request.arrival < request.last_byte <= run.seconds
    assert 0 < run.makespan < run.seconds


def test_a_stream_s_chunks_are_on_the_arm_s_clock() -> None:
    async def streams(url: str) -> None:
        question = body("one") | {"stream": True}
        async with httpx.AsyncClient() as client:
            await client.post(f"{url}/chat/completions", json=question)

    with MockLLM("medium", speed=4, answer_tokens=8) as llm:
        (request,) = in_loop(run_arm(streams, llm)).requests
    assert request.chunks  # a busy server sends in one piece what is due together
    assert request.first_byte is not None
    assert request.last_byte is not None
    times = [0, request.first_byte, *request.chunks, request.last_byte]
    assert times == sorted(times)


def test_each_run_starts_with_clean_books() -> None:
    async def asks(url: str) -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{url}/chat/completions", json=body("one"))

    with MockLLM() as llm:
        runs = [in_loop(run_arm(asks, llm)) for _ in range(2)]
    assert [len(run.requests) for run in runs] == [1, 1]


def test_a_watcher_sees_the_line_that_blocks_now() -> None:
    seen: list[Snapshot] = []
    in_loop(run_arm(hangs, None, limit=0.8, watch=seen.append))
    assert any(s.blocked_where and s.blocked_where.code == "time.sleep(600)" for s in seen)
    assert [s.elapsed for s in seen] == sorted(s.elapsed for s in seen)


def test_arms_take_turns() -> None:
    async def first() -> None:
        await anyio.sleep(0.01)

    async def second() -> None:
        await anyio.sleep(0.01)

    order: list[str] = []
    comparison = in_loop(
        compare_arms(
            {"a": first, "b": second}, None, repeats=2, done=lambda run: order.append(run.arm)
        )
    )
    assert order == ["a", "b", "a", "b"]
    assert {name: len(runs) for name, runs in comparison.arms.items()} == {"a": 2, "b": 2}


def test_two_runs_at_once_wait_for_each_other() -> None:
    async def rests() -> float:
        await anyio.sleep(0.1)
        return time.perf_counter()

    async def main() -> tuple[Run, Run]:
        return await asyncio.gather(run_arm(rests, None), run_arm(rests, None))

    runs = in_loop(main())
    assert runs[1].result - runs[0].result >= 0.1


def test_a_run_in_another_thread_waits_too() -> None:
    """JupyterLab handles a click in a what-if panel in a thread with a loop of its own."""
    runs: list[Run] = []

    def work() -> None:
        runs.append(in_loop(run_arm(spans, None)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    spent = sorted(run.result for run in runs)
    assert len(spent) == 3
    assert all(before[1] <= after[0] for before, after in pairwise(spent))


def test_runs_survive_json(tmp_path: Path) -> None:
    run = in_loop(run_arm(hangs, None, limit=0.4))
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json") == run
    comparison = Comparison({"hangs": (run,)}, noise=0.001)
    comparison.save(tmp_path / "comparison.json")
    assert Comparison.load(tmp_path / "comparison.json") == comparison


def test_a_result_that_json_cannot_hold_is_saved_as_its_repr(tmp_path: Path) -> None:
    run = in_loop(run_arm(lambda: 1j, None, name="complex"))
    run.save(tmp_path / "run.json")
    assert Run.load(tmp_path / "run.json").result == "1j"


def test_a_cancellation_that_the_arm_took_is_not_taken_for_another() -> None:
    async def swallows() -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return "still here"
        return "not cancelled"

    assert in_loop(run_arm(swallows, None)).result == "still here"
