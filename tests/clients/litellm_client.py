"""LiteLLM: one interface for both providers."""

import json

import litellm
from checks import CLAUDE, EMBEDDING, LIMITED_OPENAI, OPENAI, QUESTION, check, run
from pydantic import BaseModel

messages = [{"role": "user", "content": QUESTION}]
parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]


class City(BaseModel):
    name: str
    people: int


def chat(model: str) -> None:
    answer = litellm.completion(model=model, messages=messages)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


def stream(model: str) -> None:
    chunks = litellm.completion(model=model, messages=messages, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def tool_call(model: str) -> None:
    # Not forced: LiteLLM refuses that itself for some of Anthropic's models.
    chosen = {"model": model, "tools": tools}
    asked = litellm.completion(messages=messages, **chosen)
    message = asked.choices[0].message
    call = message.tool_calls[0]
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": call.id, "content": "12 °C"}
    answer = litellm.completion(messages=[*messages, message, result], **chosen)
    assert answer.choices[0].message.content


def structured(model: str) -> None:
    answer = litellm.completion(model=model, messages=messages, response_format=City)
    City.model_validate_json(answer.choices[0].message.content)


for provider, name in (("openai", OPENAI), ("anthropic", f"anthropic/{CLAUDE}")):
    check(f"{provider}, chat")(lambda name=name: chat(name))
    check(f"{provider}, stream")(lambda name=name: stream(name))
    check(f"{provider}, tool call")(lambda name=name: tool_call(name))
    check(f"{provider}, structured output")(lambda name=name: structured(name))


@check("responses")
def responses() -> None:
    assert litellm.responses(model=OPENAI, input=QUESTION).output


@check("text completion")
def text_completion() -> None:
    answer = litellm.text_completion(model="gpt-3.5-turbo-instruct", prompt=QUESTION)
    assert answer.choices[0].text


@check("embeddings")
def embeddings() -> None:
    answer = litellm.embedding(model=EMBEDDING, input=["one", "two"])
    assert [len(each["embedding"]) for each in answer.data] == [1536, 1536]


@check("429 retried")
def retried() -> None:
    answer = litellm.completion(model=LIMITED_OPENAI, messages=messages)
    assert answer.choices[0].message.content


run()
