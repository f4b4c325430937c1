"""Rate limits: exact buckets, headers that can be relied on, refusals that say the truth."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import anthropic
import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.mock_llm import Fault, Limits, MockLLM
from helpers.mock_llm.anthropic.dialect import rfc3339
from helpers.mock_llm.openai.dialect import OPENAI, go_duration
from helpers.mock_llm.serving.dialect import retry_after
from helpers.mock_llm.serving.rate_limits import (
    Account,
    Bucket,
    Limiter,
    LimitExceededError,
    QuotaExceededError,
)

from .conftest import Chat

SECOND = 1_000_000_000


class Clock:
    """Nanoseconds, that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def account(clock: Clock, speed: float = 1.0, **limits: Any) -> Account:
    return Limiter(Limits(**limits), speed, clock).account(b"key", "gpt-4o")


def refusal(account: Account, tokens: int = 0) -> LimitExceededError:
    with pytest.raises(LimitExceededError) as caught:
        account.admit({"requests": 1, "tokens": tokens})
    return caught.value


def ask(account: Account, tokens: int = 0) -> bool:
    try:
        account.admit({"requests": 1, "tokens": tokens})
    except (LimitExceededError, QuotaExceededError):
        return False
    return True


PER_MINUTE = st.floats(min_value=0.01, max_value=1e7)
SPEED = st.floats(min_value=0.01, max_value=1000)
CAPACITY = st.floats(min_value=1, max_value=1e6)
STEPS = st.lists(st.tuples(st.integers(0, 120 * SECOND), st.integers(1, 1000)), max_size=50)


@given(PER_MINUTE, SPEED, CAPACITY, STEPS)
def test_a_bucket_stays_between_empty_and_full(
    per_minute: float, speed: float, capacity: float, steps: list[tuple[int, int]]
) -> None:
    bucket, now = Bucket(capacity, per_minute, speed, 0), 0
    for wait, cost in steps:
        now += wait
        bucket.take(cost, now)
        assert 0 <= bucket.remaining(now) <= bucket.capacity <= capacity
        assert bucket.remaining(now + bucket.until_full(now)) == bucket.capacity


@given(PER_MINUTE, SPEED, CAPACITY, STEPS)
def test_a_bucket_never_lets_through_more_than_its_size_and_what_it_gained(
    per_minute: float, speed: float, capacity: float, steps: list[tuple[int, int]]
) -> None:
    bucket, now = Bucket(capacity, per_minute, speed, 0), 0
    taken: list[tuple[int, int]] = []
    for wait, cost in steps:
        now += wait
        if bucket.take(cost, now):
            taken.append((now, cost))
    for first, (start, _) in enumerate(taken):
        total = 0
        for end, cost in taken[first:]:
            total += cost
            gained = per_minute * speed / 60 * (end - start) / SECOND
            assert total <= (capacity + gained) * (1 + 1e-9)


@given(PER_MINUTE, SPEED, CAPACITY, STEPS, st.integers(1, 1000))
def test_whoever_waits_as_told_is_admitted_and_a_moment_earlier_is_not(
    per_minute: float, speed: float, capacity: float, steps: list[tuple[int, int]], cost: int
) -> None:
    bucket, now = Bucket(capacity, per_minute, speed, 0), 0
    for wait, taken in steps:
        now += wait
        bucket.take(taken, now)
    if cost > bucket.capacity:
        return
    wait = bucket.wait(cost, now)
    if wait:
        assert not bucket.take(cost, now + wait - 1)
    assert bucket.take(cost, now + wait)


def parse_go_duration(text: str) -> int:
    """Nanoseconds."""
    units = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
    parts = re.findall(r"([\d.]+)(ms|h|m|s)", text)
    assert "".join(number + unit for number, unit in parts) == text
    return sum(round(float(number) * units[unit]) for number, unit in parts) * 1_000_000


@given(st.integers(0, 10**7))
def test_durations_are_read_back_as_they_were_written(ms: int) -> None:
    assert parse_go_duration(go_duration(ms * 1_000_000)) == ms * 1_000_000


@given(st.integers(0, 10**16))
def test_durations_are_never_too_short(nanoseconds: int) -> None:
    assert 0 <= parse_go_duration(go_duration(nanoseconds)) - nanoseconds < 1_000_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1, "1s"), (0.012, "12ms"), (360, "6m0s"), (90.5, "1m30.5s"), (3600, "1h0m0s")],
)
def test_durations_look_like_the_providers(seconds: float, text: str) -> None:
    assert go_duration(round(seconds * SECOND)) == text


@given(st.integers(0, 400 * SECOND))
def test_retry_after_is_never_too_short_in_any_form(wait: int) -> None:
    [(name, value)] = retry_after(wait, "seconds")
    assert (name, value.isdigit()) == (b"retry-after", True)
    assert 0 <= int(value) * SECOND - wait < SECOND
    [(name, value)] = retry_after(wait, "ms")
    assert (name, value.isdigit()) == (b"retry-after-ms", True)
    assert 0 <= int(value) * 1_000_000 - wait < 1_000_000
    before = time.time_ns()
    [(name, value)] = retry_after(wait, "date")
    date = parsedate_to_datetime(value.decode())
    assert (name, value.endswith(b" GMT")) == (b"retry-after", True)
    assert date.timestamp() * SECOND >= before + wait
    assert not retry_after(wait, "none")


@given(st.integers(0, 10**20))
def test_reset_times_are_rfc_3339(wait: int) -> None:
    assert datetime.fromisoformat(rfc3339(wait)).tzinfo is not None


def test_a_request_waits_for_the_bucket_that_is_emptier() -> None:
    clock = Clock()
    mine = account(clock, requests_per_minute=60, tokens_per_minute=600)
    assert ask(mine, 600)
    error = refusal(mine, 60)
    assert (error.kind, error.wait) == ("tokens", 6 * SECOND)
    clock.now = 6 * SECOND
    assert ask(mine, 60)


def test_a_faster_server_has_shorter_minutes() -> None:
    clock = Clock()
    mine = account(clock, speed=10, requests_per_minute=60, burst_requests=1)
    assert ask(mine)
    assert refusal(mine).wait == SECOND // 10
    clock.now = SECOND // 10
    assert ask(mine)


def test_a_limit_below_one_a_minute_still_admits_one() -> None:
    clock = Clock()
    mine = account(clock, requests_per_minute=0.5)
    assert [ask(mine), ask(mine)] == [True, False]
    clock.now = 120 * SECOND
    assert ask(mine)


def test_requests_refused_for_their_tokens_count_as_requests() -> None:
    mine = account(Clock(), requests_per_minute=3, tokens_per_minute=100)
    assert ask(mine, 100)
    assert [refusal(mine, 10).kind for _ in range(3)] == ["tokens", "tokens", "requests"]


def test_requests_that_find_none_left_do_not_push_the_next_one_back() -> None:
    clock = Clock()
    mine = account(clock, requests_per_minute=60, burst_requests=1)
    assert ask(mine)
    for clock.now in range(0, SECOND, SECOND // 20):
        assert not ask(mine)
    clock.now = SECOND
    assert ask(mine)


def test_a_request_larger_than_the_limit_is_refused_for_good() -> None:
    excess = refusal(account(Clock(), tokens_per_minute=30_000), 45_411)
    assert excess.wait is None
    error = OPENAI.limit_exceeded(excess, "gpt-4o")
    assert error.message.startswith(
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45411."
    )
    assert (error.status, error.type, error.code) == (429, "tokens", "rate_limit_exceeded")


def test_a_spent_quota_stays_spent() -> None:
    clock = Clock()
    mine = account(clock, quota_tokens=100)
    assert ask(mine, 60)
    mine.settle(100, {})
    clock.now = 10**6 * SECOND
    with pytest.raises(QuotaExceededError):
        mine.admit({"tokens": 1})


def test_models_share_a_keys_quota_and_nothing_else() -> None:
    limiter = Limiter(Limits(requests_per_minute=1, quota_tokens=10), 1.0, Clock())
    assert ask(limiter.account(b"a", "gpt-4o"))
    assert not ask(limiter.account(b"a", "gpt-4o"))
    assert ask(limiter.account(b"a", "gpt-5"))
    assert ask(limiter.account(b"b", "gpt-4o"))
    limiter.account(b"a", "gpt-5").settle(10, {})
    with pytest.raises(QuotaExceededError):
        limiter.account(b"a", "o3").admit({"tokens": 1})
    assert ask(limiter.account(b"b", "o3"))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"requests_per_minute": 0}, "more than 0"),
        ({"requests_per_minute": "60"}, "more than 0"),
        ({"tokens_per_minute": float("inf")}, "more than 0"),
        ({"requests_per_minute": 60, "burst_requests": 0.5}, "at least 1"),
        ({"burst_tokens": 100}, "needs tokens_per_minute"),
        ({"quota_tokens": 1.5}, "whole number"),
        ({"retry_after": "minutes"}, "'seconds', 'date', 'ms', 'none'"),
    ],
)
def test_limits_that_cannot_be_are_refused_with_the_choices(
    wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Limits(**wrong)
    with pytest.raises(ValueError, match=words):
        MockLLM(limits=wrong)  # type: ignore[arg-type]


# Over HTTP


@pytest.fixture
def limited(llm: MockLLM) -> MockLLM:
    llm.configure(limits=Limits(requests_per_minute=3, tokens_per_minute=1000))
    return llm


def limits_of(response: httpx.Response) -> dict[str, str]:
    prefix = "x-ratelimit-"
    return {
        name.removeprefix(prefix): value
        for name, value in response.headers.items()
        if name.startswith(prefix)
    }


def test_every_answer_says_what_is_left(limited: MockLLM, chat: Chat, http: httpx.Client) -> None:
    whole = chat(max_tokens=92)
    assert limits_of(whole) == {
        "limit-requests": "3",
        "remaining-requests": "2",
        "reset-requests": "20s",
        "limit-tokens": "1000",
        "remaining-tokens": "900",
        "reset-tokens": "6s",
    }
    streamed = chat(max_tokens=92, stream=True)
    assert limits_of(streamed)["remaining-requests"] == "1"
    assert limits_of(streamed)["remaining-tokens"] == "800"
    wrong = chat(temperature=5)
    assert (wrong.status_code, limits_of(wrong)["remaining-requests"]) == (400, "0")
    refused = chat()
    assert (refused.status_code, limits_of(refused)["remaining-requests"]) == (429, "0")
    other = chat(model="gpt-5")
    assert limits_of(other)["remaining-requests"] == "2"
    assert "limit-requests" in limits_of(http.get(f"{limited.url}/models"))


def test_an_answer_without_limit_counts_with_what_it_takes(limited: MockLLM, chat: Chat) -> None:
    response = chat()
    used = response.json()["usage"]["total_tokens"]
    assert limits_of(response)["remaining-tokens"] == str(1000 - used)


def test_a_refused_request_is_told_when_to_come_back(limited: MockLLM, chat: Chat) -> None:
    for _ in range(3):
        assert chat().status_code == 200
    response = chat()
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
    assert error["message"].startswith(
        "Rate limit reached for gpt-4o on requests per min (RPM): Limit 3, Used 3, Requested 1. "
        "Please try again in "
    )
    assert response.headers["retry-after"] == "20"
    assert [request.status for request in limited.ledger().requests] == [200, 200, 200, 429]


def test_a_reset_fills_the_buckets_and_the_purse(limited: MockLLM, chat: Chat) -> None:
    limited.configure(limits=Limits(requests_per_minute=1, quota_tokens=1))
    assert [chat().status_code for _ in range(2)] == [200, 429]
    limited.reset()
    assert chat().status_code == 200


def test_changing_something_else_leaves_the_buckets_alone(limited: MockLLM, chat: Chat) -> None:
    limited.configure(limits=Limits(requests_per_minute=1))
    assert chat().status_code == 200
    limited.configure(answer_tokens=3)
    assert chat().status_code == 429
    limited.configure(limits=Limits(requests_per_minute=1))
    assert chat().status_code == 200


def test_the_quota_is_spent_by_what_was_used(limited: MockLLM, chat: Chat) -> None:
    limited.configure(limits=Limits(quota_tokens=50), answer_tokens=12)  # 20 tokens a request
    responses = [chat(max_tokens=1000) for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert responses[-1].json()["error"]["code"] == "insufficient_quota"
    assert "retry-after" not in responses[-1].headers


def test_keys_have_limits_of_their_own(limited: MockLLM, http: httpx.Client) -> None:
    def left(key: str) -> str:
        response = http.post(
            f"{limited.url}/chat/completions",
            json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]},
            headers={"authorization": f"Bearer {key}"},
        )
        return limits_of(response)["remaining-requests"]

    assert [left("a"), left("a"), left("b")] == ["2", "1", "2"]


def test_a_wrong_key_uses_up_nothing_and_learns_nothing() -> None:
    with MockLLM(api_key="right", limits=Limits(requests_per_minute=5)) as llm:
        response = httpx.get(f"{llm.url}/models", headers={"authorization": "Bearer wrong"})
        assert (response.status_code, limits_of(response)) == (401, {})


@pytest.mark.parametrize("form", ["ms", "seconds", "date"])
def test_the_sdk_comes_back_when_told_and_succeeds(limited: MockLLM, form: Any) -> None:
    limited.configure(
        limits=Limits(requests_per_minute=60, burst_requests=1, retry_after=form), speed=2
    )
    with openai.OpenAI(base_url=limited.url, api_key="sk-test") as client:
        for _ in range(2):
            client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]
            )
    first, refused, second = limited.ledger().requests
    assert [first.status, refused.status, second.status] == [200, 429, 200]
    assert second.arrival - first.arrival >= 0.5


def test_the_sdk_retries_a_spent_quota_in_vain(limited: MockLLM) -> None:
    limited.configure(limits=Limits(quota_tokens=0))
    with (
        openai.OpenAI(base_url=limited.url, api_key="sk-test") as client,
        pytest.raises(openai.RateLimitError) as caught,
    ):
        client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hello"}]
        )
    assert caught.value.code == "insufficient_quota"
    assert [request.status for request in limited.ledger().requests] == [429, 429, 429]


def test_anthropics_headers_have_times_of_day(limited: MockLLM) -> None:
    with anthropic.Anthropic(base_url=limited.url.removesuffix("/v1"), api_key="sk-test") as client:
        answer = client.messages.with_raw_response.create(
            model="mock-1",
            max_tokens=92,
            messages=[{"role": "user", "content": "Hello"}],
        )
    headers = answer.headers
    assert headers["anthropic-ratelimit-requests-limit"] == "3"
    assert headers["anthropic-ratelimit-requests-remaining"] == "2"
    assert "x-ratelimit-limit-requests" not in headers
    for kind in ("tokens", "input-tokens"):
        assert headers[f"anthropic-ratelimit-{kind}-limit"] == "1000"
        assert int(headers[f"anthropic-ratelimit-{kind}-remaining"]) == 1000 - 8
    assert "anthropic-ratelimit-output-tokens-limit" not in headers
    reset = datetime.fromisoformat(headers["anthropic-ratelimit-requests-reset"])
    assert 15 < reset.timestamp() - time.time() < 25


def test_anthropics_sdk_comes_back_when_told_and_gives_up_in_the_end(limited: MockLLM) -> None:
    limited.configure(limits=Limits(requests_per_minute=1, retry_after="ms"), speed=300)
    with anthropic.Anthropic(
        base_url=limited.url.removesuffix("/v1"), api_key="sk-test", max_retries=1
    ) as client:

        def ask() -> object:
            return client.messages.create(
                model="mock-1",
                max_tokens=10,
                messages=[{"role": "user", "content": "Hello"}],
            )

        ask()
        ask()
        assert [request.status for request in limited.ledger().requests] == [200, 429, 200]
        limited.configure(limits=Limits(tokens_per_minute=5))
        with pytest.raises(anthropic.RateLimitError, match="it alone takes"):
            ask()


def test_embeddings_count_their_tokens(limited: MockLLM, http: httpx.Client) -> None:
    body = {"model": "text-embedding-3-small", "input": "Hello"}
    response = http.post(f"{limited.url}/embeddings", json=body)
    assert limits_of(response)["remaining-tokens"] == "999"
    body["input"] = "word " * 1500
    refused = http.post(f"{limited.url}/embeddings", json=body)
    assert refused.status_code == 429
    assert refused.json()["error"]["message"].startswith(
        "Request too large for text-embedding-3-small"
    )


def test_the_responses_api_counts_too(limited: MockLLM, http: httpx.Client) -> None:
    body = {"model": "gpt-4o", "input": "Hello", "max_output_tokens": 992}
    response = http.post(f"{limited.url}/responses", json=body)
    assert limits_of(response)["remaining-tokens"] == "0"
    assert http.post(f"{limited.url}/responses", json=body).status_code == 429


def test_streams_of_many_clients_together_stay_within_the_limit(
    limited: MockLLM, http: httpx.Client
) -> None:
    limited.configure(limits=Limits(requests_per_minute=600, burst_requests=5))
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}], "stream": True}

    def hammer(_: int) -> None:
        for _ in range(20):
            http.post(f"{limited.url}/chat/completions", json=body)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(hammer, range(8)))
    admitted = [r for r in limited.ledger().requests if r.status == 200]
    lasted = max(r.last_byte or 0 for r in admitted) - min(r.arrival for r in admitted)
    assert 5 <= len(admitted) <= 5 + 10 * lasted


# Anthropic's own: input and output apart


def message(
    llm: MockLLM, http: httpx.Client, text: str = "Hello", *, cached: bool = False, max_tokens: int
) -> httpx.Response:
    block: dict[str, Any] = {"type": "text", "text": text}
    if cached:
        block["cache_control"] = {"type": "ephemeral"}
    body = {
        "model": "claude-sonnet-5-5",
        "max_tokens": max_tokens,
        "messages": [{"role": "user", "content": [block]}],
    }
    return http.post(f"{llm.url}/messages", json=body, headers={"anthropic-version": "2023-06-01"})


def left(response: httpx.Response, kind: str) -> int:
    return int(response.headers[f"anthropic-ratelimit-{kind}-remaining"])


@pytest.mark.parametrize("option", ["tokens_per_minute", "input_tokens_per_minute"])
def test_max_tokens_does_not_count_for_anthropic(
    limited: MockLLM, http: httpx.Client, option: str
) -> None:
    per_minute: dict[str, Any] = {option: 30_000, "output_tokens_per_minute": 8_000}
    limited.configure(limits=Limits(**per_minute))
    response = message(limited, http, max_tokens=64_000)
    assert response.status_code == 200
    assert left(response, "input-tokens") == 30_000 - response.json()["usage"]["input_tokens"]
    assert response.headers["anthropic-ratelimit-tokens-limit"] == "8000"


def test_cached_reads_are_free_for_anthropic(limited: MockLLM, http: httpx.Client) -> None:
    limited.configure(limits=Limits(input_tokens_per_minute=6_000))
    text = "All of this is cached. " * 900
    first = message(limited, http, text, cached=True, max_tokens=10)
    assert first.json()["usage"]["cache_creation_input_tokens"] > 4_000
    for _ in range(3):
        again = message(limited, http, text, cached=True, max_tokens=10)
        assert again.status_code == 200
        assert again.json()["usage"]["cache_read_input_tokens"] > 4_000
    other = message(limited, http, text.upper(), cached=True, max_tokens=10)
    assert other.status_code == 429
    assert "6000 input tokens per minute for claude-sonnet-5-5" in other.json()["error"]["message"]


def test_output_counts_once_it_is_generated(limited: MockLLM, http: httpx.Client) -> None:
    limited.configure(limits=Limits(output_tokens_per_minute=60), answer_tokens=100)
    first = message(limited, http, max_tokens=1_000)
    assert (first.status_code, first.json()["usage"]["output_tokens"]) == (200, 100)
    second = message(limited, http, max_tokens=1_000)
    assert (second.status_code, left(second, "output-tokens")) == (429, 0)
    assert 35 < int(second.headers["retry-after"]) <= 41  # 40 tokens are owed, one a second comes
    assert second.json()["error"]["type"] == "rate_limit_error"


def test_openai_does_not_have_limits_of_anthropics(limited: MockLLM, chat: Chat) -> None:
    limited.configure(limits=Limits(input_tokens_per_minute=1, output_tokens_per_minute=1))
    for _ in range(2):
        response = chat()
        assert (response.status_code, limits_of(response)) == (200, {})


@given(PER_MINUTE, SPEED, CAPACITY, st.integers(1, 10**6))
def test_a_bucket_in_debt_waits_until_it_is_paid(
    per_minute: float, speed: float, capacity: float, debt: int
) -> None:
    bucket = Bucket(capacity, per_minute, speed, 0)
    bucket.charge(bucket.capacity + debt, 0)
    wait = bucket.wait(1, 0)
    assert bucket.remaining(0) == bucket.remaining(wait - 1) == 0
    assert bucket.take(1, wait)


# anthropics/claude-code#2127, #38038
@pytest.mark.parametrize("cause", ["quota", "fault"])
def test_a_spent_balance_is_a_400_that_anthropics_sdk_does_not_retry(
    limited: MockLLM, cause: str
) -> None:
    if cause == "quota":
        limited.configure(limits=Limits(quota_tokens=0))
    else:
        limited.configure(limits=None, faults=[Fault(kind="insufficient_quota")])
    with (
        anthropic.Anthropic(base_url=limited.url.removesuffix("/v1"), api_key="sk-test") as client,
        pytest.raises(anthropic.BadRequestError, match="reached your specified API usage limits"),
    ):
        client.messages.create(
            model="mock-1", max_tokens=10, messages=[{"role": "user", "content": "Hello"}]
        )
    assert [request.status for request in limited.ledger().requests] == [400]
