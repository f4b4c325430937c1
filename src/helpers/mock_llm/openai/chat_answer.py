"""An answer as chat completions have it, whole or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import zip_longest

from helpers.mock_llm.model.generate import Choice, Text, ToolCall
from helpers.mock_llm.openai.chat_request import ChatRequest, tool_name
from helpers.mock_llm.openai.dialect import OPENAI
from helpers.mock_llm.serving.engine import Completion
from helpers.mock_llm.serving.errors import ApiError

_DONE = b"data: [DONE]\n\n"
# The tier that a request was served in, where it is not the default one.
_TIERS = {"flex": "flex", "scale": "scale", "priority": "priority", "fast": "priority"}
PADDING = [("kT3vZq9LwXb2RmYc" * 2)[k : k + 16 - k % 8] for k in range(16)]
"""By the length of a token: with it, every token's event is as long as many others'."""


def chat_answer(completion: Completion, request: ChatRequest) -> ChatAnswer:
    plain = completion.of_words and not request.logprobs and not _calls(completion)
    return _PlainText(completion, request) if plain else _AnyAnswer(completion, request)


def _calls(completion: Completion) -> bool:
    return any(isinstance(part, ToolCall) for choice in completion.choices for part in choice.parts)


class ChatAnswer:
    """What all answers have in common. Ids, models' and tools' names need no escaping: they were
    let through with letters, digits and a few signs."""

    def __init__(self, completion: Completion, request: ChatRequest) -> None:
        self._completion = completion
        self._request = request

    @property
    def length(self) -> int:
        return max(choice.length for choice in self._completion.choices)

    @property
    def completion_tokens(self) -> int:
        return self._completion.completion_tokens

    @property
    def hidden_tokens(self) -> int:
        return self._completion.reasoning_tokens

    def whole(self) -> bytes:
        choices = ",".join(
            f'{{"index":{index},"message":{{"role":"assistant",{self._message(choice)},'
            f'"refusal":null,"annotations":[]}},"logprobs":{self._logprobs(choice)},'
            f'"finish_reason":"{self._finish(choice)}"}}'
            for index, choice in enumerate(self._completion.choices)
        )
        return self._body(choices)

    def opening(self) -> bytes:
        return self._events(
            (
                index,
                f'{{"role":"assistant","content":{self._nothing(choice)},"refusal":null}}',
                "null",
            )
            for index, choice in enumerate(self._completion.choices)
        )

    def steps(self) -> Iterator[tuple[int, bytes]]:
        tokens = [
            self._tokens(index, choice) for index, choice in enumerate(self._completion.choices)
        ]
        for step in zip_longest(*tokens):
            events = [event for event in step if event is not None]
            yield len(events), "".join(events).encode()

    def finish(self) -> None:
        """Nothing is stored."""

    def closing(self) -> bytes:
        last = self._events(
            (index, "{}", f'"{self._finish(choice)}"')
            for index, choice in enumerate(self._completion.choices)
        )
        if self._request.include_usage:
            head = self._head("chat.completion.chunk")
            last += f'data: {head}],"usage":{self._usage()}}}\n\n'.encode()
        return last + _DONE

    def failure(self, error: ApiError) -> bytes:
        return b"data: " + OPENAI.error_body(error, self._completion.id) + b"\n\n"

    def empty(self, *, streamed: bool) -> bytes:
        if not streamed:
            return self._body("")
        return f"data: {self._head('chat.completion.chunk')}{self._tail()}".encode() + _DONE

    def _message(self, choice: Choice) -> str:
        """The content, and the calls, of a whole message."""
        raise NotImplementedError

    def _tokens(self, index: int, choice: Choice) -> Iterable[str]:
        """For each token the events that carry it."""
        raise NotImplementedError

    def _logprobs(self, choice: Choice) -> str:
        return "null"

    def _nothing(self, choice: Choice) -> str:
        """The content before the first token."""
        return '""'

    def _finish(self, choice: Choice) -> str:
        return choice.finish

    def _body(self, choices: str) -> bytes:
        return f'{self._head("chat.completion")}{choices}],"usage":{self._usage()}}}'.encode()

    def _head(self, kind: str) -> str:
        """The fields that every chunk and the whole answer begin with."""
        completion = self._completion
        tier = _TIERS.get(self._request.service_tier or "", "default")
        return (
            f'{{"id":"chatcmpl-{completion.id}","object":"{kind}","created":{completion.created},'
            f'"model":"{completion.model}","service_tier":"{tier}",'
            '"system_fingerprint":"fp_mock","choices":['
        )

    def _events(self, deltas: Iterable[tuple[int, str, str]]) -> bytes:
        """One server-sent event per choice, delta and finish reason."""
        head, tail = self._head("chat.completion.chunk"), self._tail()
        return "".join(
            f'data: {head}{{"index":{index},"delta":{delta},"logprobs":null,'
            f'"finish_reason":{finish}}}{tail}'
            for index, delta, finish in deltas
        ).encode()

    def _tail(self, length: int = 0) -> str:
        """With ``include_usage``, every chunk but the last says that there is no usage yet."""
        usage = ',"usage":null' if self._request.include_usage else ""
        if not self._request.include_obfuscation:
            return f"]{usage}}}\n\n"
        return f']{usage},"obfuscation":"{PADDING[length % len(PADDING)]}"}}\n\n'

    def _usage(self) -> str:
        completion, generated = self._completion, self._completion.completion_tokens
        return (
            f'{{"prompt_tokens":{completion.prompt_tokens},'
            f'"completion_tokens":{generated},'
            f'"total_tokens":{completion.prompt_tokens + generated},'
            f'"prompt_tokens_details":{{"cached_tokens":{completion.cached_tokens},"audio_tokens":0}},'
            f'"completion_tokens_details":{{"reasoning_tokens":{completion.reasoning_tokens},'
            '"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
        )


class _PlainText(ChatAnswer):
    """Text alone, which is most of the server's work. No word of the model's needs escaping."""

    def _message(self, choice: Choice) -> str:
        return f'"content":"{"".join(choice.parts[0].tokens)}"'

    def _tokens(self, index: int, choice: Choice) -> Iterable[str]:
        head = self._head("chat.completion.chunk")
        start = f'data: {head}{{"index":{index},"delta":{{"content":"'
        end = '"},"logprobs":null,"finish_reason":null}'
        tails = [end + self._tail(length) for length in range(len(PADDING))]
        # Made when it is sent: the events take fifty times as much memory as the tokens.
        return (
            f"{start}{token}{tails[len(token) % len(tails)]}" for token in choice.parts[0].tokens
        )


class _AnyAnswer(ChatAnswer):
    """Also JSON, calls of tools, and log probabilities."""

    def _message(self, choice: Choice) -> str:
        calls = [part for part in choice.parts if isinstance(part, ToolCall)]
        if not calls:
            return f'"content":{_quoted("".join(choice.parts[0].tokens))}'
        if self._request.functions is not None:
            return (
                f'"content":null,"function_call":{self._called(calls[0], "".join(calls[0].tokens))}'
            )
        listed = ",".join(self._call(call, "".join(call.tokens)) for call in calls)
        return f'"content":null,"tool_calls":[{listed}]'

    def _call(self, call: ToolCall, arguments: str) -> str:
        kind = self._kind(call)
        return f'{{"id":"call_{call.id}","type":"{kind}","{kind}":{self._called(call, arguments)}}}'

    def _called(self, call: ToolCall, arguments: str) -> str:
        field = "input" if self._kind(call) == "custom" else "arguments"
        return f'{{"name":"{call.name}","{field}":{_quoted(arguments)}}}'

    def _kind(self, call: ToolCall) -> str:
        tools = self._request.tools or ()
        return next((tool["type"] for tool in tools if tool_name(tool) == call.name), "function")

    def _nothing(self, choice: Choice) -> str:
        return "null" if isinstance(choice.parts[0], ToolCall) else '""'

    def _finish(self, choice: Choice) -> str:
        if choice.finish != "tool_calls":
            return choice.finish
        if _is_named(self._request):
            return "stop"
        return "tool_calls" if self._request.functions is None else "function_call"

    def _logprobs(self, choice: Choice) -> str:
        text = choice.parts[0]
        listed = text.logprobs[: len(text.tokens)] if isinstance(text, Text) else []
        return f'{{"content":[{",".join(listed)}],"refusal":null}}' if listed else "null"

    def _tokens(self, index: int, choice: Choice) -> Iterable[str]:
        if isinstance(text := choice.parts[0], Text):
            entries = text.logprobs or [""] * len(text.tokens)
            for token, entry in zip(text.tokens, entries, strict=False):
                logprobs = "null" if not entry else f'{{"content":[{entry}],"refusal":null}}'
                yield self._event(index, f'"content":{_quoted(token)}', logprobs, len(token))
            return
        for number, call in enumerate(choice.parts):
            if isinstance(call, ToolCall):
                yield from self._call_tokens(index, number, call)

    def _call_tokens(self, index: int, number: int, call: ToolCall) -> Iterator[str]:
        before = self._event(index, self._call_opening(number, call))
        for token in call.tokens:
            yield before + self._event(
                index, self._call_delta(number, call, token), size=len(token)
            )
            before = ""

    def _call_opening(self, number: int, call: ToolCall) -> str:
        """The part of a delta that begins a call."""
        if self._request.functions is not None:
            return f'"function_call":{self._called(call, "")}'
        opened = self._call(call, "").removeprefix("{")
        return f'"tool_calls":[{{"index":{number},{opened}]'

    def _call_delta(self, number: int, call: ToolCall, token: str) -> str:
        if self._request.functions is not None:
            return f'"function_call":{{"arguments":{_quoted(token)}}}'
        kind = self._kind(call)
        field = "input" if kind == "custom" else "arguments"
        return f'"tool_calls":[{{"index":{number},"{kind}":{{"{field}":{_quoted(token)}}}}}]'

    def _event(self, index: int, delta: str, logprobs: str = "null", size: int = 0) -> str:
        return (
            f"data: {self._head('chat.completion.chunk')}"
            f'{{"index":{index},"delta":{{{delta}}},"logprobs":{logprobs},"finish_reason":null}}'
            f"{self._tail(size)}"
        )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _is_named(request: ChatRequest) -> bool:
    """Whether the request named the function to be called. The provider then says "stop"."""
    choice = request.tool_choice
    if isinstance(choice, dict):
        return choice["type"] != "allowed_tools"
    return isinstance(request.function_call, dict)
