"""Pydantic AI: agents of both providers."""

from checks import CLAUDE, EMBEDDING, LIMITED_CLAUDE, LIMITED_OPENAI, OPENAI, QUESTION, check, run
from pydantic import BaseModel
from pydantic_ai import Agent, Embedder, NativeOutput


class City(BaseModel):
    name: str
    people: int


async def chat(model: str) -> None:
    done = await Agent(model).run(QUESTION)
    assert done.output
    usage = done.usage() if callable(done.usage) else done.usage
    assert usage.output_tokens > 0


async def stream(model: str) -> None:
    async with Agent(model).run_stream(QUESTION) as events:
        assert "".join([text async for text in events.stream_text(delta=True)])


async def tool_call(model: str) -> None:
    cities = []
    agent = Agent(model)

    @agent.tool_plain
    def weather(city: str) -> str:
        cities.append(city)
        return "12 °C"

    assert (await agent.run(QUESTION)).output
    assert cities


async def structured(model: str) -> None:
    assert isinstance((await Agent(model, output_type=City).run(QUESTION)).output, City)


async def native(model: str) -> None:
    agent = Agent(model, output_type=NativeOutput(City))
    assert isinstance((await agent.run(QUESTION)).output, City)


def add(name: str, function, model: str) -> None:
    async def bound() -> None:
        await function(model)

    check(name)(bound)


for provider, model in (
    ("openai chat", f"openai-chat:{OPENAI}"),
    ("openai responses", f"openai-responses:{OPENAI}"),
    ("anthropic", f"anthropic:{CLAUDE}"),
):
    add(f"{provider}, chat", chat, model)
    add(f"{provider}, stream", stream, model)
    add(f"{provider}, tool call", tool_call, model)
    add(f"{provider}, structured output by tool", structured, model)
    add(f"{provider}, structured output by schema", native, model)


@check("embeddings")
async def embeddings() -> None:
    done = await Embedder(f"openai:{EMBEDDING}").embed_documents(["one", "two"])
    assert [len(each) for each in done.embeddings] == [1536, 1536]


add("openai, 429 retried", chat, f"openai-chat:{LIMITED_OPENAI}")
add("anthropic, 429 retried", chat, f"anthropic:{LIMITED_CLAUDE}")

run()
