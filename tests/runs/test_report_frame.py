"""The frame of a report: whatever comes out of a table stays text, in a terminal, in Markdown and in JSON."""

import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.generation.sampling import Counters
from palign_hf.redact import remember
from palign_hf.runs.report import Reasons, StageReport, kind, often
from palign_hf.tables import escaped, figures, quantiles, share, table


@dataclass
class Sums(StageReport):
    """The report of a stage that adds up."""

    terms = {"sum": "what was added up."}

    total: int = 0

    def lines(self) -> list[tuple[str, str]]:
        return self.counted() + figures(("sum", self.total, ","), ("mean", share(self.total, self.rows), ".2f"))

    def warnings(self) -> list[str]:
        return ["The sum is negative. Add more."] if self.total < 0 else []

    def title(self) -> str:
        return f"{self.rows} rows of {self.settings.get('input', '?')}"

    def facts(self) -> dict[str, Any]:
        return {"input": self.settings.get("input")} | self.made_by()

    def sections(self) -> list[str]:
        return ["\n".join([*table(("part", "sum"), [("a|b", str(self.total))]), ""])]


def sums(**changes: Any) -> Sums:
    given = {"rows": 3, "statuses": {"added": 2, "left": 1, "lost": 0}, "reasons": {"no <number>": 1}, "total": -1200}
    return Sums(**given | changes)


def test_a_terminal_gets_figures_reasons_and_warnings():
    assert sums().text().split("\n") == [
        "  rows        3",
        "  rows added  2",
        "  rows left   1",
        "  sum         -1,200",
        "  mean        -400.00",
        "reasons:",
        "  1 x no <number>",
        "warning: The sum is negative. Add more.",
    ]


def test_a_card_gets_the_same_with_data_escaped():
    assert sums().markdown() == (
        "| measured | value |\n|---|---|\n| rows | 3 |\n| rows added | 2 |\n| rows left | 1 |\n| sum | -1,200 |\n"
        "| mean | -400.00 |\n\n- 1 rows: no \\<number\\>\n\n> **Warning.** The sum is negative. Add more.\n"
    )
    assert sums(reasons={}, total=1).markdown().endswith("| mean | 0.33 |\n")


def test_a_page_says_what_was_run_and_what_words_mean():
    settings = {"input": "my *data*", "engines": ["one", "two"], "engine": "auto", "fingerprint": "f", "command": ""}
    page = sums(settings=settings).page()
    assert page.startswith(
        "# 3 rows of my \\*data\\*\n\n| run | |\n|---|---|\n| input | my \\*data\\* |\n| engine | one, two |\n"
        "| result | f |\n\n| measured | value |\n"
    )
    assert page.endswith("| part | sum |\n|---|---|\n| a\\|b | -1200 |\n\n## Terms\n\n- **sum**: what was added up.\n")


def test_json_comes_back_whole_and_holds_the_warnings():
    read = json.loads(sums(settings={"input": "é"}).json())
    assert read.pop("warnings") == ["The sum is negative. Add more."]
    assert read.pop("lines") == [list(line) for line in sums().lines()]
    assert Sums(**read) == sums(settings={"input": "é"})


def test_a_report_masks_secrets_before_it_escapes_them():
    secret = "canary_of*a|header"
    remember(secret)
    told = {"command": f"palign x --set a={secret}", "date": "hf_abcDEF123456", "engine_options": {"api_key": "abc"}}
    made = sums(settings=told, reasons={f"no answer: {secret}": 1})
    for form in (made.text(), made.markdown(), made.page(), made.json()):
        assert not any(part in form for part in (secret, escaped(secret), "canary", "abcDEF", '"abc"'))
    assert made.as_dict()["settings"]["command"] == "palign x --set a=[key]"
    cut = kind(f"{'x' * 150} {secret} and more")
    assert "canary" not in cut and cut.endswith("...")


def test_what_was_not_measured_has_no_line():
    assert figures(("a", None, ".1%"), ("b", 0.5, ".1%"), ("c", 0, ",")) == [("b", "50.0%"), ("c", "0")]
    assert sums(rows=0, statuses={}).lines() == [("rows", "0"), ("sum", "-1,200")]


@given(st.text())
def test_escaped_text_is_one_line_without_markup_and_can_be_read_back(text):
    shown = escaped(text)
    assert not set(re.sub(r"\\.", "", shown)) & set("|<>`[]*_{}#\\&~$") and len(shown.splitlines()) <= 1
    assert shown.isprintable()
    seen = "".join(char if char.isprintable() else f"<U+{ord(char):04X}>" for char in " ".join(text.split()))
    assert re.sub(r"\\(.)", r"\1", shown) == seen


@given(st.text(max_size=400))
def test_a_kind_is_short_printable_and_its_own_kind(reason):
    found = kind(reason)
    assert len(found) <= 160 and found.isprintable()
    assert kind(found) == found


def test_kinds_differ_by_words_not_by_numbers():
    assert kind("needs 120 tokens, has 100.") == kind("needs 7 tokens, has 3.") == "needs N tokens, has N"
    assert kind("needs 120 tokens") != kind("has 120 tokens")


def test_a_kind_keeps_its_numbers_where_all_rows_agree():
    found = Reasons()
    python = "TypeError: f() takes 2 positional arguments but 3 were given"
    for reason, count in ((python, 2), ("has 100 tokens", 1), (python, 1), ("has 7 tokens", 3), ("has 100 tokens", 1)):
        found.add(reason, count)
    assert found.counted() == {python: 3, "has N tokens": 5}


@given(st.lists(st.tuples(st.text("ab 12.\n", max_size=12), st.integers(1, 5))))
def test_reasons_are_counted_by_kind_and_none_is_lost(rows):
    found = Reasons()
    for reason, count in rows:
        found.add(reason, count)
    counted = found.counted()
    assert counted.total() == sum(count for _, count in rows)
    assert {kind(name) for name in counted} == {kind(reason) for reason, _ in rows}
    assert len(counted) == len({kind(reason) for reason, _ in rows})


@given(st.lists(st.lists(st.text(max_size=20), min_size=2, max_size=2), max_size=5))
def test_a_table_has_a_line_a_row_and_as_many_cells_as_its_head(rows):
    lines = table(("one", ""), rows)
    assert len(lines) == 2 + len(rows) and lines[:2] == ["| one | |", "|---|---|"]
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in lines)


@pytest.mark.parametrize(
    ("part", "asked", "said"), [(1 - 0.7, 10, False), (0.31, 10, True), (0.31, 9, False), (None, 99, False)]
)
def test_often_is_more_than_the_limit_of_enough(part, asked, said):
    assert often(part, asked, 0.3) is said
    assert often(0.31, 9, 0.3, fewest=9)


def test_shares_and_quantiles_of_nothing_are_not_measured():
    assert share(0, 0) is None and share(1, 4) == 0.25
    assert quantiles([], (0.5,)) is None
    assert quantiles(np.arange(11), (0.1, 0.5)) == {"p10": 1.0, "p50": 5.0}


@dataclass
class Costs(Counters):
    asked: int = 0
    seconds: float = 0.0


def test_counters_add_up_and_come_back_from_json():
    one, two = Costs(3, 0.5), Costs(1, 0.25)
    assert one + two == Costs(4, 0.75) and one - two == Costs(2, 0.25)
    assert sum([one, two], Costs()) == Costs(**json.loads(json.dumps((one + two).as_dict())))
    assert (one, two) == (Costs(3, 0.5), Costs(1, 0.25))
