"""An ASGI application is served on the caller's event loop, with its lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request

from helpers.lab import serving

LIFE: list[str] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, str]]:
    LIFE.append("started")
    yield {"owned": "by the service"}
    LIFE.append("ended")


def application() -> FastAPI:
    LIFE.clear()
    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def answer(request: Request) -> str:
        LIFE.append("asked")
        return str(request.state.owned)

    return app


async def visit(app: FastAPI) -> str:
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as user:
        return str((await user.get("/")).json())


def test_a_request_falls_within_the_lifespan() -> None:
    assert asyncio.run(visit(application())) == "by the service"
    assert LIFE == ["started", "asked", "ended"]


def test_a_body_that_raises_ends_the_service() -> None:
    async def fails() -> None:
        async with serving(application()):
            raise LookupError("no such page")

    with pytest.raises(LookupError, match="no such page"):
        asyncio.run(fails())
    assert LIFE == ["started", "ended"]


def test_a_lifespan_that_fails_is_a_sentence() -> None:
    @asynccontextmanager
    async def broken(app: FastAPI) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    async def fails() -> None:
        async with serving(FastAPI(lifespan=broken)):
            pass

    with pytest.raises(RuntimeError, match="its lifespan failed"):
        asyncio.run(asyncio.wait_for(fails(), 20))
