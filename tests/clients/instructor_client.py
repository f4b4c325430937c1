"""Instructor: structured output through tools and schemas."""

import instructor
from checks import CLAUDE, LIMITED_CLAUDE, LIMITED_OPENAI, OPENAI, QUESTION, check, run
from pydantic import BaseModel

messages = [{"role": "user", "content": QUESTION}]


class City(BaseModel):
    name: str
    people: int


def openai_client(mode: instructor.Mode, model: str = OPENAI) -> instructor.Instructor:
    return instructor.from_provider(f"openai/{model}", mode=mode)


def anthropic_client(mode: instructor.Mode, model: str = CLAUDE) -> instructor.Instructor:
    return instructor.from_provider(f"anthropic/{model}", mode=mode)


def create(client: instructor.Instructor, **options) -> None:
    city, answer = client.create_with_completion(
        messages=messages, response_model=City, max_tokens=1000, **options
    )
    assert isinstance(city, City)
    assert answer.usage


@check("openai, tools")
def tools() -> None:
    create(openai_client(instructor.Mode.TOOLS))


@check("openai, schema")
def schema() -> None:
    create(openai_client(instructor.Mode.JSON_SCHEMA))


@check("openai, stream")
def stream() -> None:
    client = openai_client(instructor.Mode.TOOLS)
    parts = list(client.create_partial(messages=messages, response_model=City))
    assert parts[-1].name


@check("anthropic, tools")
def anthropic_tools() -> None:
    create(anthropic_client(instructor.Mode.TOOLS))


@check("openai, 429 retried")
def retried() -> None:
    create(openai_client(instructor.Mode.TOOLS, LIMITED_OPENAI))


@check("anthropic, 429 retried")
def anthropic_retried() -> None:
    create(anthropic_client(instructor.Mode.TOOLS, LIMITED_CLAUDE))


run()
