"""The isotonic fit and its crossing, by their properties."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.truncation.monotone import crossing, isotonic, violations


finite = st.lists(st.floats(-1e6, 1e6), max_size=60)
whole = st.lists(st.integers(-20, 20), max_size=60)


@given(finite)
def test_the_fit_never_falls_keeps_the_mean_and_is_its_own_fit(margins):
    fit = isotonic(margins)
    assert len(fit) == len(margins)
    assert all(a <= b for a, b in pairwise(fit))
    assert math.fsum(fit) == pytest.approx(math.fsum(margins), abs=1e-6 * max(1, len(margins)))
    assert isotonic(fit) == fit


@given(finite)
def test_what_rises_already_is_its_own_fit(margins):
    assert isotonic(sorted(margins)) == sorted(margins)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=6))
def test_no_rising_sequence_of_its_block_means_is_closer(margins):
    def distance(fit):
        return sum((a - b) ** 2 for a, b in zip(fit, margins, strict=True))

    # The optimum is a rising sequence of block means, so every division into blocks is tried.
    best = math.inf
    for mask in range(1 << (len(margins) - 1)):
        blocks, start = [], 0
        for place in range(1, len(margins) + 1):
            if place == len(margins) or mask >> (place - 1) & 1:
                blocks += [sum(margins[start:place]) / (place - start)] * (place - start)
                start = place
        if blocks == sorted(blocks):
            best = min(best, distance(blocks))
    assert distance(isotonic(margins)) == pytest.approx(best)


def test_neighbours_that_fall_are_pooled():
    assert isotonic([1, 3, 2, 4]) == [1, 2.5, 2.5, 4]
    assert isotonic([3, 2, 1]) == [2, 2, 2]
    assert isotonic([]) == []


@pytest.mark.parametrize("margin", [math.nan, math.inf])
def test_a_margin_without_a_mean_is_refused(margin):
    with pytest.raises(ValueError, match="has no mean"):
        isotonic([0.0, margin])


@given(whole)
def test_the_crossing_is_where_the_fit_turns_positive(margins):
    fit = isotonic(margins)
    expected = next((place for place, value in enumerate(fit) if value > 1e-9), None)
    start, evidence = crossing(margins)
    assert start == expected
    if start is None:
        assert evidence == 0
    else:
        assert margins[start] > 0
        assert evidence == sum(margins[start:])


def test_a_fit_of_exactly_zero_is_no_crossing():
    assert crossing([1, -1]) == (None, 0)
    assert crossing([1, -1, 2]) == (2, 2)


def test_violations_count_falls_back_to_not_enough_in_the_order_of_cuts():
    assert violations([]) == 0
    assert violations([(0, -1.0), (5, 1.0), (9, 2.0)]) == 0
    assert violations([(9, 2.0), (0, -1.0), (5, 1.0), (7, -0.5)]) == 1
    assert violations([(0, 1.0), (1, 0.0), (2, 1.0), (3, -1.0)]) == 2
