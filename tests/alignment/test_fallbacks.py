"""Longer beginnings come from the row's own probes and end at its own cut points, whatever it was cut by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.alignment.sampler import full_end, longer_ends
from palign_hf.segmentation import GRANULARITIES, cuts


TRACE = (
    "First we add. Then we see 3.5 apples.\n\nSo it is four. Let me check. Yes. It is four, e.g. by counting.\n\nDone."
)


def row(found: int, probed: list[int], granularity: str = "sentence", trace: str = TRACE, **changes) -> dict:
    ends = [0, *cuts(trace, granularity)]
    probes = [{"segments": cut, "margin": 1.0, "verdict": "[ENOUGH]"} for cut in probed]
    made = {"trace": trace, "status": "sufficient", "prefix_segments": found, "n_segments": len(ends) - 1}
    return made | {"prefix_end": ends[found], "prefix": trace[: ends[found]], "probes": probes} | changes


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_next_probed_cuts_up_are_found_for_every_granularity(granularity):
    ends = [0, *cuts(TRACE, granularity)]
    last = len(ends) - 1
    assert longer_ends(row(1, [0, 1, last], granularity), 2) == [ends[last]]
    assert longer_ends(row(0, [0, 1, last], granularity), 1) == [ends[1]]


@given(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=6), st.integers(1, 4))
def test_they_are_longer_than_the_prefix_ascending_probed_and_no_more_than_wanted(found, probed, most):
    ends = [0, *cuts(TRACE)]
    tried = longer_ends(row(found, probed), most)
    assert tried == sorted({ends[cut] for cut in probed if cut > found})[:most]


def test_nothing_is_guessed_where_the_row_does_not_say_how_it_was_cut():
    assert longer_ends(row(2, [3], n_segments=None, prefix_segments=None), 2) == []
    assert longer_ends(row(2, [3]) | {"prefix_end": 3}, 2) == []  # no granularity cuts there
    assert longer_ends(row(2, [], probes=None), 2) == []


def test_the_whole_trace_is_one_only_where_it_is_known_and_longer():
    assert full_end(row(2, [])) == [len(TRACE)]
    assert full_end(row(len(cuts(TRACE)), [])) == []
    assert full_end(row(2, [], status="published")) == []
