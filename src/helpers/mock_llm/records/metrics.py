"""What a monitoring system reads at ``/metrics``, counted since the server started.

The histograms of what a model server should measure have the names, labels and buckets of
OpenTelemetry's semantic conventions for generative AI (open-telemetry/semantic-conventions-genai,
status: development), written as Prometheus writes them. What these do not name begins with
``mock_llm_``. They have no token counter for a server: ``gen_ai.client.token.usage`` is a client's.

Counting a request takes less than 2 us; the page, some milliseconds, is made when somebody reads.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from helpers.mock_llm.records.ledger import Request

if TYPE_CHECKING:
    from prometheus_client import Metric

_DURATION = tuple(0.01 * 2**k for k in range(14))
_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_MODELS = 10
"""Models with series of their own. Clients choose the names, so the others share one. With all of
them the page has 120 kB."""
_OTHER = "other"
_OPERATIONS = {
    "/v1/chat/completions": ("chat", "openai"),
    "/v1/responses": ("chat", "openai"),
    "/v1/messages": ("chat", "anthropic"),
    "/v1/embeddings": ("embeddings", "openai"),
}
"""The conventions' operation and provider, of the routes behind which there is a model."""
_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")


class Gauges(NamedTuple):
    """How many there are now."""

    requests_in_flight: int
    streams_in_flight: int
    connections_open: int


class _Histogram:
    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound, and the sum, as the client library wants them."""
        bounds = [*(f"{bound:.12g}" for bound in self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True)), self._sum


@dataclass(slots=True)
class _Work:
    """What was done for one route and model."""

    requests: Counter[int | None] = field(default_factory=Counter)
    """By status."""
    duration: dict[str, _Histogram] = field(default_factory=dict)
    """By type of error; "" is none."""
    first_token: _Histogram = field(default_factory=lambda: _Histogram(_FIRST_TOKEN))
    per_token: _Histogram = field(default_factory=lambda: _Histogram(_PER_TOKEN))
    queue: _Histogram = field(default_factory=lambda: _Histogram(_FIRST_TOKEN))
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    tokens_after_client_left: int = 0

    def add(self, request: Request, end: float) -> None:
        error = _error_type(request)
        duration = self.duration.get(error)
        if duration is None:
            duration = self.duration[error] = _Histogram(_DURATION)
        duration.observe(end - request.arrival)
        if request.slot is not None:
            self.queue.observe(request.slot - request.arrival)
        self.prompt_tokens += request.prompt_tokens or 0
        self.cached_tokens += request.cached_tokens or 0
        tokens = request.completion_tokens or 0
        self.completion_tokens += tokens
        self.tokens_after_client_left += request.tokens_after_client_left
        if not error and request.first_token is not None:
            self.first_token.observe(request.first_token - request.arrival)
            if tokens > 1:
                self.per_token.observe((end - request.first_token) / (tokens - 1))


class Metrics:
    def __init__(self) -> None:
        self._models: set[str] = set()
        self._work: dict[tuple[str, str], _Work] = {}
        self._faults: Counter[str] = Counter()
        self._connections: Counter[bool] = Counter()
        self._clients_left = 0

    def request_over(self, request: Request, route: str, end: float) -> None:
        model = self._label(request.model)
        work = self._work.get((route, model))
        if work is None:
            work = self._work[route, model] = _Work()
        work.requests[request.status] += 1
        self._clients_left += request.client_left is not None
        if route in _OPERATIONS:
            work.add(request, end)

    def fault(self, kind: str) -> None:
        self._faults[kind] += 1

    def connection(self, *, carried: bool) -> None:
        """A connection was opened that ``carried`` a request, or never did."""
        self._connections[carried] += 1

    def render(self, gauges: Gauges) -> tuple[bytes, str]:
        """The page and its content type."""
        # Imported when somebody asks: the server would start later by it.
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

        registry = CollectorRegistry()
        registry.register(_Page([*self._histograms(), *self._counters(), *_gauges(gauges)]))
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def _label(self, model: str | None) -> str:
        if model is None:
            return ""
        if model not in self._models:
            if len(self._models) == _MODELS:
                return _OTHER
            self._models.add(model)
        return model

    def _histograms(self) -> Iterator[Metric]:
        from prometheus_client.core import HistogramMetricFamily as Family

        duration = Family(
            "gen_ai_server_request_duration_seconds",
            "From a request's arrival to its last byte, or until its client left.",
            labels=[*_LABELS, "error_type"],
        )
        first_token = Family(
            "gen_ai_server_time_to_first_token_seconds",
            "From arrival to first token, of requests that succeeded: queue and prefill.",
            labels=_LABELS,
        )
        per_token = Family(
            "gen_ai_server_time_per_output_token_seconds",
            "Per token after the first, of requests that succeeded.",
            labels=_LABELS,
        )
        queue = Family(
            "mock_llm_queue_time_seconds", "From arrival to a decode slot.", labels=_LABELS
        )
        for labels, work in self._labelled():
            for error, histogram in work.duration.items():
                duration.add_metric([*labels, error], *histogram.buckets())
            first_token.add_metric(labels, *work.first_token.buckets())
            per_token.add_metric(labels, *work.per_token.buckets())
            queue.add_metric(labels, *work.queue.buckets())
        yield from (duration, first_token, per_token, queue)

    def _counters(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily as Family

        requests = Family(
            "mock_llm_requests",
            "Requests that are over; without a status if nothing was answered.",
            labels=["route", "gen_ai_request_model", "status"],
        )
        for (route, model), work in self._work.items():
            for status, count in work.requests.items():
                requests.add_metric([route, model, "" if status is None else str(status)], count)
        yield requests
        for name, words in (
            ("prompt_tokens", "Tokens of prompts, those found in the prefix cache too."),
            ("cached_tokens", "Tokens of prompts that were found in the prefix cache."),
            ("completion_tokens", "Tokens written and billed, hidden reasoning too."),
            ("tokens_after_client_left", "Tokens of them that were written for nobody."),
        ):
            tokens = Family(f"mock_llm_{name}", words, labels=_LABELS)
            for labels, work in self._labelled():
                tokens.add_metric(labels, getattr(work, name))
            yield tokens
        yield Family(
            "mock_llm_clients_left",
            "Requests whose client left before the last byte.",
            value=self._clients_left,
        )
        faults = Family("mock_llm_faults", "Faults injected.", labels=["kind"])
        for kind, count in self._faults.items():
            faults.add_metric([kind], count)
        yield faults
        connections = Family(
            "mock_llm_connections",
            "TCP connections, by whether they carried a request or closed without one.",
            labels=["carried"],
        )
        for carried, word in ((True, "requests"), (False, "nothing")):
            connections.add_metric([word], self._connections[carried])
        yield connections

    def _labelled(self) -> Iterator[tuple[list[str], _Work]]:
        for (route, model), work in self._work.items():
            if route in _OPERATIONS:
                yield [*_OPERATIONS[route], model], work


def _gauges(gauges: Gauges) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    for name, words, value in zip(
        gauges._fields,
        (
            "Requests between arrival and last byte.",
            "Streamed answers that have begun.",
            "TCP connections, those of scrapers too.",
        ),
        gauges,
        strict=True,
    ):
        yield GaugeMetricFamily(f"mock_llm_{name}", words, value=value)


class _Page:
    """A collector, as the client library calls what it reads metrics from."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _error_type(request: Request) -> str:
    """A status, or what ended an answer that had begun; "" if nothing was wrong."""
    if request.status is not None and request.status >= 400:
        return str(request.status)
    if request.client_left is not None:
        return "client_left"
    if request.fault is not None:
        return request.fault
    return "" if request.last_byte is not None else "_OTHER"
