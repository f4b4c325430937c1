"""Guidance: generation through OpenAI's chat."""

import json

import guidance
from checks import LIMITED_OPENAI, OPENAI, QUESTION, check, run
from guidance import assistant, gen, user
from pydantic import BaseModel, ConfigDict


class City(BaseModel):
    # Guidance asks for strict mode, which insists on it, and leaves the schema as it is.
    model_config = ConfigDict(extra="forbid")
    name: str
    people: int


def ask(model: str, what) -> str:
    lm = guidance.models.OpenAI(model, echo=False)
    with user():
        lm += QUESTION
    with assistant():
        lm += what
    return lm["answer"]


@check("chat")
def chat() -> None:
    assert ask(OPENAI, gen("answer"))


@check("structured output")
def structured() -> None:
    answer = ask(OPENAI, guidance.json(name="answer", schema=City))
    City.model_validate(json.loads(answer))


@check("429 retried")
def retried() -> None:
    assert ask(LIMITED_OPENAI, gen("answer"))


run()
