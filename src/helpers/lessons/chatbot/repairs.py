"""The eight repairs, each folded until the learner wants to see it."""

from __future__ import annotations

import html

from helpers.lessons.catalogue import Lesson, lesson
from helpers.lessons.chatbot.steps import MISTAKES, Chatbot

_WHY = {
    "01": "The asynchronous client gives the event loop back while it waits, so the other users "
    "are served meanwhile. Whatever waits is awaited: the call, and each piece of the stream.",
    "02": "One client serves all requests, so its connections are used again. The lifespan makes "
    "it when the service starts, and closes it when the service ends.",
    "03": "A short system prompt without a clock begins every prompt with the same tokens, which "
    "the provider caches. The history is cut in steps, and the answer's length has a limit.",
    "04": "The client's timeout ends one silent call. The limit around each piece also ends an "
    "answer that drips, and the total one that never ends. Neither limit is around the yield, so "
    "a slow reader does not cancel the call. The error names the model and the limits.",
    "05": "One layer retries, the SDK: transient errors only, after Retry-After or with "
    "exponential back-off and jitter. The decorator, which retried everything at once, is gone.",
    "06": "The conversation is in a store that survives the process and that all workers share. "
    "It is read oldest first, and a conversation that nobody continues is deleted.",
    "07": "Each piece goes to the reader when it comes. When the reader leaves, the generator is "
    "canceled, and with it the call.",
    "08": "Only a finish reason makes an answer whole; anything else becomes an error that the "
    "user can see. What is not whole is not remembered.",
}


class Repairs:
    """The eight repairs as diffs, one after the other, each behind a click.

    ``repairs.diff("04")`` is the diff of one, as text.
    """

    def __init__(self, name: str = "chatbot") -> None:
        self._chatbot = Chatbot(name)

    def diff(self, mistake: str) -> str:
        """One repair as a unified diff. Raises `ValueError` for a mistake that does not exist."""
        if mistake not in MISTAKES:
            raise ValueError(f"The mistakes are {', '.join(MISTAKES)}, not {mistake!r}.")
        return self._chatbot.step(mistake)

    def _repr_html_(self) -> str:
        return "".join(self._fold(lesson(mistake)) for mistake in MISTAKES)

    def __repr__(self) -> str:
        # Not the diffs themselves: they are for when the learner wants one.
        return 'Eight repairs, one at a time: print(repairs.diff("01")), then "02" to "08".'

    def _fold(self, of: Lesson) -> str:
        title = html.escape(f"{of.number} · {of.title}")
        link = f'<a href="{of.stem}.ipynb">{title}</a>'
        diff = html.escape(self.diff(of.number))
        return (
            f"<details><summary>{title}</summary><p>{html.escape(_WHY[of.number])} "
            f"Read again: {link}.</p><pre>{diff}</pre></details>"
        )
