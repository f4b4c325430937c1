"""What several exercises ask for."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import certifi
import httpx

from helpers.lab import Block, Run
from helpers.lessons.exercise import Criterion
from helpers.mock_llm import Fault, MockLLM, Request

MODERATOR = "mock-moderator"
# The model's answer depends on the question alone: without this, the moderator would give the same.
MODERATOR_IS_BRIEF = Fault(kind="broken_answer", model=MODERATOR)
# Requests at once that show that questions do not wait for each other. On one core,
# `asyncio.to_thread` has five threads.
AT_ONCE = 3
# Seconds. Clients that are made, imports, threads that hold the GIL: all that blocks for less, or
# only once or twice, is no mistake.
_LONG, _TIMES = 0.08, 3
# Seconds: a call that waits so long for a server is a mistake the first time.
_VERY_LONG = 0.25


def questions(count: int) -> tuple[str, ...]:
    """Questions of different lengths in tokens: so the server's records tell them apart."""
    numbers = range(1, count + 1)
    return tuple(f"Question {n}: what is an event loop?{' Please.' * n}" for n in numbers)


@contextmanager
def undisturbed() -> Iterator[None]:
    """For an arm: what is not graded neither takes time nor prints.

    A client reads one certificate instead of 150, which would block the loop for 20 to 100 ms, and
    asyncio says nothing about a task whose exception nobody looked at.
    """
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    before = os.environ.get("SSL_CERT_FILE")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "certificate.pem"
        first, end, _ = (
            Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----")
        )
        file.write_text(first + end, "utf-8")
        os.environ["SSL_CERT_FILE"] = str(file)
        try:
            yield
        finally:
            os.environ.pop("SSL_CERT_FILE")
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


async def model_answers(llm: MockLLM, asked: Iterable[str], model: str) -> dict[str, str]:
    """Question → the model's answer: it always gives the same. Clears the server's faults."""
    await asyncio.to_thread(llm.configure, profile="instant", faults=[])
    # As it speaks plain HTTP, there is nothing to verify; loading certificates takes 50 ms.
    async with httpx.AsyncClient(timeout=10, trust_env=False, verify=False) as client:  # noqa: S501

        async def answer(question: str) -> tuple[str, str]:
            messages = [{"role": "user", "content": question}]
            body = {"model": model, "messages": messages}
            reply = await client.post(f"{llm.http_url}/chat/completions", json=body)
            return question, reply.json()["choices"][0]["message"]["content"]

        return dict(await asyncio.gather(*map(answer, asked)))


def finished(run: Run) -> list[Request]:
    """The requests that were answered to the end with status 200."""
    return [r for r in run.requests if r.status == 200 and r.last_byte is not None]


def all_answered(given: Mapping[str, Any], expected: Mapping[str, str]) -> Criterion:
    """Met if each question got the model's answer to it."""
    what = "every question gets the model's answer to it"
    wrong = [
        question for question in expected if not is_same(given.get(question), expected[question])
    ]
    if not wrong:
        return Criterion(what, True)
    got = wrong_text(given.get(wrong[0]), expected.values())
    return Criterion(what, False, f"{len(wrong)} of {len(expected)} did not; one got {got}")


def is_same(answer: object, expected: str) -> bool:
    return isinstance(answer, str) and answer.strip() == expected.strip()


def wrong_text(answer: object, answers: Iterable[str]) -> str:
    """What a caller got in place of the answer to the question."""
    if not isinstance(answer, str):
        return (
            "None" if answer is None else f"something of type {type(answer).__name__}, not a text"
        )
    if not answer.strip():
        return "an empty text"
    if any(is_same(answer, each) for each in answers):
        return "the answer to another question"
    if any(each.startswith(answer.strip().rstrip(".…")) for each in answers):
        return "the moderator's text, not the model's"
    return f"“{answer[:30]}…”, which the model did not write"


def moderated_then_asked(run: Run, count: int, pause: float = 0.0) -> Criterion:
    """Met if the server saw, for each question, a moderation and then, after the pause, a question.

    This is the lower bound: skipping the moderator is fast, but wrong.
    """
    then = ", and sent to the model after the pause" if pause else ", then sent to the model"
    what = f"every question is moderated{then}"
    moderated = [r for r in finished(run) if r.model == MODERATOR]
    asked = [r for r in finished(run) if r.model != MODERATOR]
    if (len(moderated), len(asked)) != (count, count):
        found = f"the server saw {len(moderated)} moderations and {len(asked)} questions"
        return Criterion(what, False, f"{found}, not {count} of each")
    different = len({r.prompt_tokens for r in moderated})
    if different < count:
        return Criterion(what, False, f"{different} of the {count} questions were moderated")
    pairs = list(zip(_by_length(moderated), _by_length(asked), strict=True))
    unchecked = sum(second.arrival < (first.last_byte or 0.0) for first, second in pairs)
    if unchecked:
        found = f"{unchecked} of {count} were sent to the model before the moderator had answered"
        return Criterion(what, False, found)
    # A coarse system timer (16 ms on Windows) may fire slightly early.
    early = sum(second.arrival < (first.last_byte or 0.0) + 0.8 * pause for first, second in pairs)
    found = f"{early} of {count} were sent to the model before the pause of {pause:g} s was over"
    return Criterion(what, not early, found)


def _by_length(requests: Iterable[Request]) -> list[Request]:
    return sorted(requests, key=lambda request: request.prompt_tokens or 0)


def served_at_once(run: Run, what: str) -> Criterion:
    """Met if questions do not wait for each other, neither for the moderator nor for the model."""
    done = {
        "moderated": [r for r in finished(run) if r.model == MODERATOR],
        "sent to the model": [r for r in finished(run) if r.model != MODERATOR],
    }
    # Where there are few, another criterion says so.
    peaks = {where: _peak(done[where]) for where in done if len(done[where]) >= AT_ONCE}
    low = [
        f"at most {peak} were {where} at once" for where, peak in peaks.items() if peak < AT_ONCE
    ]
    found = " and ".join(low) if peaks else "the server saw hardly any"
    return Criterion(what, bool(peaks) and not low, found)


def _peak(requests: Sequence[Request]) -> int:
    spans = [(request.arrival, request.last_byte or 0.0) for request in requests]
    return max((sum(a <= start < b for a, b in spans) for start, _ in spans), default=0)


def lateness(run: Run) -> float:
    """Seconds by which a timer on the arm's loop was late, at most. Where a solution's own line is
    the reason, `loop_is_free` says so."""
    gaps = [after - before for before, after in pairwise((0.0, *run.beats, run.seconds))]
    return max(max(gaps) - run.beat_interval, 0.0)


def loop_is_free(run: Run, what: str = "nothing blocks the event loop") -> Criterion:
    """Met if no line blocks the loop again and again, by waiting or by computing."""
    found = "; ".join(dict.fromkeys(_described(block) for block in _blocks(run)))
    return Criterion(what, not found, found)


def _blocks(run: Run) -> list[Block]:
    long = [block for block in run.blocks if block.seconds >= _LONG]
    times = Counter(_line(block) for block in long)
    blocks = [
        block
        for block in long
        if _near(times, _line(block)) >= _TIMES or (block.waiting and block.seconds >= _VERY_LONG)
    ]
    return sorted(blocks, key=_line)


def _near(times: Counter[int], line: int) -> int:
    """A loop that spins is seen now in its head, now in its body."""
    return sum(times[each] for each in (line - 1, line, line + 1))


def _line(block: Block) -> int:
    return block.where.line if block.where else 0


def _described(block: Block) -> str:
    does = "waits there" if block.waiting else "computes there"
    if block.where is None:
        return f"a call {does.removesuffix(' there')} on the loop"
    where = block.where
    return f"line {where.line}, in {where.function}: {where.code} (the loop {does})"
