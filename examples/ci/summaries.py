"""A nightly job: a summary for each text. Its client uses OPENAI_BASE_URL."""

import asyncio
import os

import httpx

TEXTS = ("The meeting is at nine.", "The printer is out of paper.", "Lunch is soup.")


async def summarize(client: httpx.AsyncClient, text: str) -> str:
    body = {
        "model": "gpt-5-mini",
        "messages": [{"role": "user", "content": f"Summarize: {text}"}],
        "max_completion_tokens": 50,
    }
    answer = await client.post("chat/completions", json=body)
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])


async def summaries(texts: tuple[str, ...] = TEXTS) -> list[str]:
    key = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    url = os.environ["OPENAI_BASE_URL"]
    async with httpx.AsyncClient(base_url=url, headers=key, timeout=3) as client:
        return await asyncio.gather(*(summarize(client, text) for text in texts))


if __name__ == "__main__":
    print("\n".join(asyncio.run(summaries())))
