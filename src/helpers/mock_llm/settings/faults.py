"""What can go wrong, and for which requests."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from helpers.mock_llm.settings.options import OptionError, Options, Wording, shorten, unknown_option

STATUSES = {
    "400": 400,
    "401": 401,
    "404": 404,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "500": 500,
    "503": 503,
    "529": 529,
}
KINDS = (
    "refuse",
    "reset",
    "hang",
    "hang_mid_stream",
    "drip",
    "cut",
    "no_finish",
    "error_event",
    "error_then_done",
    "framing",
    "malformed_json",
    "empty_choices",
    "broken_answer",
    *STATUSES,
)


def _times(value: object) -> object:
    """As a pair: ``5:20``, as on a command line, is one too."""
    try:
        return tuple(map(float, value.split(":"))) if isinstance(value, str) else value
    except ValueError:
        return value


class Fault(Options):
    """Something that goes wrong, and when. Raises ValueError for an invalid value.

    ========================= =====================================================================
    ``refuse``                the connection is dropped before its first request is read
    ``reset``                 TCP RST when the request was read, over HTTP/2 too
    ``hang``                  accepted, never answered
    ``hang_mid_stream``       silence after ``after_tokens``, or half a body; nothing is closed
    ``drip``                  the body comes one byte every ``interval`` seconds
    ``cut``                   the connection, or HTTP/2 stream, ends after ``after_tokens``, or in
                              mid-body
    ``no_finish``             ends cleanly, without a finish reason or ``[DONE]``
    ``error_event``           an error after status 200: in the stream after ``after_tokens``, or
                              for the body
    ``error_then_done``       the same, then the stream ends as if all were well
    ``framing``               a stream's events in another ``form`` that the format allows, so that
                              only the parser is tested: ``crlf``, ``no_space`` after the colon,
                              ``comments``, ``multi_line`` data, ``bom``, ``split`` in pieces of
                              ``size`` bytes, ``glued``, two events in a piece
    ``malformed_json``        the body, or the event after ``after_tokens``, is not JSON
    ``empty_choices``         status 200, and nothing in it
    ``broken_answer``         the model's own text, or JSON, breaks off, and claims to be finished
    ``400`` ``401`` ``404``   errors that no retry will change
    ``rate_limit_exceeded``   status 429
    ``insufficient_quota``    status 429 that no retry will change; on Anthropic's routes 400
    ``500`` ``503`` ``529``   the server's own errors; 529 is Anthropic's "overloaded"
    ========================= =====================================================================

    At most one of ``share``, ``first`` and ``every`` chooses among the requests that match
    ``between`` and ``model``; without one, all are hit. Only valid, admitted requests that a
    model would answer count; for ``refuse``, connections count instead. If several faults of a
    list hit a request, only the first happens to it, but each counts all the requests that
    match it. Seconds are real: a server's ``speed`` does not change them.
    """

    kind: Annotated[str, Field(description="What goes wrong.", examples=["cut"])]
    share: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Share of requests, chosen by the server's seed and request number.",
        ),
    ] = None
    first: Annotated[int | None, Field(ge=1, description="The first N.")] = None
    every: Annotated[int | None, Field(ge=1, description="The k-th, the 2k-th and so on.")] = None
    between: Annotated[
        Annotated[tuple[float, float], Field(strict=False)] | None,
        BeforeValidator(_times),
        Field(description="Seconds since the server's start or reset."),
        Wording(must="two times in seconds, in order, such as 5:20"),
    ] = None
    model: Annotated[
        str | None,
        Field(min_length=1, description="Its exact name."),
        Wording(must="a model's name, or None for all"),
    ] = None
    after_tokens: Annotated[
        int, Field(ge=0, description="Tokens sent before the stream goes wrong.")
    ] = 5
    interval: Annotated[
        float,
        Field(gt=0, description="Seconds between the bytes of a drip."),
        Wording(unit="seconds"),
    ] = 1.0
    form: Annotated[
        Literal["crlf", "no_space", "comments", "multi_line", "bom", "split", "glued"],
        Field(description="Of the events, for framing."),
    ] = "crlf"
    size: Annotated[int, Field(ge=1, description="Bytes of each piece, for framing's split.")] = 1
    retry_after: Annotated[
        float | None,
        # 31 years: an HTTP date can still say it
        Field(
            ge=0,
            le=10**9,
            description="Seconds, for an error's status, sent in the form of the server's limits.",
        ),
        Wording(unit="seconds"),
    ] = None

    @field_validator("kind", mode="before")
    @classmethod
    def _is_known(cls, kind: object) -> str:
        name = str(kind) if type(kind) is int else kind  # YAML reads 503 as a number
        if name not in KINDS:
            raise ValueError(f"no fault is called {shorten(name)}; there are {', '.join(KINDS)}")
        return str(name)

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        chosen = [name for name in ("share", "first", "every") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"give one of share, first and every, not {' and '.join(chosen)}")
        if self.between is not None and not 0 <= self.between[0] < self.between[1]:
            raise ValueError(f"between must be two times in seconds, in order, not {self.between}")
        if self.retry_after is not None and self.kind not in STATUSES:
            raise ValueError(f"retry_after needs an error's status: {', '.join(STATUSES)}")
        if self.kind == "refuse" and self.model is not None:
            raise ValueError("refuse comes before the request is read: it cannot know the model")
        return self


def parse_fault(text: str, options: Collection[str] | None = None) -> Fault:
    """A fault in one line, such as ``cut share=0.1; after_tokens=3 between=5:20``.

    ``options``: those that it may have, by default all. Raises ValueError.
    """
    kind, *parts = re.split(r"\s*;\s*|\s+", re.sub(r"\s*=\s*", "=", text.strip()))
    known = Fault.model_fields.keys() - {"kind"} if options is None else options
    values: dict[str, Any] = {"kind": kind}
    try:
        for name, sign, value in (part.partition("=") for part in parts):
            if name not in known:
                raise OptionError(unknown_option(name, known))
            if name in values:
                raise OptionError(f"{name} is given twice")
            if not sign:
                raise OptionError(f"{name} needs a value, such as {name}=3")
            values[name] = _number(value)
        return Fault(**values)
    except ValueError as error:
        raise OptionError(f"fault {kind[:100]}: {error}") from None


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
