"""A comment with a rule and a reason suppresses a finding; one without is a finding."""

from pathlib import Path

import pytest

from helpers.audit.scan.scanner import scan
from tests.audit.scanning import found, write

SLEEP = "import time\nasync def chat():\n{above}    time.sleep(1){behind}\n"


@pytest.mark.parametrize("ids", ["LAP01", "LAP01.sleep", "LAP02, LAP01", "LAP01.sleep,LAP08"])
@pytest.mark.parametrize("above", [True, False])
def test_a_reason_suppresses(ids: str, above: bool, tmp_path: Path) -> None:
    comment = f"# lap: ignore[{ids}] a batch job"
    text = SLEEP.format(
        above=f"    {comment}\n" if above else "", behind="" if above else f"  {comment}"
    )
    report = scan([write(tmp_path / "a.py", text)])
    assert report.findings == ()
    assert report.suppressed == 1


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        ("# lap: ignore[LAP01]", "A suppression needs a reason"),
        ("# lap: ignore[LAP01] -", "A suppression needs a reason"),
        ("# lap: ignore", "A suppression names its rules"),
        ("# lap: ignore[] why not", "A suppression names its rules"),
        ("# lap: ignore[LAP01.slep] a batch job", "There is no rule 'LAP01.slep'."),
        ("# lap: ignore[all] a batch job", "There is no rule 'all'."),
    ],
)
def test_a_suppression_that_says_too_little_is_a_finding(
    comment: str, sentence: str, tmp_path: Path
) -> None:
    report = scan([write(tmp_path / "a.py", SLEEP.format(above="", behind=f"  {comment}"))])
    assert [each.rule for each in report.findings] == ["LAP00.suppression", "LAP01.sleep"]
    assert report.findings[0].message.startswith(sentence)


@pytest.mark.parametrize(
    "text",
    [
        "import time\n# lap: ignore[LAP01] too far away\n\nasync def chat():\n    time.sleep(1)\n",
        "import time\nasync def chat():\n    x = 1  # lap: ignore[LAP01] of x\n    time.sleep(1)\n",
        "import time\nasync def chat():\n    x = '# lap: ignore[LAP01] text'; time.sleep(1)\n",
        "import time\nasync def chat():\n    time.sleep(1)  # lap: ignore[LAP02] another rule\n",
    ],
)
def test_other_lines_strings_and_rules_stay(text: str, tmp_path: Path) -> None:
    assert [rule for rule, _ in found(tmp_path, text)] == ["LAP01.sleep"]


def test_rust_has_its_own_comments(tmp_path: Path) -> None:
    text = "fn client() -> reqwest::Client {{\n    {}\n    reqwest::Client::new()\n}}\n"
    good = text.format("// lap: ignore[LAP04] each call has a timeout")
    bad = text.format("// lap: ignore[LAP04]")
    assert found(tmp_path, good, "a.rs") == []
    assert found(tmp_path, bad, "a.rs") == [
        ("LAP00.suppression-rust", 2),
        ("LAP04.no-timeout-rust", 3),
    ]
