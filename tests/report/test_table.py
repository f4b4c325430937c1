from dataclasses import replace
from typing import Literal
from xml.etree import ElementTree

import pytest

from helpers.lab.run import Block, Comparison, Stall, Where
from helpers.report import Table, table
from tests.report.makers import LINE, compare, concurrent, hung, limited, serial


def _cells(made: Table) -> dict[str, tuple[str, ...]]:
    return {name: tuple(cells) for name, *cells in made.rows}


def test_rows_of_two_arms() -> None:
    made = table(compare(serial(), concurrent()))
    assert made.head == ("", "wrong", "right")
    assert _cells(made) == {
        "peak requests in flight": ("1", "12"),
        "requests": ("12", "12"),
        "answers (status 200)": ("12", "12"),
        "makespan (first request to last answer)": (
            "3.8 s (3.8 s – 3.9 s), n = 3",
            "0.35 s (0.35 s – 0.36 s), n = 3",
        ),
        "loop blocked or busy": ("99 % (97 % – 99 %), n = 3", "0 %, n = 3"),
        "longest stall": ("0.32 s, n = 3", "0 s, n = 3"),
        "heartbeats (of those due)": ("0 of 192", "17 of 18"),
        "guilty line": (
            'cell 5, line 4: reply = httpx.post(f"{url}/chat/complet… (12 times, 3.8 s in all)',
            "none",
        ),
        "how it ended": ("returned", "returned"),
    }


def test_counts_that_differ_between_runs_show_their_range() -> None:
    runs = tuple(replace(concurrent(), peak_in_flight=peak) for peak in (11, 12, 9))
    cells = _cells(table(Comparison({"right": runs})))
    assert cells["peak requests in flight"] == ("11 (9 – 12)",)


def test_a_lessons_own_rows_come_first() -> None:
    runs = tuple(replace(concurrent(), peak_in_flight=peak) for peak in (11, 12_345, 9))
    made = table(
        Comparison({"right": runs}),
        rows={
            "count": lambda run: run.peak_in_flight,
            "share": lambda run: run.peak_in_flight / 3,
            "the same": lambda run: "yes" if run.peak_in_flight else "no",
            "another": lambda run: f"{run.peak_in_flight} of 9",
            "unknown": lambda run: float("nan"),
            "sometimes": lambda run: None if run.peak_in_flight == 9 else 7,
        },
    )
    assert [name for name, *_ in made.rows][:6] == list(_cells(made))[:6]
    assert list(_cells(made).values())[:6] == [
        ("11 (9 – 12,345)",),
        ("3.67 (3 – 4,115)",),
        ("yes",),
        ("11 of 9 / 12345 of 9 / 9 of 9",),
        ("–",),
        ("7",),
    ]
    assert made.rows[6][0] == "peak requests in flight"


def test_only_a_lessons_own_rows() -> None:
    rows = {"status 429": lambda run: run.count(429)}
    made = table(compare(limited(), concurrent()), rows, standard=False)
    assert made.rows == (("status 429", "32", "0"),)
    assert made.caption == "Each arm: median (lowest – highest) of 3 runs."
    with pytest.raises(ValueError, match="rows"):
        table(compare(limited(), concurrent()), standard=False)


def test_a_single_run_makes_a_table_too() -> None:
    made = table(limited(), {"status 429": lambda run: run.count(429)}, standard=False)
    assert made.head == ("", "wrong")
    assert made.caption == "Each arm: one run."


def test_an_arm_that_hung_took_longer_than_its_limit() -> None:
    cells = _cells(table(compare(hung(), concurrent())))
    assert cells["makespan (first request to last answer)"][0] == "> 5 s"
    assert cells["how it ended"][0] == "still waiting when the lab gave up after 5 s"


def test_only_stalls_during_the_calls_count() -> None:
    """As in the figure, which begins with the first request."""
    client = Where("cell 6", 7, "wrong", "client = httpx.Client()")
    made = Stall(0.0, 0.045, steps=1, blocks=(Block(0.0, 0.045, client, cpu_share=1.0),))
    first = Stall(0.0, 0.04, steps=1, blocks=(Block(0.0, 0.04, LINE, cpu_share=0.0),))
    cells = _cells(table(replace(serial(), stalls=(made, first, *serial().stalls))))
    assert "(12 times, " in cells["guilty line"][0]
    cells = _cells(table(replace(concurrent(), stalls=(replace(made, seconds=0.02),))))
    assert cells["longest stall"] == ("0 s, n = 1",)


@pytest.mark.parametrize(
    ("backend", "words"), [("none", "no event loop"), ("unknown", "event loop not measured")]
)
def test_a_loop_that_was_not_measured_is_not_judged(
    backend: Literal["none", "unknown"], words: str
) -> None:
    plain = replace(concurrent(), backend=backend, beats=())
    cells = _cells(table(compare(serial(), plain)))
    for name in (
        "loop blocked or busy",
        "longest stall",
        "heartbeats (of those due)",
        "guilty line",
    ):
        assert cells[name][1] == words


def test_arms_that_send_nothing_have_no_rows_about_requests() -> None:
    names = list(_cells(table(compare(concurrent(0), concurrent(0, "b")))))
    assert names[:2] == ["start to end", "loop blocked or busy"]


def test_html_is_well_formed_labeled_and_escaped() -> None:
    arm = "<script>alert(1)</script>"
    data, _ = table(compare(serial(arm=arm), concurrent()))._repr_mimebundle_()
    assert "<script" not in data["text/html"]
    tree = ElementTree.fromstring(data["text/html"])  # noqa: S314 - made above
    assert tree[0].tag == "caption"
    heads = list(tree.iter("th"))
    assert [cell.get("scope") for cell in heads] == ["col"] * 3 + ["row"] * 9
    assert "".join(heads[1].itertext()) == arm


def test_a_line_of_code_may_be_broken_and_a_number_may_not() -> None:
    rows = {"guilty line": lambda run: 'post(f"{url}/chat/completions")', "s": lambda run: 0.25}
    page = table(serial(), rows, standard=False)._repr_mimebundle_()[0]["text/html"]
    assert "post(<wbr/>f&quot;{<wbr/>url}/<wbr/>chat/<wbr/>completions&quot;)" in page
    assert ">0.25<" in page
    assert "(status 200)" in table(serial())._repr_mimebundle_()[0]["text/html"]


def test_text_is_aligned() -> None:
    made = table(compare(serial(), concurrent()))
    lines = str(made).splitlines()
    column = lines[0].index("right")
    assert all(line[column - 1] == " " and line[column] != " " for line in lines[:-1])
    assert made._repr_mimebundle_()[0]["text/plain"] == str(made)


def test_caption_states_the_noise_floor() -> None:
    assert "1.2 ms late" in table(compare(serial(), concurrent(), noise=0.0012)).caption
