"""Runs arms from a cell, with a live view of what happens."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from helpers.lab import ArmError, Comparison, Run, compare_arms, run_arm
from helpers.lab.arm import Arm, Watch
from helpers.lessons.environment import clean_this_process
from helpers.mock_llm import MockLLM
from helpers.report import LiveView
from helpers.report.outputs import default_sinks


async def run(
    arm: Arm,
    llm: MockLLM | None,
    *args: Any,
    limit: float = 20.0,
    backend: Literal["asyncio", "trio"] = "asyncio",
) -> Run:
    """Call ``arm(llm.url, *args)`` in its own process and show what happens meanwhile.

    Without a server (``llm=None``) the arm is called with ``args`` alone. ``limit`` is in seconds:
    an arm that is still running then is killed, and the Run says so.

    Raises `ArmError` if the arm raises, `TypeError` if something cannot be sent to its process.
    """
    clean_this_process()
    name, *given = (*_names(arm), *(name for each in args for name in _names(each)))
    # What an experiment is done with says more than the experiment: "shared: wrong" is a wrong arm.
    view = LiveView([name, *given][-1], limit, ": ".join([name, *given]))
    options: dict[str, Any] = {"limit": limit, "backend": backend, "watch": view.update}
    try:
        done = await run_arm(arm, llm, *args, name=name, **options)
    except ArmError as error:
        view.finish(error.run)
        raise
    except asyncio.CancelledError as stopped:
        view.stop()
        print(f"Stopped: {name} was killed.")
        # Without the lab's own frames, which mean nothing to a learner.
        raise stopped.with_traceback(None) from None
    view.finish(done)
    return done


async def compare(
    llm: MockLLM | None, *args: Any, repeats: int = 3, limit: float = 20.0, **arms: Arm
) -> Comparison:
    """Run arms in turn, ``repeats`` times each, and show the one that is running.

    The keywords name the arms: ``await compare(llm, wrong=wrong, right=right)``. The rest is as for
    `run`. Raises ``ValueError`` if there are fewer than two arms.
    """
    if len(arms) < 2:
        raise ValueError("A comparison needs two arms: compare(llm, wrong=wrong, right=right).")
    clean_this_process()
    times = "once" if repeats == 1 else f"{repeats} times"
    caption = f"{', '.join(arms)}: {times} each, in turns."
    page = f"<p>{html.escape(caption)}</p>"
    show, show_last = default_sinks()
    # First and last frame are the same: nbval compares a cell's first display with the stored one.
    show(page, caption)

    def watch(arm: str, repeat: int) -> Watch:
        return LiveView(arm, limit, f"{arm}, {repeat + 1} of {repeats}", sink=show).update

    try:
        done = await compare_arms(arms, llm, *args, repeats=repeats, limit=limit, watch=watch)
    except asyncio.CancelledError as stopped:
        show_last(page, caption)
        print("Stopped: the arm that was running was killed.")
        raise stopped.with_traceback(None) from None
    show_last(page, caption)
    return done


def _names(value: object) -> Iterator[str]:
    """The name of a function, and of the functions that a partial one was given."""
    if isinstance(value, partial):
        for each in (value.func, *value.args, *value.keywords.values()):
            yield from _names(each)
    elif callable(value):
        yield getattr(value, "__name__", type(value).__name__)
