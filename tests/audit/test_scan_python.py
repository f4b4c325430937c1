"""Variants of the mistakes in Python, and right code that looks like them."""

from pathlib import Path

import pytest

from tests.audit.scanning import found

FAILS = {
    "an alias of the module": (
        """
        import openai as o

        client = o.OpenAI(timeout=30)

        async def chat(m):
            return client.chat.completions.create(model="gpt-5", messages=m).choices
        """,
        [("LAP01.sync-call", 7)],
    ),
    "an alias of the class": (
        """
        from openai import OpenAI as Client

        async def chat(text, client: Client):
            return client.responses.create(model="gpt-5", input=text)
        """,
        [("LAP01.sync-call", 5)],
    ),
    "the module itself": (
        """
        import openai

        async def chat(m):
            return openai.chat.completions.create(model="gpt-5", messages=m)
        """,
        [("LAP01.sync-call", 5)],
    ),
    "an attribute of the class": (
        """
        import anthropic

        class Service:
            client = anthropic.Anthropic(timeout=30)

            async def chat(self, m):
                return self.client.messages.create(model="claude", max_tokens=9, messages=m)
        """,
        [("LAP01.sync-call", 8)],
    ),
    "an attribute of a base class": (
        """
        from openai import AzureOpenAI

        class Base:
            def __init__(self, **options):
                self._client = AzureOpenAI(**options)

        class Service(Base):
            async def chat(self, m):
                return self._client.chat.completions.create(model="gpt-5", messages=m)
        """,
        [("LAP01.sync-call", 10)],
    ),
    "a factory": (
        """
        from openai import OpenAI

        def make():
            return OpenAI(timeout=30)

        async def chat(m):
            return make().with_options(timeout=5).chat.completions.create(model="x", messages=m)
        """,
        [("LAP01.sync-call", 8)],
    ),
    "a raw response": (
        """
        from openai import OpenAI

        client = OpenAI(timeout=30)

        async def chat(m):
            return client.chat.completions.with_raw_response.create(model="x", messages=m)
        """,
        [("LAP01.sync-call", 7)],
    ),
    "a helper in the same class": (
        """
        from openai import OpenAI

        class Service:
            def __init__(self):
                self.client = OpenAI(timeout=30)

            def ask(self, m):
                return self.client.chat.completions.create(model="gpt-5", messages=m)

            async def chat(self, m):
                return self.ask(m).choices
        """,
        [("LAP01.sync-call", 12)],
    ),
    "a nested helper that is called": (
        """
        from openai import OpenAI

        client = OpenAI(timeout=30)

        async def chat(m):
            def ask():
                return client.chat.completions.create(model="gpt-5", messages=m)

            return ask()
        """,
        [("LAP01.sync-call", 10)],
    ),
    "LiteLLM": (
        """
        import litellm

        async def chat(m):
            return litellm.completion(model="gpt-5", messages=m)
        """,
        [("LAP01.sync-call", 5)],
    ),
    "a client in a handler, with a context manager": (
        """
        from fastapi import FastAPI
        from openai import AsyncOpenAI

        app = FastAPI()

        @app.post("/chat")
        async def chat(m: list):
            async with AsyncOpenAI(timeout=30) as client:
                return await client.chat.completions.create(model="gpt-5", messages=m)
        """,
        [("LAP02.client-per-call", 9)],
    ),
    "a tenacity loop": (
        """
        from tenacity import AsyncRetrying

        async def chat(client, m):
            async for attempt in AsyncRetrying():
                with attempt:
                    return await client.chat.completions.create(model="gpt-5", messages=m)
        """,
        [("LAP05.retry-endless", 5)],
    ),
    "a bare except": (
        """
        async def chat(client, m):
            try:
                return await client.chat.completions.create(model="gpt-5", messages=m)
            except:
                return ""
        """,
        [("LAP08.swallowed", 5)],
    ),
    "characters of several bytes": (
        """
        import time

        async def chat():
            größe = "😀"; time.sleep(1)
        """,
        [("LAP01.sleep", 5)],
    ),
}


@pytest.mark.parametrize("name", FAILS)
def test_a_mistake_is_found(name: str, tmp_path: Path) -> None:
    text, expected = FAILS[name]
    assert found(tmp_path, text) == expected


PASSES = {
    "the asynchronous client": """
        from openai import AsyncOpenAI as OpenAI

        client = OpenAI(timeout=30)

        async def chat(m):
            reply = await client.chat.completions.create(model="gpt-5", messages=m)
            async with client.responses.stream(model="gpt-5", input="x") as stream:
                async for event in stream:
                    print(event)
            return reply.choices
        """,
    "to_thread": """
        import asyncio
        from openai import OpenAI

        client = OpenAI(timeout=30)

        async def chat(m):
            return await asyncio.to_thread(
                client.chat.completions.create, model="gpt-5", messages=m
            )
        """,
    "a lambda in an executor": """
        import asyncio
        from openai import OpenAI

        client = OpenAI(timeout=30)

        async def chat(m):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(
                None, lambda: client.chat.completions.create(model="gpt-5", messages=m)
            )
        """,
    "a nested function": """
        import asyncio
        from openai import OpenAI

        client = OpenAI(timeout=30)

        async def chat(m):
            def ask():
                return client.chat.completions.create(model="gpt-5", messages=m)

            return await asyncio.to_thread(ask)
        """,
    "a decorator that moves it to a thread": """
        from asgiref.sync import sync_to_async
        from openai import OpenAI

        client = OpenAI(timeout=30)

        @sync_to_async
        def ask(m):
            return client.chat.completions.create(model="gpt-5", messages=m)

        async def chat(m):
            return await ask(m)
        """,
    "tasks of an unknown client": """
        import asyncio

        async def chat(client, m):
            task = asyncio.create_task(client.chat.completions.create(model="x", messages=m))
            coroutine = client.chat.completions.create(model="x", messages=m)
            return await task, await coroutine
        """,
    "another library's messages": """
        from twilio.rest import Client

        client = Client()

        async def notify(text):
            return client.messages.create(to="+1", from_="+2", body=text).sid
        """,
    "a client that a whole batch shares": """
        import asyncio
        from openai import AsyncOpenAI

        async def rate(reviews):
            async with AsyncOpenAI(timeout=30) as client, asyncio.TaskGroup() as tasks:
                for review in reviews:
                    tasks.create_task(client.responses.create(model="gpt-5", input=review))
        """,
    "a client in a lifespan": """
        from contextlib import asynccontextmanager
        from fastapi import FastAPI
        from openai import AsyncOpenAI

        @asynccontextmanager
        async def lifespan(app):
            client = AsyncOpenAI(timeout=30)
            yield {"client": client}
            await client.close()

        app = FastAPI(lifespan=lifespan)
        """,
    "a client that is made once": """
        from openai import AsyncOpenAI

        client = None

        async def shared():
            global client
            if client is None:
                client = AsyncOpenAI(timeout=30)
            return client

        class Service:
            async def open(self):
                self.client = AsyncOpenAI(timeout=30)
        """,
    "a client of another library with the same name": """
        from llama_index.llms.anthropic import Anthropic

        model = Anthropic()
        """,
    "a timeout of each call": """
        from openai import OpenAI

        client = OpenAI()

        def chat(m):
            return client.with_options(timeout=5).chat.completions.create(model="x", messages=m)
        """,
    "a worker that takes from a queue": """
        def work(queue, results, client):
            while True:
                m = queue.get(timeout=1)
                if m is None:
                    break
                try:
                    results.put(client.chat.completions.create(model="gpt-5", messages=m))
                except Exception as error:
                    results.put(error)
        """,
    "a retry that looks at the error": """
        import time

        def chat(client, m):
            for attempt in range(3):
                try:
                    return client.chat.completions.create(model="gpt-5", messages=m)
                except Exception as error:
                    if not is_transient(error):
                        raise
                    time.sleep(seconds(error))
        """,
    "a test": """
        import time
        from openai import AsyncOpenAI

        async def test_it():
            time.sleep(1)
            client = AsyncOpenAI(api_key="k")
            assert await client.responses.create(model="gpt-5", input="Hi")
        """,
}


@pytest.mark.parametrize("name", PASSES)
def test_right_code_passes(name: str, tmp_path: Path) -> None:
    assert found(tmp_path, PASSES[name]) == []


# Our own small versions of what stands in public repositories, each with its place.
PUBLIC = {
    # vanna-ai/vanna (MIT) 365d061, src/vanna/integrations/openai/llm.py:73
    "LAP01.sync-call": """
        class Service:
            def __init__(self, **options):
                from openai import OpenAI

                self._client = OpenAI(**options)

            async def send(self, payload):
                reply = self._client.chat.completions.create(**payload, stream=False)
                return reply.choices[0]
        """,
    # geekan/MetaGPT (MIT) ba28689, metagpt/ext/stanford_town/actions/st_action.py:76
    "LAP01.sleep": """
        import time

        class Action:
            async def ask(self, prompt, retry=3):
                for number in range(retry):
                    try:
                        return await self.llm.aask(prompt)
                    except ValueError:
                        time.sleep(5)
        """,
    # HKUDS/nanobot (MIT) 3852956, nanobot/providers/openai_codex_provider.py:425
    "LAP02.client-per-call": """
        import httpx

        URL = "https://example.org/v1/responses"

        async def request(headers, body):
            async with httpx.AsyncClient(timeout=60) as client:
                async with client.stream("POST", URL, headers=headers, json=body) as reply:
                    return await read(reply)
        """,
    # princeton-nlp/tree-of-thought-llm (MIT) ab40034, src/tot/models.py:18
    "LAP05.retry-endless": """
        import backoff
        import openai

        @backoff.on_exception(backoff.expo, openai.error.OpenAIError)
        def complete(**options):
            return openai.ChatCompletion.create(**options)
        """,
    # assafelovic/gpt-researcher (Apache-2.0) 5d84d2f, gpt_researcher/utils/llm.py:110
    "LAP05.retry-all": """
        import asyncio

        async def create(provider, messages, log):
            for attempt in range(1, 11):
                try:
                    answer = await provider.get_chat_response(messages)
                except Exception as error:
                    log(error)
                    if attempt < 10:
                        await asyncio.sleep(1)
                        continue
                    break
                return answer
        """,
    # Shubhamsaboo/awesome-llm-apps (Apache-2.0) 11a4bc3, live_demo/server.py:72
    "LAP06.module-history": """
        from fastapi import FastAPI

        app = FastAPI()
        sessions: dict = {}

        @app.post("/start")
        async def start(name: str):
            sessions[name] = {"messages": []}
        """,
}


@pytest.mark.parametrize("rule", PUBLIC)
def test_what_public_code_does_is_found(rule: str, tmp_path: Path) -> None:
    assert [name for name, _ in found(tmp_path, PUBLIC[rule])] == [rule]
