"""LlamaIndex: models of both providers."""

from checks import CLAUDE, EMBEDDING, LIMITED_OPENAI, OPENAI, QUESTION, check, openai_url, run
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    people: int


def chat(model) -> None:
    answer = model.complete(QUESTION)
    assert answer.text
    assert answer.raw


def stream(model) -> None:
    assert "".join(part.delta or "" for part in model.stream_complete(QUESTION))


def structured(model) -> None:
    assert isinstance(model.as_structured_llm(City).complete(QUESTION).raw, City)


async def tool_call(model) -> None:
    cities = []

    def weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return "12 °C"

    agent = FunctionAgent(tools=[weather], llm=model)
    assert str(await agent.run(QUESTION))
    assert cities


def add_agent(name: str, model) -> None:
    @check(f"{name}, tool call")
    async def bound() -> None:
        await tool_call(model)


# It does not read OPENAI_BASE_URL.
address = {"api_base": openai_url()}
models = {
    "openai": OpenAI(model=OPENAI, **address),
    "openai responses": OpenAIResponses(model=OPENAI, **address),
    "anthropic": Anthropic(model=CLAUDE),
}
for name, model in models.items():
    check(f"{name}, chat")(lambda model=model: chat(model))
    check(f"{name}, stream")(lambda model=model: stream(model))
    check(f"{name}, structured output")(lambda model=model: structured(model))
    add_agent(name, model)


@check("embeddings")
def embeddings() -> None:
    embedder = OpenAIEmbedding(model_name=EMBEDDING, **address)
    texts = embedder.get_text_embedding_batch(["one", "two"])
    assert [len(each) for each in texts] == [1536, 1536]


@check("429 retried")
def retried() -> None:
    assert OpenAI(model=LIMITED_OPENAI, **address).complete(QUESTION).text


run()
