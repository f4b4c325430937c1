"""/metrics as a monitoring system reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from helpers.mock_llm import Fault, Limits, MockLLM, Profile

from .conftest import NO_TLS, eventually

ROUTE = "/v1/chat/completions"
CHAT = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai"}
GPT = CHAT | {"gen_ai_request_model": "gpt-4o"}


@pytest.fixture
def fresh() -> Iterator[MockLLM]:
    """Metrics count from the start of a server."""
    with MockLLM() as llm:
        yield llm


class Metrics:
    """One reading."""

    def __init__(self, llm: MockLLM) -> None:
        response = httpx.get(f"{llm.url.removesuffix('/v1')}/metrics", verify=NO_TLS)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        self.families = {
            family.name: family for family in text_string_to_metric_families(response.text)
        }
        self.samples = [sample for family in self.families.values() for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum of the samples that have at least these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def ask(llm: MockLLM, *, model: str = "gpt-4o", prompt: str = "Hello", **more: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]} | more
    return httpx.post(f"{llm.url}/chat/completions", json=body, verify=NO_TLS, timeout=20)


def test_a_server_that_was_asked_nothing_has_all_its_metrics(fresh: MockLLM) -> None:
    kinds = {name: family.type for name, family in Metrics(fresh).families.items()}
    assert kinds == {
        "gen_ai_server_request_duration_seconds": "histogram",
        "gen_ai_server_time_to_first_token_seconds": "histogram",
        "gen_ai_server_time_per_output_token_seconds": "histogram",
        "mock_llm_queue_time_seconds": "histogram",
        "mock_llm_requests": "counter",
        "mock_llm_prompt_tokens": "counter",
        "mock_llm_cached_tokens": "counter",
        "mock_llm_completion_tokens": "counter",
        "mock_llm_tokens_after_client_left": "counter",
        "mock_llm_clients_left": "counter",
        "mock_llm_faults": "counter",
        "mock_llm_connections": "counter",
        "mock_llm_requests_in_flight": "gauge",
        "mock_llm_streams_in_flight": "gauge",
        "mock_llm_connections_open": "gauge",
    }


def test_tokens_and_requests_are_those_of_the_ledger(fresh: MockLLM) -> None:
    long_prompt = "one two three " * 600
    for prompt in ("Hello", long_prompt, long_prompt):
        ask(fresh, prompt=prompt)
    ask(fresh, model="no-such-model")
    metrics, requests = Metrics(fresh), fresh.ledger().requests
    for name in ("prompt", "cached", "completion"):
        tokens = sum(getattr(request, f"{name}_tokens") or 0 for request in requests)
        assert tokens > 0
        assert metrics(f"mock_llm_{name}_tokens_total", **GPT) == tokens
    assert metrics("mock_llm_requests_total", route=ROUTE, status="200") == 3
    assert metrics("mock_llm_requests_total", route=ROUTE, status="404") == 1
    assert metrics("mock_llm_requests_total") == len(requests)


def test_times_are_in_the_buckets_of_the_conventions(fresh: MockLLM) -> None:
    fresh.configure(profile=Profile(base=0.15, decode_rate=100), answer_tokens=30)
    ask(fresh, stream=True)
    ask(fresh)
    metrics, requests = Metrics(fresh), fresh.ledger().requests
    first_token = "gen_ai_server_time_to_first_token_seconds"
    waits = [(request.first_token or 0) - request.arrival for request in requests]
    assert metrics(f"{first_token}_sum", **GPT) == pytest.approx(sum(waits))
    assert metrics(f"{first_token}_bucket", le="0.1", **GPT) == 0
    assert metrics(f"{first_token}_bucket", le="10.0", **GPT) == 2
    assert metrics(f"{first_token}_bucket", le="+Inf", **GPT) == 2
    per_token = "gen_ai_server_time_per_output_token_seconds"
    assert metrics(f"{per_token}_count", **GPT) == 2
    gaps = [((request.last_byte or 0) - (request.first_token or 0)) / 29 for request in requests]
    assert metrics(f"{per_token}_sum", **GPT) == pytest.approx(sum(gaps))
    duration = "gen_ai_server_request_duration_seconds"
    assert metrics(f"{duration}_bucket", le="0.32", **GPT) == 0
    assert metrics(f"{duration}_bucket", le="81.92", error_type="", **GPT) == 2
    assert metrics("mock_llm_queue_time_seconds_count", **GPT) == 2
    bounds = [
        sample.labels["le"] for sample in metrics.samples if sample.name == f"{duration}_bucket"
    ]
    assert bounds[:3] == ["0.01", "0.02", "0.04"]
    assert len(bounds) == 15


def test_what_failed_has_a_duration_of_its_own(fresh: MockLLM) -> None:
    ask(fresh, temperature=77)
    metrics = Metrics(fresh)
    duration = "gen_ai_server_request_duration_seconds_count"
    assert metrics(duration, error_type="400", **CHAT) == metrics(duration) == 1
    assert metrics("gen_ai_server_time_to_first_token_seconds_count") == 0


def test_what_goes_on_now_is_in_the_gauges(fresh: MockLLM) -> None:
    fresh.configure(profile=Profile(decode_rate=10), answer_tokens=1_000)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with httpx.Client(verify=NO_TLS) as client:
        with client.stream("POST", f"{fresh.url}/chat/completions", json=body) as response:
            pieces = response.iter_bytes()  # the answer is abandoned when nobody holds it
            next(pieces)
            metrics = Metrics(fresh)
            assert metrics("mock_llm_requests_in_flight") == 1
            assert metrics("mock_llm_streams_in_flight") == 1
            assert metrics("mock_llm_connections_open") == 2  # the scraper's own too
            assert metrics("mock_llm_connections_total", carried="requests") == 1
        eventually(lambda: Metrics(fresh)("mock_llm_streams_in_flight") == 0)
    metrics = Metrics(fresh)
    assert metrics("mock_llm_requests_in_flight") == 0
    assert metrics("mock_llm_clients_left_total") == 1
    assert metrics("gen_ai_server_request_duration_seconds_count", error_type="client_left") == 1


def test_counters_go_on_after_a_reset_of_the_books(fresh: MockLLM) -> None:
    ask(fresh)
    fresh.reset()
    ask(fresh)
    metrics = Metrics(fresh)
    assert metrics("mock_llm_requests_total") == 2
    assert metrics("mock_llm_connections_total", carried="requests") == 2


def test_a_client_cannot_make_series_without_end(fresh: MockLLM) -> None:
    with httpx.Client(base_url=fresh.url, verify=NO_TLS) as client:
        for number in range(60):
            body = {"model": f"gpt-{number}", "messages": [{"role": "user", "content": "Hi"}]}
            assert client.post("chat/completions", json=body).status_code == 200
            client.post("chat/completions", json=body | {"model": f"unknown-{number}"})
            client.get(f"models/gpt-{number}")
            client.get(f"no/such/route/{number}")
    metrics = Metrics(fresh)
    models = {sample.labels.get("gen_ai_request_model") for sample in metrics.samples}
    routes = {sample.labels.get("route") for sample in metrics.samples} - {None}
    assert len(models) < 15
    assert routes == {ROUTE, "/v1/models/{id}", "other"}
    assert metrics("mock_llm_requests_total", gen_ai_request_model="other") == 50
    assert metrics("mock_llm_requests_total", route=ROUTE, status="200") == 60
    assert metrics("mock_llm_requests_total", route="other") == 60


def test_scraping_stays_out_of_the_books(fresh: MockLLM) -> None:
    Metrics(fresh)
    assert (fresh.ledger().requests, fresh.ledger().connections) == ([], [])
    assert Metrics(fresh)("mock_llm_connections_total") == 0


def test_no_web_page_reads_the_metrics(llm: MockLLM, http: httpx.Client) -> None:
    url = f"{llm.url.removesuffix('/v1')}/metrics"
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}):
        assert http.get(url, headers=headers).status_code == 403
    assert http.post(url).status_code == 405


def test_faults_are_counted_by_their_kind(fresh: MockLLM) -> None:
    fresh.configure(faults=[Fault(kind="503", first=2), Fault(kind="cut")], answer_tokens=20)
    assert [ask(fresh).status_code for _ in range(2)] == [503, 503]
    with pytest.raises(httpx.RemoteProtocolError):
        ask(fresh, stream=True)
    eventually(lambda: Metrics(fresh)("mock_llm_requests_in_flight") == 0)
    metrics = Metrics(fresh)
    assert metrics("mock_llm_faults_total", kind="503") == 2
    assert metrics("mock_llm_faults_total", kind="cut") == 1
    assert metrics("mock_llm_requests_total", status="503") == 2
    duration = "gen_ai_server_request_duration_seconds_count"
    assert metrics(duration, error_type="503") == 2
    assert metrics(duration, error_type="cut") == 1
    assert metrics("gen_ai_server_time_to_first_token_seconds_count") == 0


def test_refusals_by_a_limit_are_429s(fresh: MockLLM) -> None:
    fresh.configure(limits=Limits(requests_per_minute=1))
    for _ in range(3):
        ask(fresh)
    assert Metrics(fresh)("mock_llm_requests_total", route=ROUTE, status="429") == 2


def test_refused_connections_are_faults_too_but_scrapers_are_not_hit(fresh: MockLLM) -> None:
    fresh.configure(faults=[Fault(kind="refuse")])
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            ask(fresh)
    metrics = Metrics(fresh)
    assert metrics("mock_llm_faults_total", kind="refuse") == 2
    assert metrics("mock_llm_requests_total") == 0
