"""OpenAI's Agents SDK: Responses, which is its default, and chat."""

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
from checks import LIMITED_OPENAI, OPENAI, QUESTION, check, run
from openai import AsyncOpenAI
from pydantic import BaseModel

cities = []


class City(BaseModel):
    name: str
    people: int


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    cities.append(city)
    return "12 °C"


async def chat(model) -> None:
    done = await Runner.run(Agent(name="one", model=model), QUESTION)
    assert done.final_output
    assert done.context_wrapper.usage.output_tokens > 0


async def stream(model) -> None:
    streamed = Runner.run_streamed(Agent(name="one", model=model), QUESTION)
    assert [event async for event in streamed.stream_events()]
    assert streamed.final_output


async def tool_call(model) -> None:
    cities.clear()
    done = await Runner.run(Agent(name="one", model=model, tools=[weather]), QUESTION)
    assert done.final_output
    assert cities


async def structured(model) -> None:
    done = await Runner.run(Agent(name="one", model=model, output_type=City), QUESTION)
    assert isinstance(done.final_output, City)


async def handoff(model) -> None:
    second = Agent(name="second", model=model)
    done = await Runner.run(Agent(name="first", model=model, handoffs=[second]), QUESTION)
    assert done.last_agent is second


def add(name: str, function, model) -> None:
    async def bound() -> None:
        await function(model)

    check(name)(bound)


models = {
    "responses": OPENAI,
    "chat": OpenAIChatCompletionsModel(OPENAI, AsyncOpenAI()),
}
for name, model in models.items():
    add(f"{name}, answer", chat, model)
    add(f"{name}, stream", stream, model)
    add(f"{name}, tool call", tool_call, model)
    add(f"{name}, structured output", structured, model)
    add(f"{name}, handoff", handoff, model)
add("429 retried", chat, LIMITED_OPENAI)

run()
