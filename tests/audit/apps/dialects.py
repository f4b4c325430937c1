"""Asks once, in the format that it is started with: ``python dialects.py FORMAT [careless]``."""

from __future__ import annotations

import os
import sys
from typing import Any

import httpx

FORMAT = sys.argv[1]
IS_CARELESS = "careless" in sys.argv
QUESTION = [{"role": "user", "content": "Why do queues help?"}]
LIMIT = 200


def ask(url: str, body: dict[str, Any], headers: dict[str, str]) -> Any:
    reply = httpx.post(url, json=body, headers=headers, timeout=3)
    reply.raise_for_status()
    return reply.json()


def chat(limit: dict[str, int]) -> tuple[str, bool]:
    url = os.environ["AZURE_OPENAI_ENDPOINT"] + "/openai/deployments/gpt-4o/chat/completions"
    headers = {"api-key": os.environ["OPENAI_API_KEY"]}
    (choice,) = ask(url, {"messages": QUESTION, **limit}, headers)["choices"]
    return choice["message"]["content"], choice["finish_reason"] == "stop"


def responses(limit: dict[str, int]) -> tuple[str, bool]:
    url = os.environ["OPENAI_BASE_URL"] + "/responses"
    headers = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    body = {"model": "gpt-4.1", "instructions": "Be brief.", "input": QUESTION, **limit}
    answer = ask(url, body, headers)
    text = answer["output"][-1]["content"][0]["text"]
    return text, answer["status"] == "completed"


def messages(limit: dict[str, int]) -> tuple[str, bool]:
    url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
    headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
    body = {"model": "claude-sonnet-4-5", "system": "Be brief.", "messages": QUESTION, **limit}
    answer = ask(url, body, headers)
    return answer["content"][0]["text"], answer["stop_reason"] == "end_turn"


ask_in, name = {
    "chat": (chat, "max_completion_tokens"),
    "responses": (responses, "max_output_tokens"),
    "messages": (messages, "max_tokens"),
}[FORMAT]
text, is_whole = ask_in({} if IS_CARELESS and FORMAT != "messages" else {name: LIMIT})
print(text)
if not is_whole and not IS_CARELESS:
    sys.exit("The answer is not whole.")
