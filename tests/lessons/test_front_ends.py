"""A lesson's outputs in a front end that can do less than JupyterLab."""

import re
from pathlib import Path
from typing import Any

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

CELL = """
import asyncio
from helpers import MockLLM, compare, run

async def arm(url):
    print("printed by the arm")
    await asyncio.sleep(0.5)

llm = MockLLM(speed=100).start()
"""


class NeverReplaces(NotebookClient):
    """A front end that ignores `update_display_data`."""

    def process_message(self, message: Any, cell: Any, index: int) -> Any:
        if message["msg_type"] == "update_display_data":
            return None
        return super().process_message(message, cell, index)


def outputs_of(client_type: type[NotebookClient], tmp_path: Path, *cells: str) -> list[list[Any]]:
    book = new_notebook(cells=[new_code_cell(cell) for cell in (CELL, *cells)])
    client_type(book, resources={"metadata": {"path": str(tmp_path)}}).execute()
    return [cell.outputs for cell in book.cells[1:]]


def pictures(outputs: list[Any]) -> list[str]:
    pages = [output.data.get("text/html", "") for output in outputs if "data" in output]
    return [found for page in pages for found in re.findall(r'<img alt="([^"]*)"', page)]


@pytest.mark.parametrize("client_type", [NotebookClient, NeverReplaces])
def test_the_closing_picture_is_there_once(
    client_type: type[NotebookClient], tmp_path: Path
) -> None:
    ran, compared = outputs_of(
        client_type,
        tmp_path,
        "done = await run(arm, llm)",
        "both = await compare(llm, repeats=1, a=arm, b=arm)",
    )
    (said,) = pictures(ran)
    assert "returned after 0.5" in said
    printed = [output.text for output in ran if output.output_type == "stream"]
    assert printed == ["printed by the arm\n"]
    captions = [output.data["text/plain"] for output in compared if "data" in output]
    assert captions == ["a, b: once each, in turns."]
