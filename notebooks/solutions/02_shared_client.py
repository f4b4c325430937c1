"""Lesson 02: one client for the service's life, for the moderator and the model alike."""

import httpx


class Assistant:
    def __init__(self, url):
        self.url = f"{url}/chat/completions"
        limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
        self.client = httpx.AsyncClient(timeout=10, limits=limits)

    async def ask(self, question):
        messages = [{"role": "user", "content": question}]
        await self.post("mock-moderator", messages)
        reply = await self.post("gpt-5", messages)
        return reply.json()["choices"][0]["message"]["content"]

    async def post(self, model, messages):
        reply = await self.client.post(self.url, json={"model": model, "messages": messages})
        return reply.raise_for_status()

    async def close(self):
        await self.client.aclose()
