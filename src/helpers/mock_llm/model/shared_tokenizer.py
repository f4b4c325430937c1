"""The tokenizer for a process that has not loaded it: a fork of the one that servers share.

A notebook's kernel counts a few prompts: that is not worth 46 MiB of its own.
"""

from __future__ import annotations

import os
import pickle
import threading
from typing import Any

from helpers import forking
from helpers.processes import Child

_asking = threading.Lock()
_child: Child | None = None


class NotSharedError(Exception):
    """There is no fork server, or what was asked for failed there."""


def ask(method: str, argument: str | list[int]) -> Any:
    """What this method of the `tiktoken.Encoding` returns. Raises `NotSharedError`."""
    global _child
    if not forking.is_running():
        raise NotSharedError
    with _asking:
        if _child is None or _child.is_foreign or _child.process.poll() is not None:
            _child = forking.start(__name__)
        try:
            pickle.dump((method, argument), _child.stdin)
            _child.stdin.flush()
            return pickle.load(_child.stdout)  # noqa: S301 - written by our own child
        except (OSError, EOFError):
            raise NotSharedError from None
        except BaseException:  # an interrupt: the answer is still to come
            _child.kill()
            raise


def preload() -> None:
    from helpers.mock_llm.model.tokens import encoding

    encoding()


def main() -> None:
    """Answer until standard input ends."""
    from helpers.mock_llm.model.tokens import encoding

    with os.fdopen(os.dup(0), "rb") as questions, os.fdopen(os.dup(1), "wb") as answers:
        while questions.peek(1):
            method, argument = pickle.load(questions)  # noqa: S301 - written by our parent
            pickle.dump(getattr(encoding(), method)(argument), answers)
            answers.flush()
