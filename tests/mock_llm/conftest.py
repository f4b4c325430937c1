"""One server for the tests that only ask it something; those that change it start their own."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import settings

from helpers.mock_llm import MockLLM, Request
from helpers.mock_llm.settings.settings import Changes

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_llm() -> Iterator[MockLLM]:
    with MockLLM() as llm:
        yield llm


@pytest.fixture
def llm(shared_llm: MockLLM) -> MockLLM:
    """A running server with fresh books and no connection left, as fast as it can be."""
    shared_llm.configure(**dict(Changes()))
    eventually(lambda: all(connection.closed for connection in shared_llm.ledger().connections))
    shared_llm.reset()
    return shared_llm


NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading the certificates that a plain connection does not need takes a client 50 ms."""


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=20, verify=NO_TLS) as client:
        yield client


Chat = Callable[..., httpx.Response]


@pytest.fixture
def chat(llm: MockLLM, http: httpx.Client) -> Chat:
    """Post a chat request: a prompt, and any other parameters."""

    def post(prompt: str = "Hello", **parameters: Any) -> httpx.Response:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]} | parameters
        return http.post(f"{llm.url}/chat/completions", json=body)

    return post


def eventually(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for what another process is about to do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.01)


def only_request(llm: MockLLM) -> Request:
    [request] = llm.ledger().requests
    return request
