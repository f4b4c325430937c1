"""Strands: agents of both providers."""

from checks import CLAUDE, LIMITED_CLAUDE, LIMITED_OPENAI, OPENAI, QUESTION, check, run
from pydantic import BaseModel
from strands import Agent, tool
from strands.models.anthropic import AnthropicModel
from strands.models.openai import OpenAIModel

cities = []


class City(BaseModel):
    """A city."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    cities.append(city)
    return "12 °C"


def agent(model, **options) -> Agent:
    # Without its handler, which prints the answer.
    return Agent(model=model, callback_handler=None, **options)


def chat(model) -> None:
    done = agent(model)(QUESTION)
    assert str(done).strip()
    assert done.metrics.accumulated_usage["outputTokens"] > 0


async def stream(model) -> None:
    events = [event async for event in agent(model).stream_async(QUESTION)]
    assert any(event.get("data") for event in events)


def tool_call(model) -> None:
    cities.clear()
    assert str(agent(model, tools=[weather])(QUESTION)).strip()
    assert cities


def structured(model) -> None:
    done = agent(model)(QUESTION, structured_output_model=City)
    assert isinstance(done.structured_output, City)


def add_stream(name: str, model) -> None:
    @check(f"{name}, stream")
    async def bound() -> None:
        await stream(model)


models = {
    "openai": OpenAIModel(model_id=OPENAI),
    "anthropic": AnthropicModel(model_id=CLAUDE, max_tokens=1000),
}
for name, model in models.items():
    check(f"{name}, agent without tools")(lambda model=model: chat(model))
    add_stream(name, model)
    check(f"{name}, tool call")(lambda model=model: tool_call(model))
    check(f"{name}, structured output")(lambda model=model: structured(model))


@check("openai, 429 retried")
def openai_retried() -> None:
    chat(OpenAIModel(model_id=LIMITED_OPENAI))


@check("anthropic, 429 retried")
def anthropic_retried() -> None:
    chat(AnthropicModel(model_id=LIMITED_CLAUDE, max_tokens=1000))


run()
