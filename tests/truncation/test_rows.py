"""What a status means: from how a search ended to its row."""

import asyncio
import re

import numpy
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from palign_hf.schema import PREFIXES, STATUSES
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, Case, Probe
from palign_hf.truncation.rows import Searcher, TruncationRow, prefix_columns
from palign_hf.truncation.search import Ascend, Fixed, Found, Full, LoopSearch, Nothing, make_search
from palign_hf.truncation.walk import CheckedWalk, SearchMistake


TRACE = "One. Two. Three. Four. "
ENDS, TOKENS = [0, 5, 10, 17, 23], [0, 2, 4, 6, 8]
MADE_HERE = set(PREFIXES.columns) - {"id", "question", "trace", "answer", "source"}


def outcome(found: Found | None = None, error: str | None = None, reach: int = 4, **case) -> TruncationRow:
    given = {"name": "one", "ends": ENDS, "tokens": TOKENS, "shortest": 90, "head_tokens": 70, "suffix_tokens": 10}
    made = Case(**given | {"reach": reach, "prompt": None} | case)
    probes = [Probe(0, NOT_ENOUGH, -1.5, 0.9, True, 80, 0), Probe(2, ENOUGH, 0.5, 0.9, True, 84, 64)]
    return TruncationRow(
        {"trace": TRACE}, b"one", made, found=found, error=error, probes=probes if found or error else []
    )


def skipped(reason: str) -> dict:
    return prefix_columns(TruncationRow({"trace": ""}, b"", None, skipped=reason), Ascend(), max_model_len=100)


def row(of: TruncationRow, search=None) -> dict:
    made = prefix_columns(of, search or Ascend(), max_model_len=100)
    assert set(made) == MADE_HERE and made["status"] in STATUSES
    assert made["prefix"] == TRACE[: made["prefix_end"]]
    return made


NO_FINDING = {"prefix": "", "prefix_end": 0, "prefix_segments": None, "prefix_ratio": None, "prefix_tokens": None}


@pytest.mark.parametrize(
    ("found", "status", "reason"),
    [
        (Found(0, True), "sufficient", None),
        (Found(2, True), "sufficient", None),
        (Found(4, True), "full_trace", "only the whole trace was judged sufficient"),
        (Found(4, False), "full_trace", "nothing was judged sufficient, not even the whole trace"),
    ],
)
def test_a_judged_search(found, status, reason):
    made = row(outcome(found))
    assert (made["status"], made["reason"]) == (status, reason)
    assert (made["prefix_segments"], made["prefix_end"]) == (found.segments, ENDS[found.segments])
    assert (made["prefix_tokens"], made["prefix_ratio"]) == (TOKENS[found.segments], TOKENS[found.segments] / 8)
    assert (made["n_segments"], made["trace_tokens"]) == (4, 8)


@pytest.mark.parametrize(
    ("search", "segments", "status"),
    [
        (Fixed(ratio=0.5), 2, "fixed"),
        (Fixed(ratio=1.0), 4, "fixed"),
        (Nothing(), 0, "fixed"),
        (Full(), 4, "full_trace"),
    ],
)
def test_a_rule(search, segments, status):
    made = row(outcome(Found(segments, False)), search)
    assert (made["status"], made["reason"]) == (status, f"search `{search.name}` asks no judge")
    assert made["prefix_segments"] == segments


def test_a_rule_is_no_context_overflow():
    assert row(outcome(Found(4, False), reach=1), Full())["status"] == "full_trace"


def test_probes_are_kept_in_the_order_of_asking():
    assert row(outcome(Found(2, True)))["probes"] == [
        {"segments": 0, "margin": -1.5, "verdict": NOT_ENOUGH},
        {"segments": 2, "margin": 0.5, "verdict": ENOUGH},
    ]


def test_an_error_keeps_its_probes_and_shows_no_prefix():
    made = row(outcome(error="no answer at 3 segments: gone"))
    assert made["status"] == "error" and made["reason"] == "no answer at 3 segments: gone"
    assert {name: made[name] for name in NO_FINDING} == NO_FINDING
    assert len(made["probes"]) == 2 and made["n_segments"] == 4


def test_what_does_not_fit_at_all_is_skipped():
    made = row(outcome(reach=-1, shortest=120))
    assert made["status"] == "skipped" and re.findall(r"\d+", made["reason"]) == ["120", "100"]
    assert {name: made[name] for name in NO_FINDING} == NO_FINDING
    assert (made["n_segments"], made["trace_tokens"], made["probes"]) == (4, 8, [])


def test_a_refused_text_is_skipped_with_its_reason():
    assert row(outcome(reach=-1, refused="</s> in the text"))["reason"] == "</s> in the text"


def test_nothing_sufficient_in_the_part_that_fits_is_skipped():
    made = row(outcome(Found(4, False), reach=2))
    assert made["status"] == "skipped" and re.findall(r"\d+", made["reason"]) == ["2", "4", "8", "100"]
    assert {name: made[name] for name in NO_FINDING} == NO_FINDING


def test_a_finding_in_the_part_that_fits_is_a_finding():
    assert row(outcome(Found(2, True), reach=2))["status"] == "sufficient"


def test_a_trace_without_tokens_has_a_ratio_all_the_same():
    made = row(outcome(Found(2, True), tokens=[0] * 5))
    assert (made["prefix_ratio"], made["prefix_tokens"]) == (0.0, 0)


def test_a_row_that_no_search_can_start_with():
    made = skipped("the trace is empty")
    assert set(made) == MADE_HERE
    assert (made["status"], made["reason"]) == ("skipped", "the trace is empty")
    assert {name: made[name] for name in NO_FINDING} == NO_FINDING
    assert (made["n_segments"], made["trace_tokens"], made["probes"]) == (None, None, [])


def test_rows_share_nothing_that_can_be_changed():
    first = skipped("one")
    first["probes"].append("mine")
    assert skipped("two")["probes"] == []


@pytest.mark.parametrize(
    ("margin", "verdict", "reason"),
    [
        ("1.5", ENOUGH, "the margin at 4 segments is no number but '1.5'"),
        ([1.5], ENOUGH, "the margin at 4 segments is no number but [1.5]"),
        (float("nan"), ENOUGH, "the margin at 4 segments is not a number (both labels impossible, or an overflow)"),
        (None, ENOUGH, "the answer at 4 segments is `enough` without a margin"),
        (None, UNPARSABLE, "no verdict in the judge's text at 4 segments"),
    ],
)
def test_a_margin_that_is_none_is_an_error_of_its_row(margin, verdict, reason):
    async def ask(case: Case, cut: int) -> Probe:
        return Probe(cut, verdict, margin, None, None, 10, 0)

    one = asyncio.run(Searcher(make_search("binary"), ask)(outcome(reach=4)))
    assert re.sub(r"at \d+ segments", "at 4 segments", one.error) == reason and row(one)["status"] == "error"


def test_a_margin_of_another_library_is_a_number():
    async def ask(case: Case, cut: int) -> Probe:
        return Probe(cut, ENOUGH, numpy.float32(1.5), None, None, 10, 0)

    one = asyncio.run(Searcher(make_search("linear"), ask)(outcome()))
    assert one.error is None and [type(probe.margin) for probe in one.probes] == [float]


async def enough(case: Case, cut: int) -> Probe:
    return Probe(cut, ENOUGH, 1.5, None, None, 10, 0)


class Scripted(LoopSearch):
    """Asks the given cuts and ends with the given result, or with an exception."""

    name = "scripted"

    def __init__(self, cuts, result):
        self.cuts, self.result = cuts, result

    def steps(self, tokens, limit):
        for cut in self.cuts:  # noqa: UP028 - a list can't be sent margins
            yield cut
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class ReturnsAtOnce(LoopSearch):
    name = "at-once"

    def steps(self, tokens, limit):
        return Found(0, True)


class AsksForEver(LoopSearch):
    name = "for-ever"

    def steps(self, tokens, limit):
        at = 0
        while True:
            yield at % 2
            at += 1


CUTS, ENDS_WITH = (
    "a cut is a whole number from 0 to 3, the `limit`",
    "it must return `Found(segments, sufficient)` with ",
)
ENDS_WITH += "a whole number of segments from 0 to 4"


@pytest.mark.parametrize(
    ("search", "reason"),
    [
        (Scripted([4], Found(0, True)), f"the search `scripted` asked cut 4; {CUTS}"),
        (Scripted([0, -1], Found(0, True)), f"the search `scripted` asked cut -1; {CUTS}"),
        (Scripted([1.0], Found(0, True)), f"the search `scripted` asked cut 1.0; {CUTS}"),
        (Scripted([True], Found(0, True)), f"the search `scripted` asked cut True; {CUTS}"),
        (Scripted([2], None), f"the search `scripted` returned None; {ENDS_WITH}"),
        (Scripted([2], 2), f"the search `scripted` returned 2; {ENDS_WITH}"),
        (
            Scripted([], Found(5, True)),
            f"the search `scripted` returned Found(segments=5, sufficient=True); {ENDS_WITH}",
        ),
        (
            Scripted([], Found(-1, False)),
            f"the search `scripted` returned Found(segments=-1, sufficient=False); {ENDS_WITH}",
        ),
        (Scripted([1, None], None), "the search `scripted` raised TypeError: `steps` yielded None, which is no cut"),
        (Scripted([1], KeyError("x")), "the search `scripted` raised KeyError: 'x'"),
        (Scripted([], StopIteration()), "the search `scripted` raised RuntimeError: generator raised StopIteration"),
        (
            ReturnsAtOnce(),
            "the search `at-once` raised TypeError: `steps` returned `Found(segments=0, sufficient=True)`, and must "
            "be a generator: it yields cuts, and returns a `Found`",
        ),
        (
            AsksForEver(),
            "the search `for-ever` asked 101 times for what it had asked before, the last time cut 0; it must return "
            "a `Found` once it learns nothing more",
        ),
    ],
)
def test_a_mistake_of_a_search_is_an_error_of_its_row(search, reason):
    one = asyncio.run(Searcher(search, enough)(outcome(reach=3)))
    assert one.error == reason
    assert row(one, search)["status"] == "error" and row(one, search)["prefix"] == ""


def test_a_cut_that_is_asked_again_is_judged_once():
    search = Scripted([3, 2, 3, 3, 2], Found(numpy.int64(2), True))
    one = asyncio.run(Searcher(search, enough)(outcome()))
    assert one.error is None and [probe.segments for probe in one.probes] == [3, 2] and one.found == Found(2, True)
    assert type(one.found.segments) is int


ANYTHING = st.integers(-2, 8) | st.none() | st.floats(-1, 8) | st.booleans() | st.text(max_size=3)


@given(
    cuts=st.lists(ANYTHING, max_size=8),
    result=st.builds(Found, ANYTHING, ANYTHING) | ANYTHING | st.sampled_from([ValueError("a\nb"), OSError(5)]),
    limit=st.integers(0, 4),
)
@example(cuts=[0, 0], result=Found(4, True), limit=0)
def test_any_search_ends_within_the_trace_or_in_one_line_that_names_it(cuts, result, limit):
    asked = []
    try:
        walk = CheckedWalk(Scripted(cuts, result), TOKENS, limit)
        while (cut := walk.next()) is not None:
            asked.append(cut)
            walk.tell(cut, 1.0)
        found = walk.result()
        assert type(found.segments) is int and 0 <= found.segments <= 4
    except SearchMistake as mistake:
        assert str(mistake).startswith("the search `scripted` ") and "\n" not in str(mistake)
    assert len({*asked}) == len(asked) and all(type(cut) is int and 0 <= cut <= limit for cut in asked)
