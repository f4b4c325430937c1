"""The fixture `mock_llm`, in a team's own project."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]
PLUGIN = "llm_antipatterns_pytest"


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """An empty one, without this repository's configuration."""
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:nbval")
    return pytester


def run(project: pytest.Pytester, test: str, **outcomes: int) -> pytest.RunResult:
    project.makepyfile(test)
    result = project.runpytest_subprocess("-p", PLUGIN)
    result.assert_outcomes(**outcomes)
    return result


ASK = """
import urllib.request, json, pytest

def ask(llm):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    request = urllib.request.Request(
        llm.http_url + "/chat/completions", json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": "Bearer sk-team"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]
"""


def test_a_test_gets_a_server_in_one_line(project: pytest.Pytester) -> None:
    run(
        project,
        ASK
        + """
def test_it(mock_llm):
    assert ask(mock_llm)
    assert mock_llm.ledger().requests[0].status == 200
""",
        passed=1,
    )


def test_the_sdks_find_it_by_the_environment(project: pytest.Pytester) -> None:
    run(
        project,
        """
import os, anthropic, openai, pytest

@pytest.mark.mock_llm(environment=True, script=[{"text": "Scripted."}])
def test_it(mock_llm):
    messages = [{"role": "user", "content": "Hi"}]
    answer = openai.OpenAI().chat.completions.create(model="gpt-5", messages=messages)
    assert answer.choices[0].message.content == "Scripted."
    claude = anthropic.Anthropic()
    claude.messages.create(model="claude-sonnet-5-5", messages=messages, max_tokens=9)
    assert len(mock_llm.ledger().requests) == 2

def test_the_next(mock_llm):
    assert mock_llm.url != os.environ.get("OPENAI_BASE_URL")
""",
        passed=2,
    )


def test_the_server_is_shared_and_reset(project: pytest.Pytester) -> None:
    run(
        project,
        ASK
        + """
pids = set()

@pytest.mark.parametrize("number", range(3))
def test_it(mock_llm, number):
    assert mock_llm.ledger().requests == []
    ask(mock_llm)
    assert [request.id for request in mock_llm.ledger().requests] == [1]
    pids.add(mock_llm.pid)
    assert len(pids) == 1
""",
        passed=3,
    )


def test_markers_set_it_for_one_test(project: pytest.Pytester) -> None:
    run(
        project,
        ASK
        + """
import urllib.error
from helpers import Fault

pytestmark = pytest.mark.mock_llm(answer_tokens=7)

def tokens(llm):
    ask(llm)
    return llm.ledger().requests[0].completion_tokens

@pytest.mark.mock_llm("small", speed=100, faults=[Fault(kind="503", first=1)])
def test_failing(mock_llm):
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(mock_llm)
    assert error.value.code == 503
    ask(mock_llm)
    assert mock_llm.ledger().requests[1].completion_tokens == 7

def test_of_the_module(mock_llm):
    assert tokens(mock_llm) == 7

@pytest.mark.mock_llm(answer_tokens=9)
class TestClass:
    def test_of_the_class(self, mock_llm):
        assert tokens(mock_llm) == 9

    @pytest.mark.mock_llm(answer_tokens=3)
    def test_of_its_own(self, mock_llm):
        assert tokens(mock_llm) == 3
""",
        passed=4,
    )


def test_a_key_and_tls_take_a_server_of_their_own(project: pytest.Pytester) -> None:
    run(
        project,
        ASK
        + """
import os, urllib.error

@pytest.mark.mock_llm(api_key="sk-other")
def test_key(mock_llm):
    with pytest.raises(urllib.error.HTTPError) as error:
        ask(mock_llm)
    assert error.value.code == 401

@pytest.mark.mock_llm(tls=True)
def test_tls(mock_llm):
    assert mock_llm.url.startswith("https://")
    assert os.path.exists(mock_llm.ca_file)

def test_neither(mock_llm):
    ask(mock_llm)
""",
        passed=3,
    )


def test_a_stopped_or_killed_server_runs_again_for_the_next_test(project: pytest.Pytester) -> None:
    run(
        project,
        ASK
        + """
import psutil

def test_stop(mock_llm):
    mock_llm.stop()

def test_kill(mock_llm):
    ask(mock_llm)
    psutil.Process(mock_llm.pid).kill()

def test_go_on(mock_llm):
    ask(mock_llm)
""",
        passed=3,
    )


def test_a_wrong_marker_fails_with_one_sentence(project: pytest.Pytester) -> None:
    wrong = {
        "profil='small'": "the marker mock_llm: there is no setting 'profil': did you mean *?",
        "profile='huge'": "the marker mock_llm: no profile is called 'huge'*",
        "api_key=''": "the marker mock_llm: api_key must be letters, digits, and ASCII*",
        "'small', 2": "the marker mock_llm takes all but the profile by name",
    }
    tests = "".join(
        f"@pytest.mark.mock_llm({options})\ndef test_{number}(mock_llm): pass\n"
        for number, options in enumerate(wrong)
    )
    result = run(project, f"import pytest\n{tests}", errors=len(wrong))
    for sentence in wrong.values():
        result.stdout.fnmatch_lines([sentence])
    assert "helpers/mock_llm" not in result.stdout.str()  # no traceback


def test_a_project_keeps_its_own_helpers(project: pytest.Pytester) -> None:
    """`helpers` is a common name: the plugin must not import ours before theirs."""
    project.mkpydir("helpers")
    project.path.joinpath("helpers", "mine.py").write_text("answer = 42")
    result = run(
        project,
        """
import sys
sys.path.insert(0, ".")
from helpers.mine import answer

def test_theirs():
    assert answer == 42

def test_ours(mock_llm):
    pass
""",
        passed=1,
        errors=1,
    )
    result.stdout.fnmatch_lines(["*another `helpers` hides it*"])


def test_loading_the_plugin_does_not_import_helpers() -> None:
    """pytest loads it in every project of the environment."""
    script = f"import sys, pytest, {PLUGIN}; print([m for m in sys.modules if 'helpers' in m])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_marker_is_explained(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-p", PLUGIN, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.mock_llm(profile='instant', *, speed, seed, *"])
