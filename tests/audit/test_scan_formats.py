"""Text, JSON, SARIF and annotations, as their readers take them."""

import json
from pathlib import Path

import jsonschema
import pytest

from helpers.audit.scan.formats import FORMATS
from helpers.audit.scan.rules import rules
from helpers.audit.scan.scanner import scan
from tests.audit.scanning import SLEEPS, call, write

SCHEMA = Path(__file__).parents[1] / "data" / "sarif-2.1.0.json"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A service, a notebook and a file that cannot be scanned."""
    write(tmp_path / "service, 100%.py", SLEEPS)
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["import time\n", "%pip install openai\n", "1"]},
        {"cell_type": "code", "source": "async def f():\n    time.sleep(1)"},
    ]
    write(tmp_path / "book.ipynb", json.dumps({"cells": cells, "nbformat": 4, "metadata": {}}))
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    return tmp_path


def test_text_has_place_rule_message_and_lesson(folder: Path) -> None:
    done = call(".", cwd=folder)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    message = "LAP01.sleep time.sleep blocks the event loop. (lesson 01)"
    assert lines[0] == f"book.ipynb:cell 3:2:5: {message}"
    assert lines[2] == f"service, 100%.py:4:5: {message}"
    assert lines[-1] == "2 findings in 2 files."
    assert done.stderr == "latin.py was not scanned: it is not UTF-8.\n"


def test_json_has_every_field(folder: Path) -> None:
    done = call(".", "--format", "json", cwd=folder)
    assert done.returncode == 1
    entry = json.loads(done.stdout)
    assert (entry["version"], entry["files"], entry["suppressed"]) == (1, 2, 0)
    assert entry["notes"] == ["latin.py was not scanned: it is not UTF-8."]
    rule = rules()["LAP01.sleep"]
    assert entry["findings"][1] == {
        "id": "LAP01.sleep",
        "lesson": "01",
        "path": "service, 100%.py",
        "cell": None,
        "line": 4,
        "column": 5,
        "end_line": 4,
        "message": rule.message,
        "why": rule.why,
    }
    assert (entry["findings"][0]["cell"], entry["findings"][0]["line"]) == (3, 2)


def test_sarif_follows_its_schema(folder: Path) -> None:
    done = call(".", "--format", "sarif", "--output", "scan.sarif", cwd=folder)
    assert (done.returncode, done.stdout) == (1, "")
    entry = json.loads((folder / "scan.sarif").read_text("utf-8"))
    schema = json.loads(SCHEMA.read_text("utf-8"))
    checker = jsonschema.Draft7Validator.FORMAT_CHECKER
    jsonschema.Draft7Validator(schema, format_checker=checker).validate(entry)
    (run,) = entry["runs"]
    assert {rule["id"] for rule in run["tool"]["driver"]["rules"]} == set(rules())
    book, service = run["results"]
    place = service["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "service%2C%20100%25.py"
    assert place["region"] == {"startLine": 4, "startColumn": 5, "endLine": 4}
    assert run["tool"]["driver"]["rules"][service["ruleIndex"]]["id"] == service["ruleId"]
    assert book["message"]["text"].startswith("Cell 3, line 2: ")
    assert "region" not in book["locations"][0]["physicalLocation"]


def test_sarif_of_nothing_follows_its_schema(tmp_path: Path) -> None:
    entry = json.loads(FORMATS["sarif"](scan([write(tmp_path / "a.py", "x = 1\n")])))
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text("utf-8"))).validate(entry)
    assert entry["runs"][0]["results"] == []


def test_annotations_are_escaped(folder: Path) -> None:
    lines = call(".", "--format", "github", cwd=folder).stdout.splitlines()
    assert lines[0].startswith("::warning file=book.ipynb,title=LAP01.sleep::Cell 3, line 2: ")
    assert lines[1].startswith(
        "::warning file=service%2C 100%25.py,line=4,endLine=4,col=5,title=LAP01.sleep::time.sleep"
    )
    assert len(lines) == 2
