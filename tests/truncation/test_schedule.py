"""The schedule of jumps: always upwards, cheaper than any even stride, from a prior that is a distribution."""

import json
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.truncation.schedule import GRID, Prior, jumps, next_cut


def test_the_default_prior_has_the_quantiles_of_the_released_rows():
    below = dict(Prior().knots)
    assert (below[0.115], below[0.254], below[0.564]) == (0.1, 0.5, 0.9)
    assert Prior().never == 0.03


@pytest.mark.parametrize(
    "knots",
    [
        ((0, 0),),
        ((0, 0), (0.5, 1)),
        ((0, 0.1), (1, 1)),
        ((0, 0), (0.5, 0.6), (0.4, 0.7), (1, 1)),
        ((0, 0), (0.4, 0.7), (0.5, 0.6), (1, 1)),
        ((0, 0), (0.5, float("nan")), (1, 1)),
        ((0, 0), (0.5, 0.5, 0.5), (1, 1)),
        ((0, 0), (0.5, True), (1, 1)),
        "ab",
        5,
    ],
)
def test_knots_that_are_no_distribution_are_refused(knots):
    with pytest.raises(ValueError, match="is no CDF"):
        Prior(knots)


@pytest.mark.parametrize("never", [-0.1, 1, float("nan"), True, "0.1", None, 10**400])
def test_a_share_of_problems_is_below_one(never):
    with pytest.raises(ValueError, match="must be a share of problems"):
        Prior(never=never)


def test_a_prior_is_a_value_that_json_keeps():
    prior = Prior.from_ratios([0.1, 0.2, 0.9], never=1)
    assert Prior(**json.loads(json.dumps(prior.describe()))) == prior
    assert len({prior, Prior.from_ratios([0.9, 0.2, 0.1], never=1)}) == 1


def test_a_large_pilot_is_followed_and_a_small_one_is_smoothed():
    ratios = np.random.default_rng(0).beta(6, 2, 5000).tolist()
    followed = Prior.from_ratios(ratios, never=1000)
    for share, below in followed.knots:
        assert below == pytest.approx(np.mean([ratio <= share for ratio in ratios]), abs=0.01)
    assert followed.never == pytest.approx(1 / 6, abs=0.01)
    smoothed = Prior.from_ratios([0.9], never=0)
    assert all(a[1] < b[1] for a, b in pairwise(smoothed.knots))
    assert 0 < smoothed.never < 0.03


def test_problems_that_need_no_prefix_leave_the_prior_as_it_is():
    assert Prior.from_ratios([0.0] * 50 + [0.3], never=2) == Prior.from_ratios([0.3], never=2)


def test_a_pilot_of_something_else_is_refused():
    with pytest.raises(ValueError, match="`1.2` is no share of a trace"):
        Prior.from_ratios([0.2, 1.2], never=0)
    with pytest.raises(ValueError, match="`nan` is no share of a trace"):
        Prior.from_ratios([float("nan")], never=0)
    with pytest.raises(ValueError, match="give a count"):
        Prior.from_ratios([0.2], never=-1)


priors = st.builds(Prior.from_ratios, st.lists(st.floats(0, 1), max_size=30), st.integers(0, 30))


@given(
    st.integers(0, 10**6),
    st.integers(0, 10**8),
    st.floats(0, exclude_min=True, allow_infinity=False),
    priors,
    st.floats(0, allow_infinity=False),
)
def test_every_jump_goes_up_and_stays_on_the_grid(segments, tokens, probe_cost, prior, settle):
    schedule = jumps(segments, tokens, probe_cost, prior, settle)
    assert len(schedule) == GRID + 1 and schedule[GRID] == GRID
    assert all(place < jump <= GRID for place, jump in enumerate(schedule[:-1]))


@given(st.lists(st.integers(0, 200), min_size=1, max_size=400), priors, st.data())
def test_the_next_cut_is_above_the_frontier_and_within_the_limit(sizes, prior, data):
    tokens = [0, *accumulate(sizes)]
    limit = data.draw(st.integers(1, len(sizes)))
    frontier = data.draw(st.integers(0, limit - 1))
    schedule = jumps(len(sizes), tokens[-1], 32, prior)
    assert frontier < next_cut(schedule, tokens, frontier, limit) <= limit


def test_beyond_the_prior_every_place_is_as_likely_as_another():
    certain = Prior(((0, 0), (0.3, 1), (1, 1)), never=0)
    uniform = Prior(((0, 0), (1, 1)), never=0)
    above = slice(GRID // 2, None)
    assert jumps(200, 8000, 32, certain)[above] == jumps(200, 8000, 32, uniform)[above]


def climb(schedule) -> list[int]:
    """The places shown to a judge that never says ENOUGH."""
    places = [0]
    while places[-1] < GRID:
        places.append(schedule[places[-1]])
    return places


def expected_cost(places: list[int], segments: int, tokens: int, probe_cost: float, settle: float) -> float:
    """Tokens a climb costs on average, by plain summation over where the answer lies."""
    prior = Prior()
    shares, below = zip(*prior.knots, strict=True)
    mass = np.interp(np.array(places) / GRID, shares, below) * (1 - prior.never)
    cost = prior.never * (tokens + probe_cost * (len(places) - 1))
    for probes, ((low, high), (start, end)) in enumerate(zip(pairwise(places), pairwise(mass), strict=True), start=1):
        gap = max(1.0, (high - low) * segments / GRID)
        depth = np.floor(np.log2(gap)) + 2 * (1 - 2 ** np.floor(np.log2(gap)) / gap)
        cost += (end - start) * (high / GRID * tokens + probe_cost * (probes + depth + settle / gap))
    return cost


@pytest.mark.parametrize("settle", [0.0, 2.5])
@pytest.mark.parametrize(("segments", "tokens"), [(192, 8192), (40, 512)])
@pytest.mark.parametrize("probe_cost", [8, 32, 128])
def test_no_even_stride_is_cheaper(probe_cost, segments, tokens, settle):
    # Sizes that survive rounding, so that the schedule is solved for exactly these.
    places = climb(jumps(segments, tokens, probe_cost, Prior(), settle))
    best = expected_cost(places, segments, tokens, probe_cost, settle)
    for stride in range(2, GRID + 1):
        even = [*range(0, GRID, stride), GRID]
        assert best <= expected_cost(even, segments, tokens, probe_cost, settle) + 1e-6


def test_an_answer_that_takes_settling_makes_longer_jumps_where_they_are_short():
    counts = [len(climb(jumps(40, 384, 32, Prior(), settle))) for settle in (0.0, 2.5, 10.0)]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]


def test_dearer_probes_make_longer_jumps():
    counts = [len(climb(jumps(200, 8000, probe_cost, Prior()))) for probe_cost in (4, 32, 256, 2048)]
    assert counts == sorted(counts, reverse=True) and counts[0] > 3 * counts[-1]


def test_sizes_near_each_other_share_a_schedule():
    assert jumps(201, 7500, 32, Prior()) is jumps(215, 8100, 32, Prior())
