"""Settings in a file and faults in a line: what can be said, and what a mistake is answered."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from helpers.mock_llm import Fault, Limits, Profile
from helpers.mock_llm.settings.faults import parse_fault
from helpers.mock_llm.settings.files import read_config
from helpers.mock_llm.settings.settings import Settings

YAML = """
port: 0
profile:
  base: 0.5
  decode_rate: 40
  slots: 2
speed: 10
seed: 7
api_key: sk-test
answer_tokens: 20
finish_abandoned: true
limits:
  requests_per_minute: 60
  retry_after: ms
faults:
  - kind: 503
    first: 2
  - kind: cut
    share: 0.1
    between: [0, 5]
"""
TOML = """
port = 0
speed = 10
seed = 7
api_key = "sk-test"
answer_tokens = 20
finish_abandoned = true
profile = {base = 0.5, decode_rate = 40, slots = 2}
limits = {requests_per_minute = 60, retry_after = "ms"}

[[faults]]
kind = "503"
first = 2

[[faults]]
kind = "cut"
share = 0.1
between = [0, 5]
"""


def read(folder: Path, text: str, name: str = "provider.yaml") -> dict[str, Any]:
    file = folder / name
    file.write_text(text)
    return read_config(file)


@pytest.mark.parametrize(
    ("name", "text"), [("provider.yaml", YAML), ("provider.YML", YAML), ("provider.toml", TOML)]
)
def test_a_file_says_all_that_a_server_can_be_told(tmp_path: Path, name: str, text: str) -> None:
    config = read(tmp_path, text, name)
    assert config.pop("port") == 0
    assert Settings(**config) == Settings(
        profile=Profile(base=0.5, decode_rate=40, slots=2),
        speed=10,
        seed=7,
        api_key="sk-test",
        answer_tokens=20,
        finish_abandoned=True,
        limits=Limits(requests_per_minute=60, retry_after="ms"),
        faults=(Fault(kind="503", first=2), Fault(kind="cut", share=0.1, between=(0, 5))),
    )


def test_an_alias_repeats_a_value(tmp_path: Path) -> None:
    config = read(tmp_path, "faults: [&slow {kind: hang, first: 1}, *slow]")
    assert config["faults"] == 2 * (Fault(kind="hang", first=1),)


@pytest.mark.parametrize("text", ["", "# nothing yet", "profile: small"])
def test_a_file_may_say_little(tmp_path: Path, text: str) -> None:
    assert Settings(**read(tmp_path, text))


def test_the_example_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    [example] = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    config = read(tmp_path, example)
    assert config.pop("port") == 8010
    assert [fault.kind for fault in Settings(**config).faults] == ["503", "cut"]


LAUGHS = "a0: &a0 [1, 1]\n" + "".join(
    f"a{level}: &a{level} [{', '.join(9 * [f'*a{level - 1}'])}]\n" for level in range(1, 9)
)
"""Nine lines that stand for a hundred million values."""
MERGED = "a0: &a0 {speed: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join(9 * [f'*a{level - 1}'])}]}}\n" for level in range(1, 9)
)
MISTAKES = {
    "sped: 2": "there is no setting 'sped': did you mean speed?",
    "42: 2": "the names of settings must be text",
    "speed: 0": "speed must be more than 0",
    "speed: fast": "speed must be more than 0",
    "port: 99999": "port must be a whole number from 0 to 65535, not 99999",
    "port: '80'": "port must be a whole number from 0",
    "seed: 1.5": "seed must be a whole number",
    "tls: 1": "tls must be True or False",
    "profile: huge": "no profile is called 'huge'; there are instant",
    "profile: [1]": "profile must be a name or the fields of a Profile",
    "profile:": "profile must be a name or the fields of a Profile",
    "profile: {decode: 3}": "profile: there is no setting 'decode': did you mean decode_rate?",
    "profile: {base: fast}": "profile: base must be at least 0 seconds, not 'fast'",
    "profile: {slots: 1.5}": "profile: slots must be a whole number",
    "limits: 60": "limits must be limits by name, not 60",
    "limits: {requests_per_minut: 1}": "limits: there is no setting 'requests_per_minut': did you",
    "limits: {requests_per_minute: many}": "limits: requests_per_minute must be more than 0",
    "limits: {retry_after: soon}": "limits: retry_after must be one of",
    "faults: cut": "faults must be a list of faults, each with its kind, not 'cut'",
    "faults: [cut]": "faults must be a list of faults, each with its kind, not ['cut']",
    "faults: [{kind: cut}, {kind: cutt}]": "fault 2: no fault is called 'cutt'",
    "faults: [{kind: cut, shar: 1}]": "fault 1: there is no setting 'shar': did you mean share?",
    "faults: [{share: 1}]": "fault 1: needs a kind, such as `kind: cut`",
    "faults: [{kind: cut, share: 2}]": "fault 1: share must be from 0 to 1",
    "- speed": "the file must hold settings by name",
    "speed": "the file must hold settings by name",
    "speed: [": "not valid YAML in line 1",
    "a: !!python/object:os.system {}": "not valid YAML in line 1",
    "\x01": "not valid YAML",
    "rpm: 60": "rpm belongs in limits, as in `limits: {requests_per_minute: …}`",
    "retry_after: ms": "retry_after belongs in limits, as in `limits: {retry_after: …}`",
    "limits: {rpm: 60}": "limits: there is no setting 'rpm': did you mean requests_per_minute?",
    "seed: 12:30:45": "YAML reads 12:30:45 as a number: put it in quotes",
    "faults: [{kind: cut, between: 5:20}]": "YAML reads 5:20 as a number: put it in quotes",
    "api_key: sk key": "api_key must be letters, digits, and ASCII punctuation, or None",
    "api_key: ''": "api_key must be letters, digits, and ASCII punctuation, or None",
    "api_key: sk-ключ": "api_key must be letters, digits, and ASCII punctuation, or None",
    # bounds
    "speed: .inf": "speed must be more than 0",
    "speed: .nan": "speed must be more than 0",
    "speed: 1" + 400 * "0": "speed must be at most 1.8e+308, not 1000",
    "seed: 1" + 400 * "0": "seed must be at most 1.8e+308, not 1000",
    "seed: 1" + 5000 * "0": "Exceeds the limit (4300 digits)",
    "answer_tokens: 99999999999": "answer_tokens must be a whole number from 1 to 1000000",
    "limits: {quota_tokens: 1" + 400 * "0" + "}": "limits: quota_tokens must be at most 1.8e+308",
    "limits: {tokens_per_minute: 1e400}": "limits: tokens_per_minute must be more than 0",
    "profile: {context_window: 0x" + 4000 * "f" + "}": "profile: context_window must be at most",
    # depth and size
    "a: " + 5000 * "[": "the file is nested more than 20 levels deep",
    "a: " + 500 * "{a: " + "1" + 500 * "}": "the file is nested more than 20 levels deep",
    "faults: &a [*a]": "the alias *a refers to itself",
    "faults: [&a {kind: *a}]": "the alias *a refers to itself",
    "faults: [*a]": "not valid YAML in line 1: found undefined alias 'a'",
    LAUGHS: "the file holds more than 10000 values",
    MERGED: "the file holds more than 10000 values",
}


@pytest.mark.parametrize(("text", "sentence"), MISTAKES.items(), ids=range(len(MISTAKES)))
def test_a_mistake_names_the_file_the_setting_and_the_remedy(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'provider.yaml'}: {sentence}")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.toml", b"speed = ", "Invalid value"),
        ("p.toml", b"speed = 1e400", "speed must be more than 0"),
        ("p.toml", b"faults = " + 5000 * b"[", "nested too deeply"),
        ("p.ini", b"", "must end in .yaml, .yml or .toml"),
        ("p.yaml", b"\xff\xfe\x00", "the file is not UTF-8 text"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        read_config(tmp_path / name)
    assert sentence in str(error.value)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.yaml: the file cannot be read: No such file"):
        read_config(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("hang", Fault(kind="hang")),
        ("503 first=3 retry_after=2.5", Fault(kind="503", first=3, retry_after=2.5)),
        ("cut share=0.1 after_tokens=3", Fault(kind="cut", share=0.1, after_tokens=3)),
        ("cut; after_tokens=3", Fault(kind="cut", after_tokens=3)),
        ("drip interval=0.5 every=2", Fault(kind="drip", interval=0.5, every=2)),
        ("500 between=5:20 model=gpt-4o", Fault(kind="500", between=(5, 20), model="gpt-4o")),
    ],
)
def test_a_fault_fits_in_a_line(line: str, fault: Fault) -> None:
    assert parse_fault(line) == fault


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "no fault is called ''"),
        ("cutt", "no fault is called 'cutt'; there are refuse, "),
        ("cut shar=0.1", "fault cut: there is no setting 'shar': did you mean share?"),
        ("cut kind=cut", "fault cut: there is no setting 'kind'"),
        ("cut share", "fault cut: share needs a value, such as share=3"),
        ("cut share=0.1 share=0.2", "fault cut: share is given twice"),
        ("cut share=some", "fault cut: share must be from 0 to 1, not 'some'"),
        ("cut first=1.5", "fault cut: first must be a whole number of at least 1, not 1.5"),
        ("cut share=2", "fault cut: share must be from 0 to 1"),
        (
            "cut between=5",
            "fault cut: between must be two times in seconds, in order, such as 5:20, not 5",
        ),
        ("cut between=5:1", "fault cut: between must be two times in seconds, in order"),
    ],
)
def test_a_line_that_is_no_fault_says_why(line: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        parse_fault(line)
    assert sentence in str(error.value)
