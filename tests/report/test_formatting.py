from collections.abc import Callable
from dataclasses import replace

import pytest

from helpers.lab.run import Block, Comparison, Failure, Run, Stall, Where
from helpers.report.formatting import (
    call,
    counted,
    ending,
    number,
    percent,
    quantity,
    seconds,
    sentence,
)
from tests.report.makers import busy, compare, concurrent, hung, limited, raised, serial


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (0.0, "0 s"),
        (0.0004, "0.4 ms"),
        (0.0042, "4.2 ms"),
        (0.00996, "10 ms"),
        (0.0123, "12 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.10 s"),
        (0.36, "0.36 s"),
        (0.997, "1.0 s"),
        (3.84, "3.8 s"),
        (5.0, "5 s"),
        (12.345, "12.3 s"),
        (86_400.0, "86,400 s"),
        (float("nan"), "–"),
    ],
)
def test_seconds(length: float, text: str) -> None:
    assert seconds(length) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.001, "< 1 %"), (0.98, "98 %"), (1.0, "100 %"), (float("nan"), "–")],
)
def test_percent(share: float, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (12_480, "12,480"),
        (11.5, "11.5"),
        (0.05214, "0.0521"),
        (0.00001, "0.00001"),
        (0.99999, "1"),
        (99.96, "100"),
        (990.4, "990"),
        (1319.6, "1,320"),
        (-60.5, "−60.5"),
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
        (None, "–"),
        (True, "yes"),
        ("18 of 20", "18 of 20"),
    ],
)
def test_number(value: object, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.5, "s", "1.5 s"),
        (12, "TCP connections", "12 TCP connections"),
        (1, "TCP connections", "1 TCP connection"),
        (1, "TLS handshakes", "1 TLS handshake"),
        (1, "requests refused", "1 request refused"),
        (1, "retries", "1 retry"),
        (1, "still open", "1 still open"),
        (1, "429s", "1 429s"),
        (70, "%", "70 %"),
    ],
)
def test_quantity(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_sentence_with_a_lessons_own_numbers() -> None:
    numbers: list[tuple[str, Callable[[Run], object]]] = [
        ("requests", lambda run: len(run.requests)),
        ("last answer", lambda run: seconds(run.makespan)),
    ]
    assert counted([serial(1), concurrent()], numbers) == (
        "wrong: 1 request, last answer 0.31 s; right: 12 requests, last answer 0.35 s."
    )
    assert counted([hung()], numbers) == (
        "wrong: 12 requests, last answer 5.0 s, still waiting when the lab gave up after 5 s."
    )


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ("reply = httpx.post(url, json=body)", "httpx.post"),
        ("time.sleep(0.3)", "time.sleep"),
        ("with httpx.stream('POST', url) as reply:", "httpx.stream"),
        ("total += 1", "total += 1"),
    ],
)
def test_call(code: str, named: str) -> None:
    assert call(Where("cell 5", 4, "ask", code)) == named


def test_sentence_of_two_arms() -> None:
    assert sentence(compare(serial(), concurrent())) == (
        "wrong kept 1 request in flight and blocked the event loop for 99 % of 3.8 s "
        "(httpx.post, cell 5, line 4); right had 12 in flight and finished in 0.35 s "
        "instead of 3.8 s."
    )


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (serial(), "wrong kept 1 request in flight and blocked the event loop for 99 % of 3.8 s"),
        (concurrent(), "right had 12 requests in flight and finished in 0.35 s."),
        (hung(), "got 3 of 12 answered and was still waiting when the lab gave up after 5 s."),
        (raised(), "got 2 of 6 answered and raised ConnectError at cell 5, line 4."),
        (limited(), "had 8 requests in flight, got 8 of 40 answered and finished in 0.90 s."),
        (busy(), "kept the event loop busy for 51 % of 0.35 s."),
        (concurrent(0), "right sent no request and finished in 60 ms."),
        (compare(concurrent(0), concurrent(arm="b")), "b had 12 requests in flight"),
        (compare(concurrent(), serial()), "done in 3.8 s instead of 0.35 s."),
        (compare(concurrent(), concurrent(arm="b")), "about as fast."),
    ],
)
def test_sentence_says(shown: Comparison | Run, expected: str) -> None:
    assert expected in sentence(shown)


def test_a_loop_that_was_blocked_and_busy_is_called_both() -> None:
    block = Block(0.1, 0.06, Where("cell 5", 4, "ask", "httpx.post(url)"), cpu_share=None)
    stall = Stall(0.1, 0.06, steps=1, blocks=(block,))
    both = replace(busy(), stalls=(*busy().stalls[3:], stall))
    assert "kept the event loop blocked or busy for" in sentence(both)


def test_an_arm_that_hung_is_not_called_slower_or_faster() -> None:
    said = sentence(compare(hung(), concurrent()))
    assert "instead of" not in said
    assert "as fast" not in said


def test_a_difference_within_the_noise_is_not_reported() -> None:
    arms = concurrent(3), concurrent(3, "b", slower=1.5)
    assert " instead of " in sentence(compare(*arms, noise=0.01))
    assert "about as fast" in sentence(compare(*arms, noise=0.1))


@pytest.mark.parametrize(
    "shown",
    [
        compare(serial(200), concurrent(200)),
        compare(serial(), concurrent(), concurrent(arm="http2")),
        compare(hung(), concurrent(), limited("third")),
        compare(limited(), raised("right")),
    ],
)
def test_sentence_is_short(shown: Comparison) -> None:
    assert len(sentence(shown).split()) <= 48


def test_ending_of_an_arm_that_raised_in_a_library() -> None:
    failure = Failure("ConnectError", "refused", None, "")
    assert ending(replace(raised(), failure=failure)) == "raised ConnectError after 0.37 s"
    assert ending(serial()) == "returned after 3.9 s"
