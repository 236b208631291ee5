"""Figures of a PAIRS table: counted right in any order and split, warned about when they say so, and harmless."""

import json
import random
import re
from dataclasses import dataclass

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from palign_hf.alignment.acceptance import FLAGS
from palign_hf.alignment.counts import MOST_VALUES
from palign_hf.alignment.report import AlignmentReport
from palign_hf.errors import UserError
from palign_hf.generation.sampling import SamplingUsage
from palign_hf.schema import FALLBACKS, OUTCOMES, PAIRS, SchemaError


BLANK = dict.fromkeys(PAIRS.columns) | {
    "question": "q",
    "prefix": "p",
    "continuation": "c",
    "source": "s",
    "sample": 0,
}
SAMPLE = {"mode": "prompt", "finish_reason": "stop", "flags": [], "tokens": 60, "prefix_tokens": 40}
RIGHT = BLANK | SAMPLE | {"status": "kept", "strict": True, "lenient": True}
WRONG = BLANK | SAMPLE | {"status": "rejected", "strict": False, "lenient": False, "reason": "the answer is wrong"}


def table(rows: list[dict], **more: list) -> Dataset:
    columns = {name: [row[name] for row in rows] for name in PAIRS.columns}
    pairs = Dataset.from_dict(columns, features=PAIRS.features)
    for name, values in more.items():
        pairs = pairs.add_column(name, values)
    return pairs


def report(rows: list[dict], **given) -> AlignmentReport:
    return AlignmentReport.of(table(rows), **given)


def numbered(rows: list[dict]) -> list[dict]:
    """A problem each."""
    return [row | {"id": str(at)} for at, row in enumerate(rows)]


def mixed() -> list[dict]:
    """Six problems: one right at once, one by its second sample, one by a fallback, three without any sample."""
    longer = {"fallback": "longer_prefix", "prefix_tokens": 90, "tokens": 10}
    return [
        RIGHT | {"id": "a", "trace_tokens": 100, "flags": ["leak"]},
        RIGHT | {"id": "a", "trace_tokens": 100, "sample": 1, "tokens": 20, "prefix_tokens": 60},
        WRONG | {"id": "b", "trace_tokens": 200, "flags": ["cut", "no_box"], "finish_reason": "length", "tokens": 500},
        RIGHT | {"id": "b", "trace_tokens": 200, "sample": 1, "strict": False},
        WRONG | {"id": "c", "trace_tokens": 300, "source": "t", "grading_error": "it took 5 s"},
        WRONG | longer | {"id": "c", "trace_tokens": 300, "source": "t", "sample": 1, "reason": "flagged loop"},
        RIGHT | longer | {"id": "c", "trace_tokens": 300, "source": "t", "sample": 2, "fallback": "full_trace"},
        BLANK | {"id": "d", "status": "left_out", "reason": "no gold answer", "source": None},
        BLANK | {"id": "e", "status": "skipped", "reason": "needs 120 tokens, the context holds 100", "source": "t"},
        BLANK | {"id": "f", "status": "error", "source": "t"},
    ]


# Figures


def test_rows_and_problems_are_counted_apart():
    found = report(mixed())
    assert found.statuses == {"kept": 4, "rejected": 3, "left_out": 1, "skipped": 1, "error": 1}
    assert (found.rows, found.samples, found.pairs, found.failed) == (10, 7, 4, 2)
    assert (found.problems, found.asked_problems, found.kept_problems, found.kept_problem_share) == (6, 4, 3, 0.75)
    assert found.samples_a_problem == pytest.approx(7 / 3)
    assert found.reasons == {
        "the answer is wrong": 2,
        "flagged loop": 1,
        "needs 120 tokens, the context holds 100": 1,
        "no gold answer": 1,
        "no reason given": 1,
    }


def test_what_is_right_is_a_share_of_what_was_graded():
    found = report(mixed())
    assert (found.first_right, found.problem_right) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert (found.graded, found.strict, found.lenient) == (7, pytest.approx(3 / 7), pytest.approx(4 / 7))
    assert found.only_lenient == pytest.approx(1 / 7)
    assert (found.grading_errors, found.grading_error_share) == (1, pytest.approx(1 / 7))
    assert found.finished == pytest.approx(6 / 7)
    ungraded = report(numbered([RIGHT | {"strict": None, "lenient": None}, RIGHT, WRONG]))
    assert (ungraded.graded, ungraded.strict, ungraded.first_right) == (2, 0.5, 0.5)


def test_flags_are_counted_among_all_samples_and_among_the_kept():
    found = report([*mixed(), WRONG | {"id": "x", "flags": None}, WRONG | {"id": "y", "flags": ["cut", "cut", "odd"]}])
    assert list(found.flags) == [*FLAGS, "odd"]
    assert found.flags["cut"] == {"samples": 2, "share": 0.25, "kept": 0, "kept_share": 0.0}
    assert found.flags["leak"] == {"samples": 1, "share": 0.125, "kept": 1, "kept_share": 0.25}
    assert found.flags["loop"]["samples"] == 0


def test_lengths_are_those_of_samples():
    found = report(mixed())
    told = [60, 20, 500, 60, 60, 10, 10]
    assert found.tokens == pytest.approx({"mean": np.mean(told), "p50": 60, "p95": np.quantile(told, 0.95)})
    assert found.kept_tokens == pytest.approx({"mean": 37.5, "p50": 40, "p95": 60})
    shares = [0.4, 0.75, 0.4, 0.9]
    assert found.prefix_share == pytest.approx(
        {"mean": np.mean(shares)} | {f"p{at}": np.quantile(shares, at / 100) for at in (10, 25, 50, 75, 90)}
    )


def test_fallbacks_say_how_many_went_and_what_they_gave():
    assert report(mixed()).fallbacks == {
        "longer_prefix": {"problems": 1, "pairs": 0},
        "full_trace": {"problems": 1, "pairs": 1},
    }


def test_kept_shares_are_told_by_source():
    found = report(mixed()).kept_by["source"]
    assert [one["value"] for one in found] == ["t", "s", "(none)"]
    assert found[1] == {
        "value": "s",
        "values": 1,
        "problems": 2,
        "problem_share": pytest.approx(1 / 3),
        "asked": 2,
        "kept_problems": 2,
        "kept_rate": 1.0,
        "pairs": 3,
        "pair_share": 0.75,
        "skew": pytest.approx(2.25),
    }
    assert (found[0]["kept_rate"], found[0]["skew"], found[2]["kept_rate"]) == (0.5, pytest.approx(0.5), None)


def test_kept_shares_are_told_by_quarters_of_trace_length():
    rows = [RIGHT | {"trace_tokens": at} for at in range(1, 9)] + [WRONG | {"trace_tokens": 2000}] * 2
    found = report(numbered([*rows, WRONG | {"trace_tokens": None}])).kept_by["trace_tokens"]
    assert [(one["value"], one["problems"], one["pairs"]) for one in found] == [
        ("1 to 3 tokens", 3, 3),
        ("4 to 5 tokens", 2, 2),
        ("6 to 8 tokens", 3, 3),
        ("2,000 tokens", 2, 0),
        ("not known", 1, 0),
    ]
    same = report(numbered([RIGHT | {"trace_tokens": 7}] * 5)).kept_by["trace_tokens"]
    assert [(one["value"], one["problems"]) for one in same] == [("7 tokens", 5)]
    assert report(numbered([RIGHT])).kept_by["trace_tokens"] == []


def test_kept_shares_are_told_by_any_column():
    pairs = table(numbered([RIGHT, WRONG, RIGHT]), level=[1, 2, None], topic=["x", "", "x"])
    found = AlignmentReport.of(pairs, by=["level", "topic", "source", "trace_tokens"])
    assert list(found.kept_by) == ["source", "level", "topic", "trace_tokens"]
    assert [(one["value"], one["pairs"]) for one in found.kept_by["level"]] == [("(none)", 1), ("1", 1), ("2", 0)]
    assert [(one["value"], one["pairs"]) for one in found.kept_by["topic"]] == [("x", 2), ("(empty)", 0)]
    assert AlignmentReport.of(pairs, by="level").kept_by["level"] == found.kept_by["level"]


def test_values_beyond_the_most_are_counted_together():
    sources = [f"s{at % (MOST_VALUES + 5):02}" for at in range(2 * MOST_VALUES + 5)]
    found = report(numbered([RIGHT | {"source": source} for source in sources])).kept_by["source"]
    assert len(found) == MOST_VALUES + 1
    assert (found[-1]["value"], found[-1]["values"], found[-1]["problems"]) == ("5 others", 5, 5)
    assert [one["value"] for one in found[:-1]] == [f"s{at:02}" for at in range(MOST_VALUES)]


@pytest.mark.parametrize("by", [["levle"], "levle"])
def test_a_column_that_is_not_there_is_named_with_the_nearest(by):
    pairs = table(numbered([RIGHT]), level=[1])
    with pytest.raises(UserError, match=r"`by=levle`: the pairs have no such column \(nearest match: `level`\)"):
        AlignmentReport.of(pairs, by=by)
    with pytest.raises(UserError, match="`by=flags`: its rows hold lists"):
        AlignmentReport.of(pairs, by=["flags"])


def test_a_table_that_holds_no_pairs_is_refused():
    with pytest.raises(SchemaError, match="`status`"):
        AlignmentReport.of(table([RIGHT | {"id": "a"}]).remove_columns("status"))
    with pytest.raises(SchemaError, match="`status` of PAIRS is null"):
        report([RIGHT | {"id": "a", "status": None}])


@pytest.mark.parametrize("pairs", [table([]), {}, table([BLANK | {"id": "a", "status": "left_out"}])])
def test_nothing_drawn_gives_nothing_measured(pairs):
    found = AlignmentReport.of(pairs)
    assert (found.kept_problem_share, found.samples_a_problem, found.strict, found.finished) == (None,) * 4
    assert (found.tokens, found.prefix_share, found.first_right, found.flags["cut"]["share"]) == (None,) * 4
    assert found.warnings() == [] and found.text() and found.page()
    assert sum(found.statuses.values()) == found.rows == len(pairs)


def test_splits_orders_and_formats_do_not_matter(tmp_path):
    rows = mixed()
    whole = AlignmentReport.of(table(rows, level=list(range(10))), by=["source"])
    kept, others = [row for row in rows if row["status"] == "kept"], [row for row in rows if row["status"] != "kept"]
    parted = DatasetDict({"train": table(kept), "rejected": table(others)})
    assert AlignmentReport.of(parted) == whole
    assert AlignmentReport.of(parted["rejected"]).statuses["rejected"] == 3
    random.Random(0).shuffle(rows)
    shuffled = table(rows)
    assert AlignmentReport.of(shuffled) == AlignmentReport.of(shuffled.with_format("numpy")) == whole
    assert AlignmentReport.of(shuffled.shuffle(seed=1)) == whole
    shuffled.to_parquet(tmp_path / "pairs.parquet")
    loaded = Dataset.from_parquet(str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "cache"))
    assert AlignmentReport.of(loaded) == whole


ROWS = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcdefgh"),
        "status": st.sampled_from(OUTCOMES),
        "reason": st.none() | st.text(max_size=5),
        "sample": st.integers(0, 3),
        "source": st.none() | st.text(max_size=2),
        "fallback": st.none() | st.sampled_from(FALLBACKS),
        "finish_reason": st.sampled_from([None, "stop", "length"]),
        "strict": st.none() | st.booleans(),
        "lenient": st.none() | st.booleans(),
        "grading_error": st.none() | st.just("boom"),
        "flags": st.none() | st.lists(st.sampled_from(FLAGS), max_size=3),
        "tokens": st.none() | st.integers(0, 9),
        "prefix_tokens": st.none() | st.integers(0, 9),
        "trace_tokens": st.none() | st.integers(0, 9),
    }
)


@settings(max_examples=60)
@given(st.lists(ROWS, max_size=30))
def test_counts_add_up_and_shares_are_shares(rows):
    found = report([BLANK | row for row in rows])
    assert sum(found.statuses.values()) == found.rows == len(rows)
    assert sum(found.reasons.values()) == found.rows - found.pairs
    assert found.kept_problems <= found.asked_problems <= found.problems == len({row["id"] for row in rows})
    assert found.samples == found.statuses["kept"] + found.statuses["rejected"]
    for values in found.kept_by.values():
        assert not values or sum(one["problems"] for one in values) == found.problems
        assert not values or sum(one["pairs"] for one in values) == found.pairs
        assert not found.pairs or not values or sum(one["pair_share"] for one in values) == pytest.approx(1)
    shares = [found.kept_problem_share, found.first_right, found.problem_right, found.strict, found.lenient]
    shares += [found.only_lenient, found.grading_error_share, found.finished, *(found.prefix_share or {}).values()]
    shares += [one[name] for one in found.flags.values() for name in ("share", "kept_share")]
    every = [one for values in found.kept_by.values() for one in values]
    shares += [one[name] for one in every for name in ("problem_share", "kept_rate", "pair_share")]
    assert all(share is None or 0 <= share <= 1 for share in shares)
    read = json.loads(found.json())
    assert read.pop("lines") == [list(line) for line in found.lines()]
    assert read.pop("stage") == "align" and read.pop("warnings") == found.warnings()
    assert AlignmentReport(**read) == found


# Costs


@dataclass
class Sample:
    tokens: int
    fresh: bool
    error: str | None = None
    prompt_tokens: int = 100
    cached_tokens: int = 60


def used() -> SamplingUsage:
    usage = SamplingUsage()
    usage.add(Sample(3, fresh=True))
    usage.add(Sample(2, fresh=False))
    usage.add(Sample(0, fresh=False, error="no answer"))
    return usage


def test_costs_come_from_the_run():
    found = report(mixed(), usage=used())
    assert (found.asked, found.asked_tokens, found.generated_tokens) == (1, 3, 5)
    assert (found.computed_tokens, found.cached_tokens, found.cached_share) == (80, 120, 0.6)
    assert ("samples drawn in this run", "1") in found.lines() and ("cached share", "60.0%") in found.lines()


@pytest.mark.parametrize("usage", [None, SamplingUsage()])
def test_a_report_without_a_run_has_no_costs(usage):
    found = report(mixed(), usage=usage)
    assert (found.asked, found.computed_tokens, found.cached_share) == (None,) * 3
    assert not any("run" in name or "prompt tokens" in name for name, _ in found.lines())


def test_usage_adds_up():
    assert used() + used() - used() == used() == SamplingUsage(2, 1, 200, 120, 5, 3)


# Warnings: each beyond its threshold, and none from a few problems


def said(rows: list[dict], word: str) -> int:
    warned = report(numbered(rows)).warnings()
    assert all(re.search(r"\. [A-Z].*\.$", line) for line in warned)  # what is wrong, then what to do
    return len([line for line in warned if word in line])


@pytest.mark.parametrize(("kept", "of", "warned"), [(0, 10, 1), (1, 10, 0), (0, 9, 0), (9, 100, 1), (10, 100, 0)])
def test_few_kept_problems_are_warned_about(kept, of, warned):
    assert said([RIGHT] * kept + [WRONG] * (of - kept), "have a kept pair") == warned
    unasked = [BLANK | {"status": "left_out"}] * 50
    assert said([RIGHT] * kept + [WRONG] * (of - kept) + unasked, "have a kept pair") == warned


@pytest.mark.parametrize(
    ("changes", "limit", "word"),
    [
        ({"flags": ["cut"]}, 30, "`max_tokens`"),
        ({"flags": ["loop"]}, 20, "repeat themselves"),
        ({"flags": ["no_box"]}, 30, "doesn't box"),
        ({"flags": ["leak"]}, 20, "gives the answer away"),
        ({"flags": ["restart"]}, 30, '`mode="prefill"`'),
        ({"strict": False, "lenient": True}, 10, "only leniently"),
        ({"grading_error": "gone"}, 5, "could not be graded"),
    ],
)
def test_what_is_too_often_wrong_is_warned_about(changes, limit, word):
    assert said([WRONG | changes] * (limit + 1) + [RIGHT] * (99 - limit), word) == 1
    assert said([WRONG | changes] * limit + [RIGHT] * (100 - limit), word) == 0
    assert said([WRONG | changes] * 9, word) == 0


def test_a_student_that_restarts_although_prefilled_is_not_told_to_be_prefilled():
    rows = [RIGHT | {"flags": ["restart"], "mode": "prefill"}] * 10
    assert said(rows, '`mode="prefill"`') == 0 and said(rows, "solve from the start although") == 1


def test_a_lopsided_selection_is_warned_about():
    easy, hard = RIGHT | {"source": "easy"}, WRONG | {"source": "hard"}
    rows = [easy] * 10 + [hard] * 10
    assert said(rows, "Some values of `source` have") == said(rows, "`easy` (2.00), `hard` (0.00)") == 1
    assert said(rows, "`balance.per=source`") == 1
    assert said([easy] * 10 + [hard] * 9, "`hard`") == 0  # nine say nothing
    assert said([easy] * 20 + [hard] * 10, "`easy`") == 0  # 1.5 is not above 1.5
    assert said([RIGHT] * 30, "skew") == 0


def test_lengths_are_not_to_be_balanced_by_their_single_values():
    rows = [RIGHT | {"trace_tokens": 10}] * 20 + [WRONG | {"trace_tokens": 900}] * 20
    assert said(rows, "Some values of `trace_tokens`") == said(rows, "`900 tokens` (0.00)") == 1
    assert said(rows, "balance.per") == 0


def test_failed_rows_are_always_told():
    assert said([RIGHT, BLANK | {"status": "error"}, BLANK | {"status": "skipped"}], "2 rows were skipped or") == 1


# Where it is shown


HOSTILE = [
    "a | b | c",
    "first line\n# second line\r\n| x | y |",
    "<script>alert(1)</script>",
    "`code` ``` fence ```",
    "**bold** [link](javascript:alert(1)) \\| \\",
    "\x1b[31mred\x1b[0m \x00 \u2028 bell\x07",
    "x" * 500,
]


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_stay_text_wherever_they_are_shown(value):
    def told(source: str) -> AlignmentReport:
        kept = {"source": source, "mode": source, "flags": [source], "fallback": source}
        rows = numbered([RIGHT | kept] * 10 + [WRONG | {"source": "other", "reason": source}] * 10)
        column = source.replace("\0", "")  # no table can have it in a name
        return AlignmentReport.of(table(rows).add_column(column, ["v"] * 10 + ["w"] * 10), by=[column])

    found, harmless = told(value), told("harmless")
    assert len(found.text().split("\n")) == len(harmless.text().split("\n"))
    assert all(char.isprintable() or char == "\n" for char in found.text() + found.page())
    lines, expected = found.page().split("\n"), harmless.page().split("\n")
    assert [line[:2] for line in lines] == [line[:2] for line in expected]
    for line, like in zip(lines, expected, strict=True):
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == like.count("|")
        bare = re.sub(r"\\.", "", re.sub(r"`[^`]*`", "", line))
        assert "<" not in bare and "](" not in bare and "**bold**" not in bare
    assert max(map(len, lines)) < 900


def test_the_page_says_what_was_run_and_what_was_kept():
    about = {"student_name": "toy/a_b", "mode": "prefill", "input": {"source": "me/prefixes"}, "fingerprint": "f"}
    page = report(mixed(), settings=about).page()
    assert page.startswith(
        "# 4 pairs out of 6 problems, continued by toy/a\\_b\n\n| run | |\n|---|---|\n| student | toy/a\\_b |\n"
        "| mode | prefill |\n| prefixes | me/prefixes |\n| result | f |\n\n| measured | value |\n"
    )
    assert "| problems with a kept pair | 3 (75.0% of those asked) |\n" in page
    assert "| flag leak | 1 (14.3%) · of the kept 1 (25.0%) |\n" in page
    assert "| fell back to full\\_trace | 1 problems, 1 pairs |\n" in page
    assert (
        "\n## Kept by source\n\n| source | problems | share of problems | asked | with a kept pair | kept rate | "
        "share of pairs | skew |\n|---|---|---|---|---|---|---|---|\n"
        "| t | 3 | 50.0% | 2 | 1 | 50.0% | 25.0% | 0.50 |\n"
        "| s | 2 | 33.3% | 2 | 2 | 100.0% | 75.0% | 2.25 |\n| (none) | 1 | 16.7% | 0 | 0 | - | 0.0% | 0.00 |\n"
    ) in page
    assert "\n## Kept by trace\\_tokens\n" in page and page.index("## Kept by") < page.index("## Terms")
    words = page.split("## Terms")[1]
    assert all(f"**{word}**" in words or f"{word}," in words for word in (*OUTCOMES, *FLAGS) if word != "error")


def test_the_text_for_a_terminal_says_what_happened():
    text = report(mixed()).text()
    assert text.startswith("  rows   ") and "reasons:\n  2 x the answer is wrong\n" in text
    assert "continuation tokens, kept" in text and "mean 38 · p50 40 · p95 60" in text
    assert "warning: 2 rows were skipped or ended in an error" in text
