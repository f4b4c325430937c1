"""Answers that are written in advance: rules that match on the conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Self

import regex
from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from helpers.mock_llm.settings.options import Options, Wording

_ANSWERS = ("text", "json_value", "call")


class Call(Options):
    """A call of a tool."""

    name: Annotated[str, Field(min_length=1, description="The tool's name.", examples=["search"])]
    arguments: Annotated[
        dict[str, Any] | str,
        Field(default_factory=dict, description="An object; a text for a tool that takes text."),
        Wording(must="an object, or a text"),
    ]


class Rule(Options):
    """When to give an answer, and which. Raises ValueError for an invalid value.

    The first rule of a script whose conditions all hold gives the answer. They look at the
    conversation and count no requests, so that a retry gets the same answer. A rule without
    conditions always holds; one with a ``call`` holds for requests that offer its tools. A text
    matches if it contains the condition, whatever the case; a condition written ``/…/`` is a
    regular expression, for which case counts.
    """

    model: Annotated[
        str | None, Field(min_length=1, description="Condition: the model's exact name.")
    ] = None
    last_message: Annotated[
        str | None, Field(description="Condition: in the last message's text, or `/pattern/`.")
    ] = None
    tool_result: Annotated[
        str | None, Field(description="Condition: in the last tool result, or `/pattern/`.")
    ] = None
    tool_calls: Annotated[
        int | None, Field(ge=0, description="Condition: number of tool calls so far.")
    ] = None
    text: Annotated[str | None, Field(description="Answer: a text.")] = None
    json_value: Annotated[
        Any, Field(alias="json", description="Answer: a value, written as JSON.")
    ] = None
    call: Annotated[
        Annotated[Sequence[Annotated[Call, Field(strict=False)]], Field(min_length=1)] | None,
        Field(description="Answer: a tool call, or a list of them."),
        Wording(must="a tool call with its name, or a list of them"),
    ] = None

    @field_validator("call", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, dict | Call) else value

    @field_validator("last_message", "tool_result")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                pattern(value)
            except regex.error as error:
                raise ValueError(f"{value[:100]} is not a regular expression: {error}") from None
        return value

    @model_validator(mode="after")
    def _has_one_answer(self) -> Self:
        given = [
            name
            for name in _ANSWERS
            if name in self.model_fields_set
            and (name == "json_value" or getattr(self, name) is not None)
        ]
        if len(given) != 1:
            raise ValueError("a rule needs one answer: text, json or call")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped = dump(self)
        return {type(self).model_fields[n].alias or n: dumped[n] for n in self.model_fields_set}

    @property
    def answer(self) -> str:
        """Its text, also that of a JSON value."""
        if self.text is not None:
            return self.text
        return json.dumps(self.json_value, ensure_ascii=False)


Script = Annotated[
    Sequence[Annotated[Rule, Field(strict=False)]],
    AfterValidator(tuple),
    Field(description="Answers by rules; without a rule that holds, they are generated."),
    Wording(must="a list of rules, each with an answer"),
]


def pattern(condition: str) -> regex.Pattern[str]:
    """What a condition looks for. Raises regex.error."""
    if len(condition) > 2 and condition[0] == condition[-1] == "/":
        return regex.compile(condition[1:-1])
    return regex.compile(regex.escape(condition), regex.IGNORECASE)
