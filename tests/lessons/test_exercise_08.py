"""The exercise of lesson 08 tells right from wrong batches, and says what is wrong."""

import asyncio
from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import grade, load_solution

SOLUTION = lesson("08").solution.read_text("utf-8")

KEEPS = "every good answer is saved"
NOTHING_ELSE = "nothing else is saved"
REPORT = "it returns a dict"
IN_TIME = "it ends within its deadline"
LEFT = "no call goes on"
AT_ONCE = "each answer is saved as soon as it arrives"
ENDS = "your code runs to its end"


def cause(name: str) -> str:
    return f"the cause {name!r}"


SAVE = "            await save(number, content)\n            del failed[number]"
VALIDATED = "    Rating.model_validate_json(content)\n"
GROUP = "async with anyio.create_task_group() as tasks:"
START = "tasks.start_soon(one, number, job)"
RETURN = "    return failed\n\n\nasync def rated"

WRONG = {
    "no validation": (VALIDATED, "", NOTHING_ELSE, "failed jobs were saved"),
    "no finish reason": (
        'if choice["finish_reason"] != "stop":',
        "if False:",
        NOTHING_ELSE,
        "failed jobs were saved",
    ),
    "any broken connection ends the batch": (
        "except httpx.TransportError:",
        "except ZeroDivisionError:",
        ENDS,
        "ExceptionGroup",
    ),
    "status not looked at": (
        "reply.raise_for_status().json()",
        "reply.json()",
        cause("status 503"),
        "it says not valid",
    ),
    "only malformed JSON expected": (
        "except (ValueError, LookupError, TypeError):",
        "except ValueError:",
        ENDS,
        "ExceptionGroup",
    ),
    "no deadline": ("move_on_after(deadline)", "move_on_after(None)", IN_TIME, "much longer"),
    "saved at the end": (
        SAVE,
        "            good[number] = content\n            del failed[number]",
        AT_ONCE,
        "0 of 10",
    ),
    "all failures forgotten": (
        RETURN,
        "    return {}\n\n\nasync def rated",
        REPORT,
        "11 are missing",
    ),
    "nothing returned": (RETURN, "\n\nasync def rated", REPORT, "NoneType"),
    "good ones reported too": (
        "            del failed[number]",
        "            pass",
        REPORT,
        "10 are not failures",
    ),
    "only good jobs sent": (
        START,
        START + " if number < 31 else None",
        cause("not valid"),
        "deadline",
    ),
    "tasks left behind": (
        GROUP,
        "if tasks := anyio_like():",
        LEFT,
        "tasks did",
    ),
}
EXTRA = """

import asyncio

good, kept = {}, set()


class anyio_like:
    def start_soon(self, work, *args):
        kept.add(asyncio.create_task(work(*args)))
"""


def unmet(source: str, folder: Path) -> dict[str, str]:
    file = folder / "solution.py"
    file.write_text(source, "utf-8")
    criteria = asyncio.run(grade("08", load_solution("08", file)))
    return {criterion.what: criterion.found for criterion in criteria if not criterion.met}


def test_the_solution_passes(tmp_path: Path) -> None:
    assert unmet(SOLUTION, tmp_path) == {}


@pytest.mark.parametrize("mistake", WRONG)
def test_each_mistake_is_named(mistake: str, tmp_path: Path) -> None:
    before, after, criterion, found = WRONG[mistake]
    assert SOLUTION.count(before) == 1
    failures = unmet(SOLUTION.replace(before, after) + EXTRA, tmp_path)
    (message,) = [said for what, said in failures.items() if what.startswith(criterion)]
    assert found in message
