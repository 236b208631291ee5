"""Figures of a PREFIXES table: counted right, warned about when they say so, and harmless wherever they are shown."""

import json
import re

import numpy as np
import pytest
from datasets import Dataset

from palign_hf.schema import PREFIXES, STATUSES, SchemaError
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, Probe
from palign_hf.truncation.report import ProbeUsage, Report


def row(status="sufficient", ratio=0.25, probes=((0, -1.0), (3, 1.0)), reason=None, segments=10) -> dict:
    """One row; a probe is (segments, margin), a margin of None is unparsable."""
    said = {True: ENOUGH, False: NOT_ENOUGH}
    answered = [
        {"segments": cut, "margin": margin, "verdict": UNPARSABLE if margin is None else said[margin > 0]}
        for cut, margin in probes
    ]
    return {"status": status, "prefix_ratio": ratio, "probes": answered, "reason": reason, "n_segments": segments}


def table(rows: list[dict]) -> Dataset:
    blank = {"id": "", "question": "q", "trace": "t", "answer": None, "source": "s", "prefix": "", "prefix_end": 0}
    blank |= {"prefix_segments": 0, "trace_tokens": 0, "prefix_tokens": 0}
    full = [blank | {"id": str(at)} | one for at, one in enumerate(rows)]
    columns = {name: [one[name] for one in full] for name in PREFIXES.columns}
    return Dataset.from_dict(columns, features=PREFIXES.features)


def report(rows: list[dict], usage: ProbeUsage | None = None) -> Report:
    return Report.of(table(rows), usage)


def about(said: list[str], word: str) -> list[str]:
    return [line for line in said if word in line]


# Figures


def test_statuses_are_counted_apart():
    rows = [row()] * 3 + [
        row("full_trace", 1.0),
        row("skipped", None, ()),
        row("error", None, ()),
        row("fixed", 0.5, ()),
    ]
    found = report(rows)
    assert found.statuses == {"sufficient": 3, "full_trace": 1, "fixed": 1, "skipped": 1, "error": 1}
    assert list(found.statuses) == [status for status in STATUSES if status != "published"]
    assert (found.rows, found.failed) == (7, 1)
    assert report([row("published", None, ())]).statuses["published"] == 1  # of others, where they are read in


def test_ratios_are_those_of_findings_only():
    ratios = [0.0, 0.1, 0.2, 0.4, 0.8]
    rows = [row(ratio=ratio) for ratio in ratios] + [row("full_trace", 1.0), row("fixed", 0.5, ()), row("error", None)]
    found = report(rows)
    expected = np.quantile(ratios, [0.1, 0.25, 0.5, 0.75, 0.9])
    assert found.ratio_quantiles == pytest.approx(
        dict(zip(["p10", "p25", "p50", "p75", "p90"], expected, strict=True))
    )
    assert found.ratio_mean == pytest.approx(0.3)
    assert found.no_prefix_share == pytest.approx(0.2)


def test_probes_are_counted_over_searched_rows():
    rows = [row(), row(probes=((0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0))), row("fixed", 0.5, ())]
    assert report(rows).probes_a_problem == 3.0


def test_both_ends_are_counted_where_they_were_asked():
    rows = [
        row(probes=((0, 1.0), (10, -1.0))),
        row(probes=((0, -1.0), (10, 1.0))),
        row(probes=((0, -1.0), (4, 1.0))),
        row(probes=((5, 1.0),)),
        row(probes=((0, None),), status="error", ratio=None),
        row(probes=((0, -1.0),), segments=None),
    ]
    found = report(rows)
    assert (found.enough_at_nothing, found.asked_at_nothing) == (0.25, 4)
    assert (found.enough_at_all, found.asked_at_all) == (0.5, 2)
    assert found.unparsable == 1


def test_never_sufficient_is_a_share_of_searched_rows():
    never = row("full_trace", 1.0, ((0, -1.0), (10, -2.0)))
    cut_off = row("skipped", None, ((0, -1.0), (4, -2.0)))
    only_whole = row("full_trace", 1.0, ((0, -1.0), (10, 1.0)))
    unsearched = row("full_trace", 1.0, ())
    assert report([never, cut_off, only_whole, row(), unsearched]).never_sufficient_share == 0.5


def test_verdicts_taken_back_are_counted_by_problem_and_by_pair():
    wavers = row(probes=((0, -1.0), (2, 1.0), (4, -1.0), (6, 1.0), (8, -0.5)))
    out_of_order = row(probes=((8, -0.5), (0, -1.0), (2, 1.0)))
    steady = row(probes=((0, -1.0), (3, 1.0), (6, 2.0)))
    once = row(probes=((0, 1.0),))
    found = report([wavers, out_of_order, steady, once])
    assert (found.violation_share, found.violation_pairs, found.asked_twice) == (pytest.approx(2 / 3), 3, 3)


def test_reasons_of_one_kind_are_counted_together():
    reasons = [
        "needs 120 tokens, the context holds 100",
        "needs 130 tokens, the context holds 100",
        "the trace is empty",
    ]
    found = report([row("skipped", None, (), reason) for reason in [*reasons, *reasons[:1]]])
    assert found.reasons == {"needs N tokens, the context holds N": 3, "the trace is empty": 1}


def test_a_long_reason_is_shortened():
    (kind,) = report([row("error", None, (), "boom " * 100)]).reasons
    assert len(kind) == 160 and kind.endswith("...")


def test_nothing_in_gives_nothing_measured():
    for found in (report([]), report([row("full_trace", 1.0, (), "search `full` asks no judge")])):
        shares = (found.ratio_mean, found.ratio_quantiles, found.enough_at_nothing, found.enough_at_all)
        assert shares == (None,) * 4
        assert (found.violation_share, found.probes_a_problem, found.never_sufficient_share) == (None,) * 3
        assert found.warnings() == []
        assert found.lines()[0] == ("rows", str(found.rows))
        assert found.text() and found.markdown().startswith("| measured | value |")


def test_a_table_from_a_file_gives_the_same_report(tmp_path):
    rows = table([row(), row("full_trace", 1.0), row("skipped", None, (), "the trace is empty")])
    rows.to_parquet(tmp_path / "prefixes.parquet")
    loaded = Dataset.from_parquet(str(tmp_path / "prefixes.parquet"), cache_dir=str(tmp_path / "cache"))
    assert Report.of(loaded) == Report.of(rows) == Report.of(loaded.with_format("numpy"))
    assert Report.of(loaded.select([1])).statuses["full_trace"] == 1


def test_a_table_of_another_hand_may_lack_probes():
    rows = table([row(), row()]).remove_columns("probes").add_column("probes", [None, None])
    assert Report.of(rows).probes_a_problem is None


def test_a_table_that_holds_no_prefixes_is_refused():
    with pytest.raises(SchemaError, match="`status`"):
        Report.of(table([row()]).remove_columns("status"))


# Costs


def probe(verdict=ENOUGH, mass: float | None = 0.8, top=True) -> Probe:
    return Probe(1, verdict, 1.0, mass, top, prompt_tokens=100, cached_tokens=60)


def used(probes: list[Probe], asked: int, floor: int = 200) -> ProbeUsage:
    usage = ProbeUsage()
    usage.add(probes, asked, floor)
    return usage


def test_costs_come_from_the_run():
    found = report([row()], used([probe(), probe(mass=0.4, top=False), probe(UNPARSABLE, None, None)], asked=2))
    assert (found.asked, found.computed_tokens, found.cached_tokens) == (2, 120, 180)
    assert (found.cached_share, found.tokens_over_floor) == (pytest.approx(0.6), pytest.approx(0.6))
    assert (found.label_mass, found.top_is_label) == (pytest.approx(0.6), 0.5)


@pytest.mark.parametrize("usage", [None, ProbeUsage()])
def test_a_report_without_a_run_has_no_costs(usage):
    found = report([row()], usage)
    assert (found.asked, found.computed_tokens, found.label_mass, found.tokens_over_floor) == (None,) * 4
    assert not any("token" in name and "ratio" not in name for name, _ in found.lines())


def test_usage_adds_up_and_comes_back_from_json():
    one, two = used([probe()], 1), used([probe(mass=0.5), probe(UNPARSABLE, None, None)], 0)
    both = one + two
    assert (both.probes, both.asked, both.unparsable, both.floor_tokens, both.mass_probes) == (3, 1, 1, 400, 2)
    assert ProbeUsage(**json.loads(json.dumps(both.as_dict()))) == both
    assert (one.probes, two.probes) == (1, 2)


# Warnings: each beyond its threshold, and none from a few rows


@pytest.mark.parametrize(("mass", "warned"), [(0.49, 1), (0.5, 0), (0.9, 0)])
def test_labels_that_the_student_would_not_say_are_warned_about(mass, warned):
    found = report([row()], used([probe(mass=mass)] * 3, 3))
    assert len(about(found.warnings(), "two labels")) == warned


def shares(yes: dict, no: dict, of: int, count: int) -> list[dict]:
    return [yes] * of + [no] * (count - of)


@pytest.mark.parametrize(("of", "count", "warned"), [(4, 10, 1), (3, 10, 0), (9, 9, 0), (31, 100, 1), (30, 100, 0)])
def test_enough_at_nothing_is_warned_about(of, count, warned):
    rows = shares(row(probes=((0, 1.0),)), row(probes=((0, -1.0),)), of, count)
    assert len(about(report(rows).warnings(), "without any prefix")) == warned


@pytest.mark.parametrize(("of", "count", "warned"), [(4, 10, 1), (3, 10, 0), (9, 9, 0), (31, 100, 1), (30, 100, 0)])
def test_not_enough_at_the_whole_trace_is_warned_about(of, count, warned):
    rows = shares(row("full_trace", 1.0, ((10, -1.0),)), row("full_trace", 1.0, ((10, 1.0),)), of, count)
    assert len(about(report(rows).warnings(), "whole traces")) == warned


@pytest.mark.parametrize(("of", "count", "warned"), [(6, 10, 1), (5, 10, 0), (9, 9, 0), (51, 100, 1), (50, 100, 0)])
def test_a_wavering_judge_is_warned_about(of, count, warned):
    rows = shares(row(probes=((2, 1.0), (4, -1.0))), row(probes=((2, -1.0), (4, 1.0))), of, count)
    assert len(about(report(rows).warnings(), "takes an ENOUGH back")) == warned


def test_every_error_is_warned_about():
    found = report([row(), row("error", None, (), "no answer at 0 segments: gone")])
    assert about(found.warnings(), "1 rows ended in an error")
    assert report([row()]).warnings() == []


# Where it is shown


def test_json_is_one_line_that_comes_back_whole():
    found = report([row(), row("error", None, (), "caf\u00e9\nbreaks")], used([probe()], 1))
    line = found.json()
    assert "\n" not in line
    read = json.loads(line)
    assert read == found.as_dict()
    assert read.pop("lines") == [list(line) for line in found.lines()]
    assert read.pop("warnings") == found.warnings()
    assert read.pop("stage") == "truncate"
    assert Report(**read) == found


HOSTILE = [
    "a | b | c",
    "first line\n# second line\r\n| x | y |",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "`code` ``` fence ```",
    "[link](javascript:alert(1)) ![image](http://x/y.png)",
    "**bold** _it_ ~~gone~~ {x} \\| \\",
    "\x1b[31mred\x1b[0m \x00 \u2028 \x85 bell\x07",
]


@pytest.mark.parametrize("reason", HOSTILE)
def test_a_hostile_reason_stays_text(reason):
    found = report([row("error", None, (), reason)])
    lines = found.markdown().split("\n")
    (shown,) = [line for line in lines if line.startswith("- 1 rows: ")]
    bare = shown.removeprefix("- 1 rows: ")
    assert not set(re.sub(r"\\.", "", bare)) & set("|<>`[]*_{}#\\")
    flat = "".join(char if char.isprintable() else " " for char in reason)
    assert re.sub(r"\\(.)", r"\1", bare) == " ".join(flat.split())
    harmless = report([row("error", None, (), "harmless")])
    assert len(harmless.markdown().split("\n")) == len(lines)
    assert len(harmless.text().split("\n")) == len(found.text().split("\n"))
    assert all(char.isprintable() or char == "\n" for char in found.text())


def test_a_status_of_another_hand_is_escaped_too():
    found = report([row("a | <b>", None, ())])
    assert "| rows a \\| \\<b\\> | 1 |" in found.markdown()


def test_the_table_for_a_terminal_says_what_happened():
    rows = [row()] * 3 + [row("full_trace", 1.0, ((0, -1.0), (10, -1.0)), "nothing was judged sufficient")]
    text = report(rows, used([probe()] * 4, 4)).text()
    assert [line.split() for line in text.split("\n")[:3]] == [
        ["rows", "4"],
        ["rows", "sufficient", "3"],
        ["rows", "full_trace", "1"],
    ]
    assert "mean 0.250 \u00b7 p10 0.250" in text and "probes a problem" in text
    assert "reasons:\n  1 x nothing was judged sufficient" in text
    assert "error" not in text


def test_the_markdown_of_a_run_is_a_table_then_reasons_then_warnings():
    rows = [row(probes=((0, 1.0),))] * 12 + [row("error", None, (), "gone")]
    lines = report(rows, used([probe(mass=0.1)], 1)).markdown().rstrip("\n").split("\n")
    kinds = [line[:1] for line in lines if line]
    assert kinds == sorted(kinds, key="|->".index) and {"|", "-", ">"} == set(kinds)
    assert all(line.count("|") == 3 for line in lines if line.startswith("|"))


def test_prefixes_with_tags_inside_their_text_are_counted_and_warned_of():
    found = report([row(), row() | {"prefix": "We <End_of_Prefix> add."}])
    assert found.reasons == {"the prefix holds a tag of the training target itself": 1}
    assert about(found.warnings(), "1 prefixes hold `<Begin_of_Prefix>` or `<End_of_Prefix>` in their own text")
