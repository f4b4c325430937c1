"""What a Run says of itself, from records made by hand."""

import math
from dataclasses import replace

from helpers.lab import Comparison, Run
from helpers.mock_llm import Connection, Request


def request(number: int, **fields: object) -> Request:
    record = Request(
        id=number,
        connection=40_000 + number,
        http_version="1.1",
        tls=True,
        method="POST",
        path="/v1/chat/completions",
        arrival=0.1,
    )
    return replace(record, **fields)  # type: ignore[arg-type]


def answered(number: int, **fields: object) -> Request:
    done = {"status": 200, "first_byte": 0.3, "last_byte": 0.5}
    return request(number, **{**done, **fields})


def made_of(*requests: Request, connections: tuple[Connection, ...] = ()) -> Run:
    return Run(
        "right",
        "returned",
        1.0,
        limit=5.0,
        backend="asyncio",
        requests=requests,
        connections=connections,
    )


def test_connections_that_carried_nothing_are_not_counted() -> None:
    run = made_of(
        connections=(
            Connection(1, 0.0, tls=True, requests=3),
            Connection(2, 0.0, closed=0.1, tls=False, requests=1),
            Connection(3, 0.0, tls=True, requests=0),
        )
    )
    assert (run.opened, run.handshakes) == (2, 1)


def test_tokens_that_were_never_counted_add_nothing() -> None:
    run = made_of(
        answered(1, prompt_tokens=2000, cached_tokens=1024, completion_tokens=16),
        answered(2, prompt_tokens=30, cached_tokens=0, completion_tokens=8),
        request(3, status=400, client_left=0.2, tokens_after_client_left=5),
    )
    assert (run.prompt_tokens, run.cached_tokens, run.completion_tokens) == (2030, 1024, 24)
    assert run.tokens_after_client_left == 5


def test_requests_are_counted_by_status() -> None:
    cut = answered(4, last_byte=None, client_left=0.4)
    broken = answered(6, fault="cut")
    refused = (answered(2, status=429), answered(3, status=429))
    run = made_of(answered(1), *refused, cut, request(5), broken)
    assert [run.count(status) for status in (200, 429, 503)] == [3, 2, 0]
    assert run.answered == 1


def test_a_request_is_open_until_it_is_answered_left_or_its_connection_is_closed() -> None:
    run = made_of(
        answered(1),
        request(2, client_left=0.3),
        request(3),  # hung
        answered(4, last_byte=None),  # hung in the middle of its answer
        request(5),  # reset by the server
        connections=(
            Connection(40_003, 0.0, requests=1),
            Connection(40_005, 0.0, closed=0.4, requests=1),
        ),
    )
    assert run.still_open == 2


def test_ttft_is_the_median_of_the_good_answers() -> None:
    run = made_of(
        answered(1, first_byte=0.2),
        answered(2, first_byte=0.4),
        answered(3, first_byte=0.3),
        answered(4, status=429, first_byte=0.101),
        request(5),
    )
    assert math.isclose(run.ttft, 0.2)
    assert math.isnan(made_of(request(1)).ttft)


def test_the_typical_run_is_the_one_nearest_to_the_medians() -> None:
    runs = tuple(
        made_of(answered(1, last_byte=end, first_byte=first, prompt_tokens=7))
        for end, first in ((0.9, 0.3), (0.8, 0.4), (0.7, 0.5))
    )
    comparison = Comparison({"wrong": runs})
    assert comparison["wrong"] is runs[1]
    assert comparison.typical("wrong", lambda run: run.prompt_tokens) is runs[1]
    waits = {id(run): wait for run, wait in zip(runs, (2.0, 1.0, 3.0), strict=True)}
    assert comparison.typical("wrong", lambda run: waits[id(run)]) is runs[0]
    assert comparison.typical("wrong", lambda run: f"{waits[id(run)]} s") is runs[1]
