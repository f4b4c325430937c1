"""What a monitoring system reads at ``/metrics``, counted since the server started.

The histograms of what a model server should measure have the names, labels and buckets of
OpenTelemetry's semantic conventions for generative AI (open-telemetry/semantic-conventions-genai,
status: development), written as Prometheus writes them. What these do not name begins with
``mock_llm_``. They have no token counter for a server: ``gen_ai.client.token.usage`` is a client's.
"""

from __future__ import annotations

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from helpers.mock_llm.records.ledger import Request

# Without this the page would have the time at which each series was created: noise to a reader.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]

_DURATION = tuple(0.01 * 2**k for k in range(14))
_FIRST_TOKEN = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1),
    *(0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
# Models with series of their own. Clients choose the names, so the others share one. With all of
# them the page has 120 kB.
_MODELS = 10
_OTHER = "other"
# The conventions' operation and provider, of the routes behind which there is a model.
_OPERATIONS = {
    "/v1/chat/completions": ("chat", "openai"),
    "/v1/responses": ("chat", "openai"),
    "/v1/messages": ("chat", "anthropic"),
    "/v1/embeddings": ("embeddings", "openai"),
}
_LABELS = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
# In the order of `_Series`.
_HISTOGRAMS = (
    (
        "gen_ai_server_time_to_first_token_seconds",
        "From arrival to first token, of requests that succeeded: queue and prefill.",
        _FIRST_TOKEN,
    ),
    (
        "gen_ai_server_time_per_output_token_seconds",
        "Per token after the first, of requests that succeeded.",
        _PER_TOKEN,
    ),
    ("mock_llm_queue_time_seconds", "From arrival to a decode slot.", _FIRST_TOKEN),
)
_COUNTERS = (
    ("mock_llm_prompt_tokens", "Prompt tokens, including those found in the prefix cache."),
    ("mock_llm_cached_tokens", "Prompt tokens found in the prefix cache."),
    ("mock_llm_completion_tokens", "Tokens generated and billed, hidden reasoning included."),
    ("mock_llm_tokens_after_client_left", "Tokens generated after the client had left."),
)


class _Series:
    """The metrics of one operation and model, looked up once: a look-up costs more than a count."""

    def __init__(
        self, histograms: list[Histogram], counters: list[Counter], labels: tuple[str, str, str]
    ) -> None:
        self.first_token, self.per_token, self.queue = [
            histogram.labels(*labels) for histogram in histograms
        ]
        (
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            self.tokens_after_client_left,
        ) = [counter.labels(*labels) for counter in counters]

    def add(self, request: Request, end: float, *, failed: bool) -> None:
        if request.slot is not None:
            self.queue.observe(request.slot - request.arrival)
        tokens = request.completion_tokens or 0
        self.prompt_tokens.inc(request.prompt_tokens or 0)
        self.cached_tokens.inc(request.cached_tokens or 0)
        self.completion_tokens.inc(tokens)
        self.tokens_after_client_left.inc(request.tokens_after_client_left)
        if not failed and request.first_token is not None:
            self.first_token.observe(request.first_token - request.arrival)
            if tokens > 1:
                self.per_token.observe((end - request.first_token) / (tokens - 1))


class Metrics:
    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._models: set[str] = set()
        self._series: dict[tuple[str, str, str], _Series] = {}
        self._duration = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From a request's arrival to its last byte, or until its client left.",
            [*_LABELS, "error_type"],
            buckets=_DURATION,
            registry=registry,
        )
        self._histograms = [
            Histogram(name, words, _LABELS, buckets=buckets, registry=registry)
            for name, words, buckets in _HISTOGRAMS
        ]
        self._counters = [
            Counter(name, words, _LABELS, registry=registry) for name, words in _COUNTERS
        ]
        self._requests = Counter(
            "mock_llm_requests",
            "Requests that have ended; without a status if nothing was answered.",
            ["route", "gen_ai_request_model", "status"],
            registry=registry,
        )
        self._clients_left = Counter(
            "mock_llm_clients_left",
            "Requests whose client left before the last byte.",
            registry=registry,
        )
        self._faults = Counter("mock_llm_faults", "Faults injected.", ["kind"], registry=registry)
        self._connections = Counter(
            "mock_llm_connections",
            "TCP connections, by whether they carried a request or closed without one.",
            ["carried"],
            registry=registry,
        )
        for carried in ("requests", "nothing"):
            self._connections.labels(carried)
        self._now = [
            Gauge(f"mock_llm_{name}", words, registry=registry)
            for name, words in (
                ("requests_in_flight", "Requests between arrival and last byte."),
                ("streams_in_flight", "Streamed answers that have begun."),
                ("connections_open", "TCP connections, those of scrapers included."),
            )
        ]

    def request_over(self, request: Request, route: str, end: float) -> None:
        model = self._label(request.model)
        status = "" if request.status is None else str(request.status)
        self._requests.labels(route, model, status).inc()
        if request.client_left is not None:
            self._clients_left.inc()
        if route in _OPERATIONS:
            self._add(request, (*_OPERATIONS[route], model), end)

    def fault(self, kind: str) -> None:
        self._faults.labels(kind).inc()

    def connection(self, *, carried: bool) -> None:
        """A connection was opened that ``carried`` a request, or never did."""
        self._connections.labels("requests" if carried else "nothing").inc()

    def render(self, requests: int, streams: int, connections: int) -> tuple[bytes, str]:
        """The page, with how many of each are in flight or open now, and its content type."""
        for gauge, value in zip(self._now, (requests, streams, connections), strict=True):
            gauge.set(value)
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def _add(self, request: Request, labels: tuple[str, str, str], end: float) -> None:
        error = _error_type(request)
        self._duration.labels(*labels, error).observe(end - request.arrival)
        series = self._series.get(labels)
        if series is None:
            series = _Series(self._histograms, self._counters, labels)
            self._series[labels] = series
        series.add(request, end, failed=bool(error))

    def _label(self, model: str | None) -> str:
        if model is None:
            return ""
        if model not in self._models:
            if len(self._models) == _MODELS:
                return _OTHER
            self._models.add(model)
        return model


def _error_type(request: Request) -> str:
    """A status, or what ended an answer that had begun; "" if nothing was wrong."""
    if request.status is not None and request.status >= 400:
        return str(request.status)
    if request.client_left is not None:
        return "client_left"
    if request.fault is not None:
        return request.fault
    return "" if request.last_byte is not None else "_OTHER"
