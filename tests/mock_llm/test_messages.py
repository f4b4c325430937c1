"""Anthropic's Messages API, as its own client reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest

from helpers.mock_llm import MockLLM

VERSION = {"anthropic-version": "2023-06-01"}


def base_url(llm: MockLLM) -> str:
    """Anthropic's client adds /v1 itself."""
    return llm.url.removesuffix("/v1")


@pytest.fixture
def client(llm: MockLLM) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=base_url(llm), api_key="any", max_retries=0) as client:
        yield client


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object; checks the frame around it."""
    body = response.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "message"}
    return error


def test_the_models_are_listed_in_pages(client: anthropic.Anthropic) -> None:
    everything = [model.id for model in client.models.list()]
    assert "claude-sonnet-4-5" in everything
    assert "gpt-4o" not in everything
    assert [model.id for model in client.models.list(limit=1)] == everything
    backwards = client.models.list(limit=1, before_id=everything[2])
    assert [model.id for model in backwards.data] == [everything[1]]
    assert backwards.has_more
    assert client.models.retrieve("claude-next").type == "model"
    with pytest.raises(anthropic.NotFoundError, match="model: gpt-4o"):
        client.models.retrieve("gpt-4o")
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.models.list(limit=0)


def test_an_unknown_path_is_refused_in_the_clients_dialect(
    llm: MockLLM, http: httpx.Client
) -> None:
    response = http.get(f"{llm.url}/nothing/here/at/all", headers=VERSION)
    assert response.status_code == 404
    assert error_of(response) == {"type": "not_found_error", "message": "Not found"}


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}])
def test_a_missing_or_wrong_key_is_a_401(http: httpx.Client, headers: dict[str, str]) -> None:
    with MockLLM(api_key="sk-right") as llm:
        response = http.get(f"{llm.url}/models", headers=VERSION | headers)
        right = http.get(f"{llm.url}/models", headers=VERSION | {"x-api-key": "sk-right"})
        bearer = VERSION | {"authorization": "Bearer sk-right"}
        assert http.get(f"{llm.url}/models", headers=bearer).status_code == 200
    assert right.status_code == 200
    assert response.status_code == 401
    assert error_of(response)["type"] == "authentication_error"
