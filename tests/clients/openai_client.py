"""OpenAI's SDK: chat, Responses, embeddings."""

import json

import openai
from checks import EMBEDDING, FAULTY, LIMITED_OPENAI, OPENAI, QUESTION, check, run
from pydantic import BaseModel

client = openai.OpenAI()
messages = [{"role": "user", "content": QUESTION}]
parameters = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
tool = {"name": "weather", "parameters": parameters, "strict": True}


class City(BaseModel):
    name: str
    people: int


@check("chat")
def chat() -> None:
    answer = client.chat.completions.create(model=OPENAI, messages=messages)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens > 0 < answer.usage.completion_tokens


@check("chat, null for what is not used")
def nulls() -> None:
    unused = dict.fromkeys(("tools", "tool_choice", "response_format", "user"))
    answer = client.chat.completions.create(model=OPENAI, messages=messages, **unused)
    assert answer.choices[0].message.content


@check("chat, stream")
def stream() -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(model=OPENAI, messages=messages, **options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert chunks[-1].usage.completion_tokens > 0


@check("chat, tool call")
def tool_call() -> None:
    tools = [{"type": "function", "function": tool}]
    chosen = {"model": OPENAI, "tools": tools}
    asked = client.chat.completions.create(messages=messages, tool_choice="required", **chosen)
    message = asked.choices[0].message
    call = message.tool_calls[0]
    assert isinstance(json.loads(call.function.arguments)["city"], str)
    result = {"role": "tool", "tool_call_id": call.id, "content": "12 °C"}
    answer = client.chat.completions.create(messages=[*messages, message, result], **chosen)
    assert answer.choices[0].message.content


@check("chat, structured output")
def structured() -> None:
    answer = client.chat.completions.parse(model=OPENAI, messages=messages, response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)


@check("responses")
def responses() -> None:
    answer = client.responses.create(model=OPENAI, input=QUESTION)
    assert answer.output_text
    assert answer.usage.output_tokens > 0
    following = client.responses.create(
        model=OPENAI, input="And tomorrow?", previous_response_id=answer.id
    )
    assert following.output_text


@check("responses, stream")
def responses_stream() -> None:
    with client.responses.stream(model=OPENAI, input=QUESTION) as events:
        assert any(event.type == "response.output_text.delta" for event in events)
        assert events.get_final_response().usage.output_tokens > 0


@check("responses, tool call")
def responses_tool_call() -> None:
    chosen = {"model": OPENAI, "tools": [{"type": "function", **tool}]}
    asked = client.responses.create(input=QUESTION, tool_choice="required", **chosen)
    [call] = [item for item in asked.output if item.type == "function_call"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "12 °C"}
    answer = client.responses.create(input=[result], previous_response_id=asked.id, **chosen)
    assert answer.output_text


@check("responses, structured output")
def responses_structured() -> None:
    answer = client.responses.parse(model=OPENAI, input=QUESTION, text_format=City)
    assert isinstance(answer.output_parsed, City)


@check("completions")
def completions() -> None:
    answer = client.completions.create(model="gpt-3.5-turbo-instruct", prompt=QUESTION)
    assert answer.choices[0].text


@check("embeddings")
def embeddings() -> None:
    answer = client.embeddings.create(model=EMBEDDING, input=["one", "two"])
    assert [len(each.embedding) for each in answer.data] == [1536, 1536]
    assert answer.usage.prompt_tokens > 0


@check("429 retried")
def retried() -> None:
    answer = client.chat.completions.create(model=LIMITED_OPENAI, messages=messages)
    assert answer.choices[0].message.content


@check("errors by type")
def errors() -> None:
    kinds = {"401": openai.AuthenticationError, "503": openai.InternalServerError}
    for fault, kind in kinds.items():
        assert type(failure(fault)) is kind


def failure(fault: str) -> Exception | None:
    once, headers = client.with_options(max_retries=0), {"x-mock-fault": fault}
    try:
        once.chat.completions.create(model=FAULTY, messages=messages, extra_headers=headers)
    except openai.APIStatusError as error:
        return error
    return None


run()
