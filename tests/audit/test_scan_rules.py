"""Each rule finds its examples and nothing else; the lessons' mistakes are found."""

from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from helpers.audit.scan.confirm.registry import CONFIRM
from helpers.audit.scan.rules import FOLDER, rules
from helpers.audit.scan.scanner import scan
from helpers.lessons.catalogue import LESSONS, notebooks_folder

SUFFIX = {"python": "py", "rust": "rs"}


@pytest.fixture(scope="module")
def by_example(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The ids of what is found in each example."""
    folder = tmp_path_factory.mktemp("examples")
    for rule in rules().values():
        for kind, examples in (("match", rule.matches), ("pass", rule.passes)):
            for number, example in enumerate(examples):
                name = f"{rule.id} {kind} {number}.{SUFFIX[rule.language]}"
                (folder / name).write_text(example, "utf-8")
    report = scan([folder])
    assert report.notes == ()
    ids: dict[str, set[str]] = defaultdict(set)
    for finding in report.findings:
        ids[Path(finding.path).stem].add(finding.rule)
    return ids


@pytest.mark.parametrize("name", rules())
def test_a_rule_finds_its_examples(name: str, by_example: dict[str, set[str]]) -> None:
    assert rules()[name].matches
    for number in range(len(rules()[name].matches)):
        assert name in by_example[f"{name} match {number}"], number


@pytest.mark.parametrize("name", rules())
def test_a_rule_passes_right_code(name: str, by_example: dict[str, set[str]]) -> None:
    assert rules()[name].passes
    for number in range(len(rules()[name].passes)):
        assert name not in by_example[f"{name} pass {number}"], number


@pytest.mark.parametrize("file", sorted((FOLDER / "rules").glob("LAP*.yml")), ids=lambda f: f.stem)
def test_a_file_has_one_rule_with_all_its_parts(file: Path) -> None:
    entry = yaml.safe_load(file.read_text("utf-8"))
    assert entry["id"] == file.stem
    rule = rules()[file.stem]
    assert rule.lesson == rule.id[3:5]
    for text in (rule.message, rule.why, rule.note):
        assert text.endswith(".")
    assert all(rule.false_positives) or rule.lesson == "00"


def test_every_confirmation_belongs_to_a_rule() -> None:
    assert CONFIRM.keys() <= rules().keys()


def test_both_languages_have_rules_for_most_lessons() -> None:
    lessons = {
        language: {r.lesson for r in rules().values() if r.language == language}
        for language in SUFFIX
    }
    assert lessons["python"] >= {"01", "02", "03", "04", "05", "06", "08"}
    assert lessons["rust"] >= {"01", "02", "04", "05", "06", "07", "08"}


def test_the_solutions_and_the_package_are_clean_but_for_the_chatbot() -> None:
    report = scan([notebooks_folder() / "solutions", FOLDER.parents[2]])
    assert report.files > 50
    assert {Path(each.path).name for each in report.findings} == {"chatbot.py"}


# The mistake of lesson 07 is not one of code, but of what the user sees.
@pytest.mark.parametrize("number", ["01", "02", "03", "04", "05", "06", "08"])
def test_the_mistake_of_a_lesson_is_found_in_its_notebook(number: str) -> None:
    (lesson,) = (each for each in LESSONS if each.number == number)
    report = scan([lesson.notebook])
    assert any(finding.lesson == number and finding.cell for finding in report.findings)
