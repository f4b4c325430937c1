"""Anthropic's SDK: messages."""

import anthropic
from checks import CLAUDE, FAULTY, LIMITED_CLAUDE, QUESTION, check, run
from pydantic import BaseModel

client = anthropic.Anthropic()
messages = [{"role": "user", "content": QUESTION}]
common = {"model": CLAUDE, "max_tokens": 1000}


class City(BaseModel):
    name: str
    people: int


@check("messages")
def chat() -> None:
    answer = client.messages.create(messages=messages, **common)
    assert answer.content[0].text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.input_tokens > 0 < answer.usage.output_tokens


@check("messages, stream")
def stream() -> None:
    with client.messages.stream(messages=messages, **common) as events:
        assert "".join(events.text_stream)
        assert events.get_final_message().usage.output_tokens > 0


@check("messages, as many tokens as the model has")
def long() -> None:
    largest = {"model": CLAUDE, "max_tokens": 128_000}
    with client.messages.stream(messages=messages, **largest) as events:
        assert events.get_final_message().content[0].text


@check("messages, tool call")
def tool_call() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"name": "weather", "description": "The weather.", "input_schema": schema}]
    asked = client.messages.create(
        messages=messages, tools=tools, tool_choice={"type": "any"}, **common
    )
    [call] = [block for block in asked.content if block.type == "tool_use"]
    assert isinstance(call.input["city"], str)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "12 °C"}
    turns = [
        *messages,
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(messages=turns, tools=tools, **common)
    assert answer.content[-1].text


@check("messages, structured output")
def structured() -> None:
    answer = client.messages.parse(messages=messages, output_format=City, **common)
    assert isinstance(answer.parsed_output, City)


@check("count of tokens")
def count() -> None:
    assert client.messages.count_tokens(model=CLAUDE, messages=messages).input_tokens > 0


@check("429 retried")
def retried() -> None:
    limited = {**common, "model": LIMITED_CLAUDE}
    assert client.messages.create(messages=messages, **limited).content[0].text


@check("errors by type")
def errors() -> None:
    assert isinstance(failure("401"), anthropic.AuthenticationError)
    assert failure("529").status_code == 529


def failure(fault: str) -> anthropic.APIStatusError | None:
    once, headers = client.with_options(max_retries=0), {"x-mock-fault": fault}
    try:
        once.messages.create(
            model=FAULTY, max_tokens=1000, messages=messages, extra_headers=headers
        )
    except anthropic.APIStatusError as error:
        return error
    return None


run()
