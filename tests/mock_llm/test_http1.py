"""HTTP/1.1 as public reports show that clients and their users rely on it."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import subprocess
import zlib
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from helpers.mock_llm import Fault, MockLLM
from helpers.mock_llm.http import connection

from .conftest import Chat, eventually
from .load import post
from .test_connections import read_all

MESSAGES = [{"role": "user", "content": "Hello"}]
BODY = json.dumps({"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 5}).encode()


def root(llm: MockLLM) -> str:
    return llm.url.removesuffix("/v1")


def send(llm: MockLLM, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of what comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", urlsplit(llm.url).port), timeout=10) as client:
        client.sendall(request)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    return head, body


# Upgrades: Kludex/uvicorn#2722, MagicStack/httptools#124, langchain4j/langchain4j#3682.

UPGRADE = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABk")


def test_an_offer_of_http2_does_not_cost_the_body(llm: MockLLM) -> None:
    first = post("/chat/completions", BODY, *UPGRADE)
    second = post("/chat/completions", BODY.replace(b"gpt-4o", b"gpt-4.1"), b"connection: close")
    with socket.create_connection(("127.0.0.1", urlsplit(llm.url).port), timeout=10) as client:
        client.sendall(first + second)
        answers = read_all(client)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"model":"gpt-4o"') < answers.index(b'"model":"gpt-4.1"')


@pytest.mark.parametrize("pause", [1, 40, len(post("/chat/completions", BODY, *UPGRADE)) - 30])
def test_an_offer_that_comes_in_pieces_is_ignored_too(llm: MockLLM, pause: int) -> None:
    request = post("/chat/completions", BODY, *UPGRADE, b"x: 1")
    with socket.create_connection(("127.0.0.1", urlsplit(llm.url).port), timeout=10) as client:
        for piece in (request[:pause], request[pause : pause + 20], request[pause + 20 :]):
            client.sendall(piece)
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 OK")


def test_a_chunked_body_survives_an_offer_of_http2(llm: MockLLM) -> None:
    request = post("/chat/completions", b"", b"transfer-encoding: chunked", *UPGRADE)
    request = request.replace(b"content-length: 0\r\n", b"")
    with socket.create_connection(("127.0.0.1", urlsplit(llm.url).port), timeout=10) as client:
        client.sendall(request + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY))
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_many_offers_at_once_are_ignored(llm: MockLLM) -> None:
    one = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"
    last = one.replace(b"connection: upgrade", b"connection: upgrade, close")
    head, rest = send(llm, one * 1_999 + last)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert rest.count(b"HTTP/1.1 200 OK") == 1_999


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_curl_offers_http2(llm: MockLLM) -> None:
    command = ["curl", "-sS", "--noproxy", "*", "--http2", f"{llm.http_url}/chat/completions"]
    command += ["-H", "content-type: application/json", "-d", BODY.decode()]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    assert json.loads(done.stdout)["choices"]
    [request] = llm.ledger().requests
    assert (request.status, request.http_version) == (200, "1.1")


JAVA = """
import java.net.URI;
import java.net.http.*;

public class Client {
    public static void main(String[] args) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        for (int i = 0; i < 2; i++) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(args[1])).build();
            HttpResponse<?> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode());
        }
    }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK")
def test_javas_client_works_as_it_is(llm: MockLLM, tmp_path: Path) -> None:
    source = tmp_path / "Client.java"
    source.write_text(JAVA)
    command = ["java", str(source), f"{llm.http_url}/chat/completions", BODY.decode()]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["200", "200"]
    assert [request.status for request in llm.ledger().requests] == [200, 200]


# HTTP/1.0: lalinsky/dusty#193, me-no-dev/ESPAsyncWebServer#1315.


def test_an_http_1_0_client_gets_no_chunks(llm: MockLLM) -> None:
    body = BODY.replace(b'"max_tokens"', b'"stream": true, "max_tokens"')
    head, answer = send(llm, post("/chat/completions", body).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert answer.startswith(b"data: {")
    assert answer.endswith(b"data: [DONE]\n\n")


def test_an_http_1_0_client_gets_a_whole_answer_with_its_length(llm: MockLLM) -> None:
    head, answer = send(llm, post("/chat/completions", BODY).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert b"content-length: %d" % len(answer) in head
    assert json.loads(answer)["choices"]


# Framing.

CHUNKED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: "
BROKEN = {
    "two hosts": (400, b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n"),
    "chunk size": (400, CHUNKED + b"chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n"),
    "later chunk size": (400, CHUNKED + b"chunked\r\n\r\n1\r\na\r\n-1\r\nhello\r\n0\r\n\r\n"),
    "bare LF in a chunk": (400, CHUNKED + b"chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    "bare LF in the head": (400, b"GET /v1/models HTTP/1.1\nhost: localhost\n\n"),
    "unknown coding": (400, CHUNKED + b"xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "chunked is not the last": (400, CHUNKED + b"chunked, gzip\r\n\r\n0\r\n\r\n"),
    "gzip, chunked": (501, CHUNKED + b"gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "gzip in a header of its own": (
        501,
        CHUNKED + b"gzip\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ),
    "both lengths": (400, CHUNKED + b"chunked\r\ncontent-length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    "connect": (400, b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost\r\n\r\n"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_framing_gets_its_status(llm: MockLLM, chat: Chat, broken: str) -> None:
    status, request = BROKEN[broken]
    head, body = send(llm, request)
    assert head.startswith(b"HTTP/1.1 %d" % status)
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    assert chat().status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "anthropic"),
    [
        ("/v1/messages", b"", True),
        ("/v1/messages/batches", b"", True),
        ("/v1/models", b"anthropic-version: 2023-06-01\r\n", True),
        ("/v1/chat/completions", b"anthropic-version: 2023-06-01\r\n", False),
        ("/v1/models", b"", False),
        ("/nothing", b"", False),
    ],
)
@pytest.mark.parametrize("size", ["head", "line"])
def test_a_head_that_is_too_large_is_refused_in_the_words_of_its_provider(
    llm: MockLLM, path: str, headers: bytes, anthropic: bool, size: str
) -> None:
    end = b"\r\n" if size == "head" else b""
    large = headers + b"x: " + b"y" * (connection.MAX_HEAD + 1) + end
    request = b"POST %b HTTP/1.1\r\nhost: localhost\r\n%b\r\n" % (path.encode(), large)
    with socket.create_connection(("127.0.0.1", urlsplit(llm.url).port), timeout=10) as client:
        client.sendall(request)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    error = json.loads(body)
    assert error["error"]["message"].startswith("The request's head is larger")
    assert (error.get("type") == "error") is anthropic
    assert ("param" in error["error"]) is not anthropic


# Methods, paths and content: fastapi/fastapi#1773, openai/openai-openapi#194, litellm#41567.


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o", "/metrics", "/health"])
def test_head_is_answered_as_get_is_without_the_body(
    llm: MockLLM, path: str, *, http2: bool
) -> None:
    with httpx.Client(http1=not http2, http2=http2, timeout=10) as client:
        for _ in range(2):
            answer = client.head(root(llm) + path)
            assert (answer.status_code, answer.content) == (200, b"")
            assert int(answer.headers["content-length"]) > 0
        assert client.head(root(llm) + "/v1/chat/completions").status_code == 405


def test_health_needs_no_key_and_no_token() -> None:
    with MockLLM(api_key="secret") as llm:
        answer = httpx.get(f"{root(llm)}/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert llm.ledger().requests == []


@pytest.mark.parametrize(
    "path", ["/chat/completions", "/openai/nothing", "/", "/v2/models", "/v1x", "/healthy"]
)
def test_requests_to_wrong_paths_are_in_the_ledger(
    llm: MockLLM, http: httpx.Client, path: str
) -> None:
    answer = http.post(f"{root(llm)}{path}", json={})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "unknown_url"
    ledger = llm.ledger()
    [request] = ledger.requests
    assert (request.method, request.path, request.status) == ("POST", path, 404)
    assert [connection.requests for connection in ledger.connections] == [1]


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        (None, True),
        ("application/json", True),
        ("application/json;charset=UTF-8", True),
        ("APPLICATION/JSON ; charset=utf-8", True),
        ("text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
        ("application/jsonl", False),
    ],
)
def test_a_body_has_to_be_json(
    llm: MockLLM, http: httpx.Client, kind: str | None, taken: bool
) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = http.post(f"{llm.url}/chat/completions", content=BODY, headers=headers)
    assert answer.status_code == (200 if taken else 415)
    if not taken:
        error = answer.json()["error"]
        assert error["code"] == "unsupported_content_type"
        assert f"'Content-Type: {kind}'" in error["message"]
        answer = http.post(f"{llm.url}/messages", content=BODY, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (415, "error")


def deflate_without_zlib(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-15)


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", deflate_without_zlib),
        ("identity", bytes),
    ],
)
def test_compressed_bodies_are_read(
    llm: MockLLM, http: httpx.Client, encoding: str, compress: object
) -> None:
    assert callable(compress)
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    body = compress(BODY)
    assert http.post(f"{llm.url}/chat/completions", content=body, headers=headers).is_success


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip2"])
def test_other_encodings_are_named(llm: MockLLM, http: httpx.Client, encoding: str) -> None:
    headers = {"content-encoding": encoding, "content-type": "application/json"}
    answer = http.post(f"{llm.url}/chat/completions", content=BODY, headers=headers)
    assert answer.status_code == 415
    assert f"'{encoding}'" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "body",
    [BODY, b"", gzip.compress(BODY)[:-9], gzip.compress(BODY) + b"more"],
    ids=["plain", "empty", "cut", "longer"],
)
def test_what_is_not_gzip_is_a_400(llm: MockLLM, http: httpx.Client, body: bytes) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    answer = http.post(f"{llm.url}/chat/completions", content=body, headers=headers)
    assert answer.status_code == 400
    assert "not valid gzip data" in answer.json()["error"]["message"]


def test_a_bomb_is_not_unpacked(llm: MockLLM, http: httpx.Client) -> None:
    bomb = gzip.compress(bytes(300 * 2**20), 1)
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    answer = http.post(f"{llm.url}/chat/completions", content=bomb, headers=headers)
    assert answer.status_code == 413


# Web pages.

PAGES = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://localhost.evil.example:8010"},
    {"sec-fetch-site": "cross-site"},
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_no_page_from_elsewhere_leaves_a_trace(
    llm: MockLLM, http: httpx.Client, page: dict[str, str]
) -> None:
    for path in ("/v1/chat/completions", "/v1/messages", "/nothing", "/metrics", "/health"):
        answer = http.post(root(llm) + path, json=json.loads(BODY), headers=page)
        assert answer.status_code == 403, path
        assert http.options(root(llm) + path, headers=page).status_code == 403
    assert llm.ledger().requests == []
    assert llm.ledger().peak_in_flight == 0


@pytest.mark.parametrize(
    "page",
    [
        {"origin": "http://localhost:3000"},
        {"origin": "http://app.localhost:3000", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
    ids=str,
)
def test_pages_of_this_machine_are_answered(
    llm: MockLLM, http: httpx.Client, page: dict[str, str]
) -> None:
    answer = http.post(f"{llm.url}/chat/completions", json=json.loads(BODY), headers=page)
    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["localhost.", "api.localhost", "a.b.LOCALHOST:80"])
def test_names_below_localhost_are_this_machine(
    llm: MockLLM, http: httpx.Client, host: str
) -> None:
    """RFC 6761, section 6.3."""
    assert http.get(f"{llm.url}/models", headers={"host": host}).status_code == 200


def test_browsers_do_not_guess_what_the_metrics_are(llm: MockLLM, http: httpx.Client) -> None:
    assert http.get(f"{root(llm)}/metrics").headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/metrics?x=1", b"200"),
        (b"http://localhost/health", b"200"),
        (b"http://localhost/v1/models", b""),
        (b"/chat/completions", b""),
    ],
)
def test_only_the_api_refuses_connections(llm: MockLLM, target: bytes, status: bytes) -> None:
    llm.configure(faults=[Fault(kind="refuse")])
    head, _ = send(llm, b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % target)
    assert head[9:12] == status


def test_a_refusal_in_mid_body_is_an_answer_that_the_client_left(llm: MockLLM) -> None:
    send(llm, CHUNKED + b"chunked\r\n\r\nZZ\r\n")
    eventually(lambda: llm.ledger().requests[0].client_left)


# What outside testers found.

CLOSE = b"\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "host", [b"localhost?x", b"localhost#x", b".localhost", b"a..localhost", b"127.0.0.1/x"]
)
def test_a_host_is_a_name_and_a_port(llm: MockLLM, host: bytes) -> None:
    head, _ = send(llm, b"GET /v1/models HTTP/1.1\r\nhost: " + host + CLOSE)
    assert head.startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /v1/models HTTP/1.1\r\nx: 1", b"400 Bad Request"),
        (b"GET http://evil.example/v1/models HTTP/1.1\r\nhost: localhost", b"403 Forbidden"),
        (b"GET http://localhost:1/v1/models HTTP/1.1\r\nhost: evil.example", b"200 OK"),
        (b"GET /v1/models HTTP/3.0\r\nhost: localhost", b"505 "),
        (b"GET /v1/models HTTP/2.0\r\nhost: localhost", b"505 "),
        (b"GET /v1/models HTTP/0.9\r\nhost: localhost", b"505 "),
        (b"GET /v1/models HTTP/1.0\r\nhost: localhost", b"200 OK"),
        (b"GET /v1/models/ HTTP/1.1\r\nhost: localhost", b"404 "),
        (b"GET /v1/responses/ HTTP/1.1\r\nhost: localhost", b"404 "),
    ],
)
def test_what_the_first_lines_say(llm: MockLLM, request_line: bytes, status: bytes) -> None:
    head, body = send(llm, request_line + CLOSE)
    assert head.startswith(b"HTTP/1.1 " + status), head
    if status == b"404 ":
        assert json.loads(body)["error"]["code"] == "unknown_url"


def test_a_client_is_not_asked_for_a_body_that_is_too_large(llm: MockLLM) -> None:
    request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue"
    head, body = send(llm, request + b"\r\ncontent-length: 99999999\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close" in head
    assert json.loads(body)["error"]["code"] == "request_too_large"


def test_gzip_may_have_several_members(llm: MockLLM, http: httpx.Client) -> None:
    headers = {"content-encoding": "gzip"}
    body = gzip.compress(BODY[:20]) + gzip.compress(BODY[20:])
    url = f"{llm.url}/chat/completions"
    assert http.post(url, content=body, headers=headers).status_code == 200
    many = http.post(url, content=gzip.compress(b"") * 100_000, headers=headers)
    assert many.status_code == 400
    assert "not valid gzip data" in many.json()["error"]["message"]


def test_two_content_encodings_are_two(llm: MockLLM, http: httpx.Client) -> None:
    headers = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    answer = http.post(f"{llm.url}/chat/completions", content=gzip.compress(BODY), headers=headers)
    assert answer.status_code == 415
    assert "'gzip, gzip'" in answer.json()["error"]["message"]
