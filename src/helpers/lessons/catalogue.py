"""The lessons of the course, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Lesson:
    number: str
    """Two digits."""
    title: str
    mistake: str
    name: str | None
    """Its notebook is ``NUMBER_NAME.ipynb``; None while the lesson is only planned."""
    graded: bool = True
    """Whether its exercise has a solution, which can be checked."""

    @property
    def stem(self) -> str:
        return f"{self.number}_{self.name}"

    @property
    def notebook(self) -> Path:
        return notebooks_folder() / f"{self.stem}.ipynb"

    @property
    def source(self) -> Path:
        return notebooks_folder() / "source" / f"{self.stem}.py"

    @property
    def solution(self) -> Path:
        return notebooks_folder() / "solutions" / f"{self.stem}.py"


START = Lesson("00", "Start here", "how a lesson works", "start_here")
LESSONS = (
    Lesson("01", "Keep the event loop free", "a blocking call in async code", "event_loop"),
    Lesson("02", "Share one client", "a new HTTP client per request", "shared_client"),
    Lesson("03", "Say it once, say it short", "over-prompting", "prompt_tokens"),
    Lesson("04", "Set a deadline", "no timeout", "deadlines"),
    Lesson("05", "Wait as long as the server asks", "ignoring rate-limit headers", "rate_limits"),
    Lesson(
        "06", "Put the conversation in a store", "history only in the process", "conversation_store"
    ),
    Lesson("07", "Show the first token first", "blocking on streaming", "streaming"),
    Lesson("08", "Draw error boundaries", "missing error boundaries", "error_boundaries"),
    Lesson("09", "Repair a chatbot", "all of the above", "repair_a_chatbot", graded=False),
    Lesson("10", "Audit your own application", "any of the above", "audit", graded=False),
)
GLOSSARY = Lesson("98", "Glossary", "the field's terms", "glossary", graded=False)
CHECKLIST = Lesson(
    "99", "Review checklist", "what to ask in a code review", "review_checklist", graded=False
)

METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""Of every lesson's notebook as it comes."""


def lesson(number: str | int) -> Lesson:
    """The lesson with this number.

    Raises `ValueError` with the choices if there is none, or if it is only planned.
    """
    wanted = f"0{number}" if len(str(number)) == 1 else str(number)
    ready = {each.number: each for each in notebooks()}
    if wanted not in ready:
        raise ValueError(f"There is no lesson {str(number)[:20]!r}. There are: {', '.join(ready)}.")
    return ready[wanted]


def notebooks() -> list[Lesson]:
    """All that are there, in order: the lessons, and the pages before and after them."""
    return [each for each in (START, *LESSONS, GLOSSARY, CHECKLIST) if each.name]


def notebooks_folder() -> Path:
    """The folder ``notebooks``: in the package, if it is installed from a wheel, or its checkout.

    Raises `FileNotFoundError` with the remedy if there is none.
    """
    for folder in (Path(__file__).parent, Path(__file__).parents[3]):
        if (folder / "notebooks" / "source").is_dir():
            return folder / "notebooks"
    raise FileNotFoundError("The package has lost its lessons: install llm-antipatterns again.")
