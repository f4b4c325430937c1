"""A batch that keeps what is good, names what is not, and ends in time."""

import anyio
import httpx
from pydantic import BaseModel, Field


class Rating(BaseModel, extra="forbid"):
    stars: int = Field(ge=1, le=5)
    reason: str


async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        try:
            content = await rated(client, url, job)
        except httpx.HTTPStatusError as error:
            failed[number] = f"status {error.response.status_code}"
        except httpx.TransportError:
            failed[number] = "no answer"
        except (ValueError, LookupError, TypeError):  # whatever came, it is no rating
            failed[number] = "not valid"
        else:
            with anyio.CancelScope(shield=True):  # saved and no longer failed, or neither
                await save(number, content)
                del failed[number]

    failed = dict.fromkeys(jobs, "deadline")
    with anyio.move_on_after(deadline):
        async with anyio.create_task_group() as tasks:
            for number, job in jobs.items():
                tasks.start_soon(one, number, job)
    return failed


async def rated(client, url, job):
    """The content of the model's answer, if that is finished and a rating."""
    reply = await client.post(f"{url}/chat/completions", json=job)
    choice = reply.raise_for_status().json()["choices"][0]
    if choice["finish_reason"] != "stop":
        raise ValueError(choice["finish_reason"])
    content = choice["message"]["content"]
    Rating.model_validate_json(content)
    return content
