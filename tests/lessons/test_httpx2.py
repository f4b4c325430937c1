"""The lessons hold for httpx2 as well: it has the API of httpx, and the SDKs use it.

`httpx2.alias_httpx` puts it in the place of httpx in every process: in the cells, in httpx-sse, and
in the clients that the lab makes for an arm. To change the cells' imports alone is not enough in
lesson 08, where `right` catches the errors of a client that the lab has made.
"""

from pathlib import Path

import anthropic
import httpx
import httpx2
import openai
import pytest
from nbformat.v4 import new_code_cell

from helpers.lessons import notebook
from helpers.lessons.catalogue import LESSONS, Lesson

# The chatbots of the others use an SDK, which is on httpx2 anyway.
WITH_HTTPX = [each for each in LESSONS if each.name and each.number <= "08"]
# Python imports it when it starts.
STARTUP = "import httpx2\n\nhttpx2.alias_httpx()\n"
PROOF = """
async def library(url):
    async with httpx.AsyncClient() as client:
        return type(client).__module__.split(".")[0]

import httpx
from helpers import run
assert (await run(library, llm)).result == "httpx2"
"""


@pytest.mark.slow
@pytest.mark.parametrize("lesson", WITH_HTTPX, ids=lambda lesson: lesson.stem)
def test_the_verdict_holds_with_httpx2(
    lesson: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(STARTUP)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    core = notebook.up_to_the_verdict(notebook.read_source(lesson))
    core.cells.append(new_code_cell(PROOF))
    # It raises if the verdict does not hold.
    notebook.execute(core, lesson.notebook.parent)


def test_which_clients_the_sdks_take() -> None:
    """As the README says."""
    with httpx.Client() as old, httpx2.Client() as new:
        for client in (old, new):
            openai.OpenAI(api_key="any", http_client=client)  # type: ignore[arg-type]
        anthropic.Anthropic(api_key="any", http_client=new)
        with pytest.raises(TypeError, match="this SDK uses `httpx2`"):
            anthropic.Anthropic(api_key="any", http_client=old)  # type: ignore[arg-type]


def test_their_errors_are_not_related() -> None:
    assert not issubclass(httpx2.HTTPError, httpx.HTTPError)
