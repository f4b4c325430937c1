"""Faults: which requests they hit, what each looks like to a client, what is left of them."""

from __future__ import annotations

import contextlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import anthropic
import httpx
import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.mock_llm import Fault, Limits, MockLLM, Profile
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.fault_plan import FaultPlan, read_header
from helpers.mock_llm.settings.faults import KINDS, STATUSES

from .conftest import NO_TLS, Chat, eventually, only_request

HELLO = [{"role": "user", "content": "Hello"}]
ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/chat/completions", {"model": "gpt-4o", "messages": HELLO}),
    "messages": (
        "/messages",
        {"model": "claude-sonnet-4-5", "messages": HELLO, "max_tokens": 100},
    ),
    "responses": ("/responses", {"model": "gpt-4o", "input": "Hello"}),
}
FINISHED = {
    "chat": {"[DONE]"},
    "messages": {"message_delta", "message_stop"},
    "responses": {"response.completed", "response.incomplete", "response.failed"},
}
every_route = pytest.mark.parametrize("route", ROUTES)
both_versions = pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


# The plan


def hits(*faults: Fault, seed: int = 0, requests: int = 12, model: str = "gpt-4o") -> list[str]:
    plan = FaultPlan(faults, seed, time.perf_counter())
    picked = [plan.pick(number, model) for number in range(1, requests + 1)]
    return [fault.kind if fault else "" for fault in picked]


def test_a_fault_hits_the_first_requests_or_every_kth_or_all() -> None:
    assert hits(Fault(kind="cut", first=2), requests=4) == ["cut", "cut", "", ""]
    assert hits(Fault(kind="cut", every=3), requests=7) == ["", "", "cut", "", "", "cut", ""]
    assert hits(Fault(kind="cut"), requests=3) == ["cut"] * 3


def test_the_first_fault_of_the_list_wins_and_all_count_on() -> None:
    faults = [Fault(kind="500", first=2), Fault(kind="503", first=3), Fault(kind="cut", every=4)]
    assert hits(*faults, requests=8) == ["500", "500", "503", "cut", "", "", "", "cut"]


def test_a_fault_for_a_model_counts_only_its_requests() -> None:
    plan = FaultPlan([Fault(kind="500", first=1, model="gpt-5")], 0, time.perf_counter())
    models = ["gpt-4o", "gpt-5", "gpt-5", "gpt-4o"]
    picked = [plan.pick(number, model) for number, model in enumerate(models, 1)]
    assert [fault is not None for fault in picked] == [False, True, False, False]


def test_a_window_opens_and_closes() -> None:
    fault = Fault(kind="503", between=(10, 20), first=1)
    for age, hit in ((5, False), (15, True), (25, False)):
        plan = FaultPlan([fault], 0, time.perf_counter() - age)
        assert (plan.pick(1, "gpt-4o") is not None) == hit


@given(st.integers(), st.floats(0, 1), st.permutations(range(1, 21)))
def test_a_share_depends_on_seed_and_number_alone(
    seed: int, share: float, order: list[int]
) -> None:
    fault = Fault(kind="cut", share=share)
    in_order = hits(fault, seed=seed, requests=20)
    plan = FaultPlan([fault], seed, time.perf_counter())
    picked = {number: plan.pick(number, "gpt-4o") for number in order}
    assert [("cut" if picked[number] else "") for number in range(1, 21)] == in_order


def test_a_share_is_about_that_share_and_differs_by_seed() -> None:
    some = hits(Fault(kind="cut", share=0.3), requests=2000)
    assert 0.25 < some.count("cut") / 2000 < 0.35
    assert some != hits(Fault(kind="cut", share=0.3), requests=2000, seed=1)
    assert hits(Fault(kind="cut", share=0)) == [""] * 12
    assert hits(Fault(kind="cut", share=1)) == ["cut"] * 12


def test_two_shares_do_not_hit_the_same_requests() -> None:
    both = hits(Fault(kind="500", share=0.3), Fault(kind="cut", share=0.3), requests=2000)
    assert 0.15 < both.count("cut") / 2000 < 0.27  # 0.3 of the other 0.7


def test_connections_are_refused_by_their_own_number() -> None:
    plan = FaultPlan([Fault(kind="refuse", every=2), Fault(kind="500", every=3)], 0, 0.0)
    assert [plan.refuses() for _ in range(4)] == [False, True, False, True]
    assert [bool(plan.pick(number, "gpt-4o")) for number in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"kind": "explode"}, "no fault is called 'explode'; there are refuse, reset, hang"),
        ({"kind": "cut", "share": 0.5, "first": 2}, "one of share, first and every"),
        ({"kind": "cut", "share": 1.5}, "from 0 to 1"),
        ({"kind": "cut", "share": "half"}, "from 0 to 1"),
        ({"kind": "cut", "first": 0}, "at least 1"),
        ({"kind": "cut", "every": 2.0}, "whole number"),
        ({"kind": "cut", "after_tokens": -1}, "at least 0"),
        ({"kind": "cut", "between": (3, 1)}, "in order"),
        ({"kind": "cut", "between": 3}, "two times"),
        ({"kind": "cut", "model": ""}, "model's name"),
        ({"kind": "drip", "interval": 0}, "more than 0 seconds"),
        ({"kind": "503", "retry_after": -1}, "0 to 1000000000 seconds"),
        ({"kind": "cut", "retry_after": 1}, "an error's status: 400, 401"),
        ({"kind": "refuse", "model": "gpt-4o"}, "cannot know the model"),
    ],
)
def test_faults_that_cannot_be_are_refused_with_the_choices(
    wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        Fault(**wrong)
    with pytest.raises(ValueError, match=words):
        MockLLM(faults=[wrong])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "wrong", ["cut", ["cut"], [{"kind": "cut", "sometimes": True}]], ids=["text", "texts", "field"]
)
def test_a_plan_of_something_else_is_refused(llm: MockLLM, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"[Ff]ault"):
        llm.configure(faults=wrong)


def test_a_header_is_a_fault() -> None:
    assert read_header(b"cut; after_tokens=3") == Fault(kind="cut", after_tokens=3)
    assert read_header(b" drip ;interval = 0.5 ") == Fault(kind="drip", interval=0.5)


@given(
    st.binary(max_size=50)
    | st.from_regex(rb"(drip|cut|503)(; ?(after_tokens|interval)=[\\d.e-]+)*")
)
def test_any_header_is_a_fault_or_an_error(value: bytes) -> None:
    try:
        fault = read_header(value)
    except ApiError:
        return
    assert fault.kind in KINDS


# What each looks like


def patience(fault: str | None) -> float:
    """Seconds: short where waiting is the point, else no test of speed."""
    return 1 if fault and fault.startswith(("hang", "drip; interval=60")) else 20


def post(
    llm: MockLLM, route: str, fault: str | None, *, http2: bool = False, **more: Any
) -> httpx.Response:
    path, body = ROUTES[route]
    headers = {"anthropic-version": "2023-06-01"} if route == "messages" else {}
    if fault is not None:
        headers["x-mock-fault"] = fault
    timeout = patience(fault)
    with httpx.Client(http1=not http2, http2=http2, verify=NO_TLS, timeout=timeout) as client:
        return client.post(f"{llm.url}{path}", json=body | more, headers=headers)


def events(response: httpx.Response) -> list[str]:
    lines = response.text.splitlines()
    return [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]


def kinds(route: str, datas: list[str]) -> list[str]:
    if route == "chat":
        return datas
    return [json.loads(data)["type"] for data in datas]


def text(route: str, response: httpx.Response) -> str:
    """What the model said, whole or streamed."""
    if not response.headers["content-type"].startswith("text/event-stream"):
        body = response.json()
        if route == "chat":
            return "".join(choice["message"]["content"] for choice in body["choices"])
        if route == "messages":
            return "".join(block["text"] for block in body["content"])
        return "".join(part["text"] for item in body["output"] for part in item["content"])
    said = ""
    for data in events(response):
        if data == "[DONE]":
            continue
        event = json.loads(data)
        if route == "chat":
            said += "".join(c["delta"].get("content", "") for c in event.get("choices", ()))
        elif route == "messages" and event["type"] == "content_block_delta":
            said += event["delta"]["text"]
        elif route == "responses" and event["type"] == "response.output_text.delta":
            said += event["delta"]
    return said


@every_route
@both_ways
@both_versions
@pytest.mark.parametrize("kind", STATUSES)
def test_statuses_have_the_providers_bodies(
    llm: MockLLM, route: str, stream: bool, http2: bool, kind: str
) -> None:
    response = post(llm, route, kind, http2=http2, stream=stream)
    anthropics_quota = (kind, route) == ("insufficient_quota", "messages")
    status = 400 if anthropics_quota else STATUSES[kind]
    assert response.status_code == status
    error = response.json()["error"]
    if route == "messages":
        assert error["type"] == {
            "400": "invalid_request_error",
            "401": "authentication_error",
            "404": "not_found_error",
            "rate_limit_exceeded": "rate_limit_error",
            "insufficient_quota": "invalid_request_error",
            "500": "api_error",
            "503": "api_error",
            "529": "overloaded_error",
        }.get(kind)
    else:
        assert (error["type"], error["code"]) == {
            "400": ("invalid_request_error", None),
            "401": ("invalid_request_error", "invalid_api_key"),
            "404": ("invalid_request_error", "model_not_found"),
            "rate_limit_exceeded": ("requests", "rate_limit_exceeded"),
            "insufficient_quota": ("insufficient_quota", "insufficient_quota"),
            "500": ("server_error", None),
            "503": ("service_unavailable_error", "server_is_overloaded"),
            "529": ("service_unavailable_error", "server_is_overloaded"),
        }.get(kind)
    request = only_request(llm)
    assert (request.fault, request.status) == (kind, status)


@every_route
@both_ways
@both_versions
@pytest.mark.parametrize("kind", ["refuse", "reset", "cut"])
def test_connections_break(llm: MockLLM, route: str, stream: bool, http2: bool, kind: str) -> None:
    error = httpx.NetworkError if kind == "reset" else httpx.RemoteProtocolError
    with pytest.raises(error):
        post(llm, route, kind, http2=http2, stream=stream)
    request = only_request(llm)
    assert (request.fault, request.status) == (kind, 200 if kind == "cut" else None)
    assert request.last_byte is not None
    assert request.client_left is None


@every_route
@both_versions
def test_a_stream_is_cut_after_so_many_tokens(llm: MockLLM, route: str, http2: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        post(llm, route, "cut; after_tokens=3", http2=http2, stream=True)
    assert only_request(llm).completion_tokens == 3


@every_route
@both_ways
@both_versions
@pytest.mark.parametrize("kind", ["hang", "hang_mid_stream", "drip; interval=60"])
def test_answers_stop_and_nothing_closes(
    llm: MockLLM, route: str, stream: bool, http2: bool, kind: str
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        post(llm, route, kind, http2=http2, stream=stream)
    eventually(lambda: only_request(llm).client_left)
    request = only_request(llm)
    assert (request.fault, request.last_byte) == (kind.partition(";")[0], None)
    assert (request.first_byte is None) == (kind == "hang")


@every_route
@both_versions
def test_streams_end_without_a_finish(llm: MockLLM, route: str, http2: bool) -> None:
    response = post(llm, route, "no_finish", http2=http2, stream=True)
    assert not FINISHED[route] & set(kinds(route, events(response)))
    assert '"finish_reason":"' not in response.text
    assert text(route, response) == text(route, post(llm, route, None))


def test_bodies_come_without_a_finish(llm: MockLLM) -> None:
    assert post(llm, "chat", "no_finish").json()["choices"][0]["finish_reason"] is None
    assert post(llm, "messages", "no_finish").json()["stop_reason"] is None
    assert post(llm, "responses", "no_finish").json()["status"] == "in_progress"


@every_route
@both_versions
def test_streams_end_in_an_error_event(llm: MockLLM, route: str, http2: bool) -> None:
    response = post(llm, route, "error_event; after_tokens=2", http2=http2, stream=True)
    assert response.status_code == 200
    datas = events(response)
    assert not FINISHED[route] & set(kinds(route, datas)) - {"response.failed"}
    last = json.loads(datas[-1])
    if route == "chat":
        assert last["error"]["type"] == "server_error"
    elif route == "messages":
        assert (last["type"], last["error"]["type"]) == ("error", "overloaded_error")
    else:
        assert last["type"] in ("error", "response.failed")
    assert len(text(route, response).split()) == 2


@every_route
def test_bodies_are_an_error_with_status_200(llm: MockLLM, route: str) -> None:
    response = post(llm, route, "error_event")
    assert response.status_code == 200
    assert "error" in response.json()


@every_route
@both_versions
def test_one_event_is_not_json(llm: MockLLM, route: str, http2: bool) -> None:
    response = post(llm, route, "malformed_json; after_tokens=2", http2=http2, stream=True)
    datas = [data for data in events(response) if data != "[DONE]"]
    assert len([data for data in datas if not parses(data)]) == 1
    assert parses(datas[-1])


@every_route
@both_versions
def test_the_body_is_not_json(llm: MockLLM, route: str, http2: bool) -> None:
    response = post(llm, route, "malformed_json", http2=http2)
    assert (response.status_code, parses(response.text)) == (200, False)


def parses(data: str) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


@every_route
@both_ways
def test_the_model_says_nothing(llm: MockLLM, route: str, stream: bool) -> None:
    response = post(llm, route, "empty_choices", stream=stream)
    assert (response.status_code, text(route, response)) == (200, "")
    if stream:
        assert FINISHED[route] & set(kinds(route, events(response)))


@every_route
@both_ways
def test_the_model_breaks_off_in_mid_word_and_says_it_has_finished(
    llm: MockLLM, route: str, stream: bool
) -> None:
    whole = text(route, post(llm, route, None))
    response = post(llm, route, "broken_answer", stream=stream)
    broken = text(route, response)
    assert whole.startswith(broken)
    assert broken[-1].isalpha()
    assert whole[len(broken)].isalpha()
    finish = {"chat": '"stop"', "messages": '"end_turn"', "responses": '"completed"'}
    assert finish[route] in response.text


@both_ways
def test_json_breaks_off_too(llm: MockLLM, stream: bool) -> None:
    wanted: dict[str, Any] = {
        "input": "Answer in JSON",
        "text": {"format": {"type": "json_object"}},
    }
    said = text("responses", post(llm, "responses", "broken_answer", stream=stream, **wanted))
    assert said.startswith("{")
    assert not parses(said)
    assert parses(text("responses", post(llm, "responses", None, stream=stream, **wanted)))


def test_a_drip_is_slow_and_complete(llm: MockLLM, chat: Chat, http: httpx.Client) -> None:
    path, body = ROUTES["chat"]
    begin = time.perf_counter()
    response = http.post(
        f"{llm.url}{path}", json=body, headers={"x-mock-fault": "drip; interval=0.001"}
    )
    assert time.perf_counter() - begin > 0.001 * (len(response.content) - 1)
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert only_request(llm).last_byte is not None


@pytest.mark.parametrize("header", ["", "explode", "cut; share=0.5", "cut; after_tokens=x", "500;"])
@every_route
def test_a_header_that_names_no_fault_is_refused(llm: MockLLM, route: str, header: str) -> None:
    response = post(llm, route, header)
    assert response.status_code == 400
    assert "x-mock-fault" in response.json()["error"]["message"]
    assert only_request(llm).fault is None


def test_a_header_on_a_route_without_a_model_is_refused(llm: MockLLM, http: httpx.Client) -> None:
    response = http.get(f"{llm.url}/models", headers={"x-mock-fault": "503"})
    assert response.status_code == 400
    assert "only requests that the model answers" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "fault",
    ["cut; after_tokens=99999999999999999999999", "503; retry_after=1e9", "drip; interval=60e300"],
)
def test_extreme_figures_do_no_harm(llm: MockLLM, fault: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        assert post(llm, "chat", fault, stream=True).status_code == 503
    assert only_request(llm).status in (200, 503)


def test_embeddings_go_wrong_too(llm: MockLLM, http: httpx.Client) -> None:
    def embed(fault: str) -> httpx.Response:
        body = {"model": "text-embedding-3-small", "input": "Hello"}
        return http.post(f"{llm.url}/embeddings", json=body, headers={"x-mock-fault": fault})

    assert embed("503").status_code == 503
    assert embed("empty_choices").json()["data"] == []
    assert not parses(embed("malformed_json").text)
    with pytest.raises(httpx.RemoteProtocolError):
        embed("cut")


# Whom they hit


def test_a_plan_hits_over_http_and_a_reset_begins_it_anew(llm: MockLLM, chat: Chat) -> None:
    llm.configure(faults=[Fault(kind="503", first=2), Fault(kind="empty_choices", every=3)])
    for _ in range(2):
        assert [chat().status_code for _ in range(3)] == [503, 503, 200]
        faults = [request.fault for request in llm.ledger().requests]
        assert faults == ["503", "503", "empty_choices"]
        llm.reset()


def test_a_plan_counts_on_until_it_is_told_again(llm: MockLLM, chat: Chat) -> None:
    plan = [Fault(kind="503", first=1)]
    llm.configure(faults=plan)
    assert chat().status_code == 503
    llm.configure(answer_tokens=3)
    assert chat().status_code == 200
    llm.configure(faults=plan)
    assert chat().status_code == 503


def test_a_refused_connection_is_in_the_ledger_without_a_request(llm: MockLLM) -> None:
    llm.configure(faults=[Fault(kind="refuse", first=1)])
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{llm.url}/models")
    assert httpx.get(f"{llm.url}/models").status_code == 200
    eventually(lambda: all(connection.closed for connection in llm.ledger().connections))
    ledger = llm.ledger()
    assert [connection.requests for connection in ledger.connections] == [0, 1]
    assert len(ledger.requests) == 1


def test_a_header_comes_before_the_plan(llm: MockLLM, chat: Chat) -> None:
    llm.configure(faults=[Fault(kind="503")])
    assert post(llm, "chat", "400").status_code == 400
    assert chat().status_code == 503


def test_control_requests_are_never_hit(llm: MockLLM) -> None:
    llm.configure(faults=[Fault(kind="refuse"), Fault(kind="hang")])
    assert llm.ledger().requests == []
    llm.reset()
    llm.configure(faults=())


def test_faults_count_against_the_limits(llm: MockLLM, chat: Chat) -> None:
    llm.configure(limits=Limits(requests_per_minute=2), faults=[Fault(kind="500", first=2)])
    responses = [chat() for _ in range(3)]
    assert [response.status_code for response in responses] == [500, 500, 429]
    assert [r.headers["x-ratelimit-remaining-requests"] for r in responses] == ["1", "0", "0"]


def test_a_fault_says_when_to_come_back_in_the_servers_form(llm: MockLLM, chat: Chat) -> None:
    llm.configure(faults=[Fault(kind="503", retry_after=1.5)])
    assert chat().headers["retry-after"] == "2"
    llm.configure(limits=Limits(retry_after="ms"))
    assert chat().headers["retry-after-ms"] == "1500"
    assert "retry-after" not in chat().headers


def test_speed_does_not_change_a_drip(llm: MockLLM) -> None:
    llm.configure(speed=1000)
    with pytest.raises(httpx.ReadTimeout):
        post(llm, "chat", "drip; interval=60")


# What is left of them


@pytest.mark.parametrize("kind", ["hang", "hang_mid_stream", "drip; interval=60"])
@both_ways
def test_the_slot_is_free_once_the_client_has_left(
    llm: MockLLM, chat: Chat, kind: str, stream: bool
) -> None:
    llm.configure(profile=Profile(slots=1))
    with pytest.raises(httpx.ReadTimeout):
        post(llm, "chat", kind, stream=stream)
    assert chat().status_code == 200


def test_the_server_stops_with_answers_that_hang() -> None:
    with MockLLM(faults=[Fault(kind="hang")]) as llm, ThreadPoolExecutor() as threads:
        path, body = ROUTES["chat"]
        hung = threads.submit(httpx.post, f"{llm.url}{path}", json=body, timeout=20)
        eventually(lambda: llm.ledger().requests)
        llm.stop()
        with pytest.raises(httpx.TransportError):
            hung.result()


# The clients


class Ask(Protocol):
    def __call__(self, llm: MockLLM, fault: str, stream: bool = False) -> Any: ...


def ask_openai(llm: MockLLM, fault: str, stream: bool = False) -> Any:
    with openai.OpenAI(
        base_url=llm.url,
        api_key="sk-test",
        timeout=patience(fault),
        default_headers={"x-mock-fault": fault},
    ) as client:
        answer = client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hello"}], stream=stream
        )
        return list(answer) if stream else answer


def ask_anthropic(llm: MockLLM, fault: str, stream: bool = False) -> Any:
    with anthropic.Anthropic(
        base_url=llm.url.removesuffix("/v1"),
        api_key="sk-test",
        timeout=patience(fault),
        default_headers={"x-mock-fault": fault},
    ) as client:
        answer = client.messages.create(
            model="mock-1",
            max_tokens=100,
            messages=[{"role": "user", "content": "Hello"}],
            stream=stream,
        )
        return list(answer) if stream else answer


WHOLE = [
    ("400", "BadRequestError", 1),
    ("401", "AuthenticationError", 1),
    ("404", "NotFoundError", 1),
    ("rate_limit_exceeded; retry_after=0.001", "RateLimitError", 3),
    ("insufficient_quota; retry_after=0.001", "RateLimitError", 3),
    ("500; retry_after=0.001", "InternalServerError", 3),
    ("503; retry_after=0.001", "InternalServerError", 3),
    ("529; retry_after=0.001", "InternalServerError", 3),
    ("refuse", "APIConnectionError", 3),
    ("reset", "APIConnectionError", 3),
    ("cut", "APIConnectionError", 3),
    ("hang", "APITimeoutError", 3),
]


@pytest.mark.parametrize(("fault", "error", "attempts"), WHOLE)
@pytest.mark.parametrize("sdk", [openai, anthropic], ids=["openai", "anthropic"])
def test_sdks_raise_their_typed_errors_after_their_own_retries(
    llm: MockLLM, sdk: Any, fault: str, error: str, attempts: int
) -> None:
    llm.configure(limits=Limits(retry_after="ms"))
    ask: Ask = ask_openai if sdk is openai else ask_anthropic
    if sdk is anthropic and fault.startswith("insufficient_quota"):
        error, attempts = "BadRequestError", 1
    with pytest.raises(getattr(sdk, error)):
        ask(llm, fault)
    assert len(llm.ledger().requests) == attempts


@pytest.mark.parametrize("fault", ["hang_mid_stream", "drip; interval=60"])
@pytest.mark.parametrize(
    ("ask", "error"), [(ask_openai, openai.APITimeoutError), (ask_anthropic, httpx2.ReadTimeout)]
)
def test_sdks_give_up_a_stream_that_falls_silent_without_a_retry(
    llm: MockLLM, ask: Ask, error: type[Exception], fault: str
) -> None:
    with pytest.raises(error):
        ask(llm, fault, stream=True)
    assert len(llm.ledger().requests) == 1


@pytest.mark.parametrize(
    ("ask", "error"),
    [(ask_openai, openai.APIConnectionError), (ask_anthropic, httpx2.RemoteProtocolError)],
)
def test_sdks_do_not_retry_a_cut_stream(llm: MockLLM, ask: Ask, error: type[Exception]) -> None:
    with pytest.raises(error):
        ask(llm, "cut", stream=True)
    assert len(llm.ledger().requests) == 1


@pytest.mark.parametrize("ask", [ask_openai, ask_anthropic])
def test_sdks_take_a_stream_without_a_finish_for_complete(llm: MockLLM, ask: Ask) -> None:
    assert ask(llm, "no_finish", stream=True)


def test_sdks_raise_an_error_event(llm: MockLLM) -> None:
    with pytest.raises(openai.APIError):
        ask_openai(llm, "error_event", stream=True)
    with pytest.raises(anthropic.APIStatusError):
        ask_anthropic(llm, "error_event", stream=True)


@pytest.mark.parametrize("ask", [ask_openai, ask_anthropic])
@both_ways
def test_sdks_do_not_wrap_a_broken_body(llm: MockLLM, ask: Ask, stream: bool) -> None:
    with pytest.raises(json.JSONDecodeError):
        ask(llm, "malformed_json", stream=stream)
    assert len(llm.ledger().requests) == 1


@pytest.mark.parametrize(("form", "least"), [("ms", 0.1), ("seconds", 1.0)])
def test_sdks_come_back_when_a_fault_says_so(llm: MockLLM, form: Any, least: float) -> None:
    llm.configure(
        limits=Limits(retry_after=form), faults=[Fault(kind="503", first=1, retry_after=0.1)]
    )
    with openai.OpenAI(base_url=llm.url, api_key="sk-test") as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hi"}])
    first, second = llm.ledger().requests
    assert least <= second.arrival - first.arrival < least + 5


# Clients that leave


SLOW = Profile(decode_rate=50, slots=1)


def leave_after(llm: MockLLM, seconds: float, *, stream: bool, http2: bool = False) -> None:
    path, body = ROUTES["chat"]
    with httpx.Client(http1=not http2, http2=http2, verify=NO_TLS, timeout=5) as client:
        if not stream:
            with pytest.raises(httpx.ReadTimeout):
                client.post(f"{llm.url}{path}", json=body, timeout=httpx.Timeout(5, read=seconds))
            return
        with client.stream("POST", f"{llm.url}{path}", json=body | {"stream": True}) as response:
            next(response.iter_lines())


@both_ways
@both_versions
def test_an_abandoned_answer_is_dropped_at_once(llm: MockLLM, stream: bool, http2: bool) -> None:
    llm.configure(profile=SLOW, answer_tokens=500, finish_abandoned=False)
    leave_after(llm, 0.1, stream=stream, http2=http2)
    eventually(lambda: only_request(llm).client_left)
    assert only_request(llm).tokens_after_client_left == 0
    assert (only_request(llm).completion_tokens or 0) < 500
    llm.configure(answer_tokens=1)
    leave_after(llm, 0.1, stream=True)  # the only slot is free again


@both_ways
@both_versions
def test_an_abandoned_answer_is_written_to_its_end_and_billed(
    llm: MockLLM, stream: bool, http2: bool
) -> None:
    llm.configure(profile=SLOW, answer_tokens=75, finish_abandoned=True)
    leave_after(llm, 0.1, stream=stream, http2=http2)
    eventually(lambda: only_request(llm).tokens_after_client_left)
    request = only_request(llm)
    assert request.completion_tokens == 75
    assert 0 < request.tokens_after_client_left <= 75
    assert request.client_left is not None
    assert request.last_byte is None
    if not stream:
        assert request.tokens_after_client_left == 75


def test_an_abandoned_answer_keeps_its_slot_until_it_is_written(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=SLOW, answer_tokens=25, finish_abandoned=True)
    leave_after(llm, 0.1, stream=True)
    assert chat(max_tokens=1).status_code == 200
    abandoned, waited = llm.ledger().requests
    assert waited.slot is not None
    assert abandoned.slot is not None
    assert waited.slot - abandoned.slot > 20 / 50  # of 24 / 50 s that its tokens take


def test_a_hung_answer_writes_nothing_for_a_client_that_left(llm: MockLLM) -> None:
    llm.configure(finish_abandoned=True)
    with pytest.raises(httpx.ReadTimeout):
        post(llm, "chat", "hang_mid_stream; after_tokens=3", stream=True)
    eventually(lambda: only_request(llm).client_left)
    request = only_request(llm)
    assert (request.completion_tokens, request.tokens_after_client_left) == (3, 0)
