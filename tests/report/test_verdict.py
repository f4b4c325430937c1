import math

import pytest

from helpers.report import Claim, VerdictFailed, at_least, at_most, equals, verdict

HOLDING = (
    equals("peak requests in flight, right", 12, 12),
    at_least("makespan, wrong ÷ right", 10.8, 4),
    at_most("requests still open", 0, 0),
    equals("model", "gpt-4o", "gpt-4o"),
)


def test_pass_lines_state_the_bound_and_not_the_measurement(
    capsys: pytest.CaptureFixture[str],
) -> None:
    verdict(*HOLDING)
    assert capsys.readouterr().out.splitlines() == [
        "PASS peak requests in flight, right: 12",
        "PASS makespan, wrong ÷ right: at least 4",
        "PASS requests still open: at most 0",
        "PASS model: gpt-4o",
    ]


def test_a_failed_claim_prints_its_measurement_and_raises(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing = at_least("makespan, wrong ÷ right", 1.01234, 4)
    with pytest.raises(VerdictFailed) as failed:
        verdict(*HOLDING, failing)
    said = "makespan, wrong ÷ right: at least 4 (measured: 1.012)"
    assert str(failed.value) == f"1 of 5 claims failed: {said}."
    assert capsys.readouterr().out.splitlines()[-1] == f"FAIL {said}"


def test_every_claim_is_printed_before_it_raises(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(VerdictFailed, match="1 of 2 claims"):
        verdict(equals("first", 1, 2), equals("second", 2, 2))
    assert capsys.readouterr().out.splitlines() == [
        "FAIL first: 2 (measured: 1)",
        "PASS second: 2",
    ]


@pytest.mark.parametrize(
    "claim",
    [
        equals("none", None, None),
        equals("nan", math.nan, math.nan),
        at_least("none", None, 1),
        at_least("nan", math.nan, 1),
        at_most("none", None, 1),
        at_most("nan", math.nan, 1),
        at_most("not a number", "many", 1),
        at_least("bound is no number", 1, math.nan),
    ],
)
def test_a_missing_measurement_fails(claim: Claim) -> None:
    assert not claim.holds
    with pytest.raises(VerdictFailed):
        verdict(claim)


def test_a_verdict_needs_claims() -> None:
    with pytest.raises(ValueError, match="at least one claim"):
        verdict()
