"""LangChain: chat models and agents of both providers."""

from checks import CLAUDE, EMBEDDING, LIMITED_CLAUDE, LIMITED_OPENAI, OPENAI, QUESTION, check, run
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    name: str
    people: int


def weather(city: str) -> str:
    """The weather in a city."""
    return f"12 °C in {city}"


def chat(model) -> None:
    answer = model.invoke(QUESTION)
    assert answer.text
    assert answer.usage_metadata["output_tokens"] > 0


def stream(model) -> None:
    assert "".join(chunk.text for chunk in model.stream(QUESTION))


def tool_call(model) -> None:
    asked = model.bind_tools([weather], tool_choice="any").invoke(QUESTION)
    assert isinstance(asked.tool_calls[0]["args"]["city"], str)
    result = {"role": "tool", "tool_call_id": asked.tool_calls[0]["id"], "content": "12 °C"}
    turns = [{"role": "user", "content": QUESTION}, asked, result]
    assert model.bind_tools([weather]).invoke(turns).text


def structured(model) -> None:
    assert isinstance(model.with_structured_output(City).invoke(QUESTION), City)


def agent(model) -> None:
    turns = {"messages": [{"role": "user", "content": QUESTION}]}
    assert create_agent(model, tools=[]).invoke(turns)["messages"][-1].text
    done = create_agent(model, tools=[], response_format=City).invoke(turns)
    assert isinstance(done["structured_response"], City)


models = {
    "openai": ChatOpenAI(model=OPENAI),
    "openai responses": ChatOpenAI(model=OPENAI, use_responses_api=True),
    "anthropic": ChatAnthropic(model=CLAUDE),
}
for name, model in models.items():
    check(f"{name}, chat")(lambda model=model: chat(model))
    check(f"{name}, stream")(lambda model=model: stream(model))
    check(f"{name}, tool call")(lambda model=model: tool_call(model))
    check(f"{name}, structured output")(lambda model=model: structured(model))
    check(f"{name}, agent without tools")(lambda model=model: agent(model))


@check("text completion")
def text_completion() -> None:
    assert OpenAI().invoke(QUESTION)


@check("embeddings")
def embeddings() -> None:
    # By default it downloads a tokenizer to cut long texts.
    embedder = OpenAIEmbeddings(model=EMBEDDING, check_embedding_ctx_length=False)
    assert [len(each) for each in embedder.embed_documents(["one", "two"])] == [1536, 1536]


@check("openai, 429 retried")
def openai_retried() -> None:
    assert ChatOpenAI(model=LIMITED_OPENAI).invoke(QUESTION).text


@check("anthropic, 429 retried")
def anthropic_retried() -> None:
    assert ChatAnthropic(model=LIMITED_CLAUDE).invoke(QUESTION).text


run()
