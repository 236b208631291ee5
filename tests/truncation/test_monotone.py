"""The crossing of the isotonic fit, against the fit itself, and falls back to NOT_ENOUGH."""

from fractions import Fraction
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from palign_hf.truncation.walk import crossing, violations


whole = st.lists(st.integers(-20, 20), max_size=60)


def isotonic(margins):
    """The closest non-decreasing sequence (least squares): neighbours that fall are pooled into their mean."""
    blocks: list[list[Fraction]] = []
    for margin in margins:
        blocks.append([Fraction(margin)])
        while len(blocks) > 1 and mean(blocks[-2]) > mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    return [mean(block) for block in blocks for _ in block]


def test_the_reference_pools_neighbours_that_fall():
    assert isotonic([1, 3, 2, 4]) == [1, 2.5, 2.5, 4]
    assert isotonic([3, 2, 1]) == [2, 2, 2]


@given(whole)
def test_the_crossing_is_where_the_fit_turns_positive(margins):
    fit = isotonic(margins)
    expected = next((place for place, value in enumerate(fit) if value > 0), None)
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
