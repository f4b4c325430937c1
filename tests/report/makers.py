"""Runs made by hand, with the timings of a real lesson."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from helpers.lab.run import Block, Comparison, Failure, Run, Stall, Where
from helpers.mock_llm import Request

TTFT, GENERATION = 0.18, 0.13
LINE = Where("cell 5", 4, "ask", 'reply = httpx.post(f"{url}/chat/completions", json=body)')


def request(number: int, arrival: float, *, queue: float = 0.0, ttft: float = TTFT) -> Request:
    """One answered request."""
    slot = arrival + queue
    return Request(
        id=number,
        connection=40_000 + number,
        http_version="1.1",
        tls=False,
        method="POST",
        path="/v1/chat/completions",
        arrival=arrival,
        slot=slot,
        first_token=slot + ttft,
        first_byte=slot + ttft,
        last_byte=slot + ttft + GENERATION,
        status=200,
    )


def unanswered(number: int, arrival: float, client_left: float | None = None) -> Request:
    return Request(
        id=number,
        connection=40_000 + number,
        http_version="1.1",
        tls=False,
        method="POST",
        path="/v1/chat/completions",
        arrival=arrival,
        fault="hang before headers",
        client_left=client_left,
    )


def refused(number: int, arrival: float, status: int = 429) -> Request:
    closed = arrival + 0.002
    return replace(
        unanswered(number, arrival), fault=None, status=status, first_byte=closed, last_byte=closed
    )


def dropped(number: int, arrival: float, fault: str = "reset") -> Request:
    """Its connection was broken off by the server, as soon as it had been read."""
    done = arrival + 0.002
    status = 200 if fault == "cut" else None
    return replace(unanswered(number, arrival), fault=fault, status=status, last_byte=done)


def flaky(arm: str = "wrong") -> Run:
    """An arm whose server breaks off some of its calls."""
    kinds = ("refuse", "reset", "cut")
    requests = tuple(
        dropped(i, 0.02 + i * 0.01, kinds[i % 3]) if i % 2 else request(i, 0.02 + i * 0.01)
        for i in range(12)
    )
    return replace(concurrent(12, arm), requests=requests)


def beats(end: float, stalls: Sequence[Stall] = (), interval: float = 0.02) -> tuple[float, ...]:
    """A heartbeat that gets no turn while the loop is stalled."""
    all_beats = (i * interval for i in range(int(end / interval)))
    return tuple(
        beat for beat in all_beats if not any(s.start < beat < s.start + s.seconds for s in stalls)
    )


def serial(calls: int = 12, arm: str = "wrong", slower: float = 1.0, where: Where = LINE) -> Run:
    """An arm that blocks the loop with one call after the other."""
    step = (TTFT + GENERATION + 0.01) * slower
    starts = [0.05 + i * step for i in range(calls)]
    requests = tuple(request(i + 1, start, ttft=TTFT * slower) for i, start in enumerate(starts))
    stalls = tuple(_stall(start - 0.004, step - 0.004, where) for start in starts)
    end = 0.05 + calls * step + 0.01
    return Run(
        arm,
        "returned",
        end,
        limit=20.0,
        backend="asyncio",
        stalls=stalls,
        beats=beats(end, stalls),
        requests=requests,
        peak_in_flight=1,
    )


def concurrent(calls: int = 12, arm: str = "right", slots: int = 1_000, slower: float = 1.0) -> Run:
    """An arm that sends all its calls at once, to a server that answers ``slots`` at a time."""
    length = TTFT * slower + GENERATION
    requests = tuple(
        request(i + 1, 0.03 + 0.004 * i, queue=(i // slots) * length, ttft=TTFT * slower)
        for i in range(calls)
    )
    end = max((r.last_byte or 0 for r in requests), default=0.05) + 0.01
    return Run(
        arm,
        "returned",
        end,
        limit=20.0,
        backend="asyncio",
        beats=beats(end),
        requests=requests,
        peak_in_flight=calls,
    )


def hung(calls: int = 12, answered: int = 3, arm: str = "wrong", limit: float = 5.0) -> Run:
    """An arm without a timeout: some of its calls are never answered."""
    requests = tuple(
        request(i + 1, 0.03) if i < answered else unanswered(i + 1, 0.03 + 0.004 * i)
        for i in range(calls)
    )
    return Run(
        arm,
        "gave up",
        limit,
        limit=limit,
        backend="asyncio",
        beats=beats(limit),
        requests=requests,
        peak_in_flight=calls,
    )


def raised(arm: str = "wrong") -> Run:
    where = Where("cell 5", 4, "ask", "reply = await client.post(url, json=body)")
    left = tuple(unanswered(i + 3, 0.03 + 0.004 * i, client_left=0.36) for i in range(4))
    return Run(
        arm,
        "raised",
        0.37,
        limit=20.0,
        backend="asyncio",
        failure=Failure("ConnectError", "connection refused", where, "Traceback …"),
        beats=beats(0.37),
        requests=(request(1, 0.02), request(2, 0.025), *left),
        peak_in_flight=6,
    )


def limited(arm: str = "wrong") -> Run:
    """An arm that retries at once when it is refused."""
    requests = tuple(
        request(i, 0.02 + i * 0.015) if i % 5 == 0 else refused(i, 0.02 + i * 0.015)
        for i in range(1, 41)
    )
    return replace(
        concurrent(0, arm),
        requests=requests,
        seconds=1.0,
        beats=beats(1.0),
        peak_in_flight=8,
    )


def busy(arm: str = "wrong") -> Run:
    """A loop with more work than time: many short steps, one after the other."""
    stalls = tuple(Stall(0.05 + i * 0.05, 0.03, steps=40) for i in range(6))
    return replace(concurrent(12, arm), stalls=stalls, beats=beats(0.35, stalls))


def compare(*runs: Run, noise: float = 0.0) -> Comparison:
    """Each arm three times, 2 % apart; the given run is the typical one."""
    return Comparison({run.arm: (_faster(run), run, _slower(run)) for run in runs}, noise)


def _faster(run: Run) -> Run:
    return _stretched(run, 0.98)


def _slower(run: Run) -> Run:
    return _stretched(run, 1.02)


def _stretched(run: Run, factor: float) -> Run:
    requests = tuple(
        replace(r, last_byte=None if r.last_byte is None else r.last_byte * factor)
        for r in run.requests
    )
    return replace(run, requests=requests, seconds=run.seconds * factor)


def _stall(start: float, seconds: float, where: Where) -> Stall:
    return Stall(start, seconds, steps=1, blocks=(Block(start, seconds, where, cpu_share=0.004),))
