"""Batches: what is saved, what is reported, and what goes on afterwards."""

import asyncio

import httpx

from helpers.lab import Run, batches, run_arm
from helpers.lab.probes.batch import Jobs, Save
from helpers.mock_llm import Fault, MockLLM, Profile

JOBS = {number: f"Job {number}?" for number in range(1, 6)}


async def ask(client: httpx.AsyncClient, url: str, job: str) -> str:
    body = {"model": "mock-1", "messages": [{"role": "user", "content": job}]}
    reply = await client.post(f"{url}/chat/completions", json=body)
    text: str = reply.raise_for_status().json()["choices"][0]["message"]["content"]
    return text


async def gathers(client: httpx.AsyncClient, url: str, jobs: Jobs, save: Save) -> None:
    answers = await asyncio.gather(*(ask(client, url, job) for job in jobs.values()))
    for number, text in zip(jobs, answers, strict=True):
        await save(number, text)


async def cancels(client: httpx.AsyncClient, url: str, jobs: Jobs, save: Save) -> None:
    async with asyncio.TaskGroup() as tasks:
        for job in jobs.values():
            tasks.create_task(ask(client, url, job))


async def one_by_one(client: httpx.AsyncClient, url: str, jobs: Jobs, save: Save) -> list[int]:
    failed = []
    for number, job in jobs.items():
        try:
            await save(number, await ask(client, url, job))
        except httpx.HTTPError:
            failed.append(number)
    return failed


def run(batch: batches.Batch, *faults: Fault) -> Run:
    async def work() -> Run:
        async with MockLLM(Profile(base=0.5), faults=faults) as llm:
            (arm,) = batches.arms(batch=batch).values()
            return await run_arm(arm, llm, JOBS)

    return asyncio.run(work())


def is_text(text: str) -> bool:
    return bool(text.strip())


def test_a_batch_that_loses_everything_leaves_orphans() -> None:
    lost = run(gathers, Fault(kind="503", first=1))
    assert lost.result.raised == "HTTPStatusError"
    assert lost.result.saved == {}
    assert lost.result.left == 4
    assert batches.orphaned(lost) == 4
    assert 0 < batches.ended(lost) < min(r.last_byte or 0 for r in lost.requests if r.status == 200)


def test_an_answer_that_was_cut_off_is_no_orphan() -> None:
    lost = run(gathers, Fault(kind="503", first=1), Fault(kind="cut", every=5))
    assert batches.orphaned(lost) == 3


def test_a_task_group_leaves_none() -> None:
    """Nor does the count of cancellations that Python 3.11's leaves behind end the arm."""
    lost = run(cancels, Fault(kind="503", first=1))
    assert lost.result.raised == "ExceptionGroup"
    assert lost.result.left == 0
    assert batches.orphaned(lost) == 0


def test_what_is_saved_and_reported_comes_back() -> None:
    done = run(one_by_one, Fault(kind="503", every=2))
    assert done.result.raised == ""
    assert done.result.report == [2, 4]
    assert done.result.saved.keys() == {1, 3, 5}
    assert batches.kept(done, is_text) == 3
    assert batches.broken(done, is_text) == 0
    assert batches.broken(done, lambda text: False) == 3
    assert batches.orphaned(done) == 0


def test_users_ask_in_turn() -> None:
    async def work() -> Run:
        faults = [Fault(kind="hang", model="mock-dead")]
        async with MockLLM(Profile(base=0.2), faults=faults) as llm:
            return await run_arm(batches.in_turn, llm, ask, 2)

    done = asyncio.run(work())
    assert len(done.result) == 2
    assert min(done.result) >= 0.2
    assert done.peak_in_flight == 1
    assert done.asked("mock-1") == 2
    assert done.asked("mock-dead") == 0
