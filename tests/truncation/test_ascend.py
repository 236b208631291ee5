"""The default search: what it asks, what it pays for it, and what it takes for an answer."""

import math
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import HEAD, SUFFIX, computed, evenly, explore, problems, wavering

from palign_hf.truncation.search import Ascend, Found, make_search
from palign_hf.truncation.walk import crossing


@given(problem=problems(), confirm=st.integers(1, 4))
def test_looks_below_its_frontier_a_logarithmic_number_of_times(problem, confirm):
    tokens, limit, margins = problem
    asked, _ = explore(Ascend(confirm=confirm), tokens, margins.__getitem__, limit)
    below = sum(cut < max(asked[:place]) for place, cut in enumerate(asked) if place)
    assert below <= 3 * (len(tokens) - 1).bit_length() + 2 + confirm


def test_a_long_climb_begins_at_cut_zero_and_shows_little_more_than_the_answer():
    asked, found = explore(Ascend(), evenly(200), lambda cut: cut - 59.5)
    assert asked[0] == 0 and found == Found(60, True)
    assert max(asked) <= 75


def test_a_short_climb_asks_cut_zero_once_something_is_enough_and_nothing_below_it_was_asked():
    short = evenly(40, size=9)
    first = explore(Ascend(), short, lambda cut: -1.0)[0]
    assert 0 not in first and first[-1] == 40
    assert explore(Ascend(), short, lambda cut: 1.0) == ([first[0], 0], Found(0, True))
    asked, found = explore(Ascend(), short, lambda cut: cut - 1.5)
    assert asked[:2] == [first[0], 0] and found == Found(2, True)
    asked, found = explore(Ascend(), short, lambda cut: cut - first[0] - 0.5)
    assert 0 not in asked and found == Found(first[0] + 1, True)


def test_goes_on_after_a_spike_that_the_first_crossing_takes():
    curve = [-3.0 + 0.05 * cut for cut in range(201)]  # crosses after cut 60
    first = Ascend(confirm=1, caution=0)
    spike = explore(first, evenly(200), curve.__getitem__)[0][2]
    assert spike < 40
    curve[spike] = 0.4
    assert explore(first, evenly(200), curve.__getitem__)[1] == Found(spike, True)
    assert explore(Ascend(), evenly(200), curve.__getitem__)[1] == Found(61, True)


def test_waits_for_as_many_enough_in_a_row_as_asked():
    curve = [5.0] + [-1.0] * 99 + [1.0] * 101  # a spike that outweighs the first few NOT_ENOUGH
    assert explore(Ascend(confirm=1, caution=0), evenly(200), curve.__getitem__) == ([0], Found(0, True))
    assert explore(Ascend(confirm=2, caution=0), evenly(200), curve.__getitem__)[1] == Found(100, True)


def test_more_is_asked_only_when_margins_fall():
    steady = [0.1 * (cut - 60) + 0.05 for cut in range(201)]
    shaky = [margin + (-1) ** cut for cut, margin in enumerate(steady)]
    plain = Ascend(confirm=1, caution=0)
    extra = [
        len(explore(Ascend(), evenly(200), curve.__getitem__)[0])
        - len(explore(plain, evenly(200), curve.__getitem__)[0])
        for curve in (steady, shaky)
    ]
    assert extra[0] <= 1 < extra[1]


@given(segments=st.integers(1, 60), size=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 2**32 - 1))
def test_falls_that_are_small_beside_the_margins_ask_nothing(segments, size, share, seed):
    """On traces of dozens of segments; over hundreds such falls add up to something, and are looked into."""
    answer = round(share * segments)
    step = [5.0 if cut >= answer else -5.0 for cut in range(segments + 1)]
    # What a half-precision judge gets wrong at such margins.
    rounding = np.random.default_rng(seed).choice([-0.0625, 0.0, 0.0625], segments + 1)
    rounded = [margin + wrong for margin, wrong in zip(step, rounding.tolist(), strict=True)]
    tokens = evenly(segments, size)
    assert explore(Ascend(), tokens, rounded.__getitem__) == explore(Ascend(), tokens, step.__getitem__)


def test_where_a_wrong_cut_costs_less_than_a_question_none_is_asked_about_it():
    curve = [-3.0 + 0.2 * cut + (-1) ** cut for cut in range(41)]
    asked = [len(explore(Ascend(), evenly(40, size), curve.__getitem__)[0]) for size in (3, 60)]
    assert asked[0] < asked[1]


@given(problem=problems(), confirm=st.integers(1, 4), caution=st.floats(0, 5))
def test_an_answer_has_the_enough_and_the_evidence_that_were_asked_for(problem, confirm, caution):
    tokens, limit, margins = problem
    limit = len(tokens) - 1 if limit is None else limit
    asked, found = explore(Ascend(confirm=confirm, caution=caution), tokens, margins.__getitem__, limit)
    spare = 3 * (len(tokens) - 1).bit_length() + 2 + confirm
    if not found.sufficient or limit in asked or len(asked) > spare:
        return  # nothing was found, or nothing more could be asked
    seen = [margins[cut] for cut in sorted(asked)]
    start, evidence = crossing(seen)
    assert sorted(asked)[start] == found.segments
    assert len(seen) - start >= confirm and min(seen[start : start + confirm]) > 0
    assert evidence >= caution * sum(a - b for a, b in pairwise(seen) if a > b)


@given(problem=problems(), exponent=st.integers(-8, 8))
def test_the_unit_of_the_margins_changes_nothing(problem, exponent):
    tokens, limit, margins = problem
    scaled = [math.ldexp(margin, exponent) for margin in margins]
    assert explore(Ascend(), tokens, margins.__getitem__, limit) == explore(
        Ascend(), tokens, scaled.__getitem__, limit
    )


def draws(ratios: np.ndarray, rng: np.random.Generator, segments: tuple[int, int], sizes: tuple[int, int]):
    for ratio in ratios:
        count = int(rng.integers(*segments))
        tokens = [0, *accumulate(rng.integers(*sizes, count).tolist())]
        yield tokens, max(1, math.ceil(ratio * count))


LONG = {"segments": (120, 280), "sizes": (10, 71)}
SHORT = {"segments": (20, 61), "sizes": (3, 16)}


@pytest.mark.parametrize(("shape", "binary_over"), [((2, 6), 1.6), ((2.4, 3.6), 1.3)])
def test_at_most_a_fifth_more_than_the_floor_is_computed(shape, binary_over):
    rng = np.random.default_rng(11)
    spent, floor = {"ascend": 0, "binary": 0}, 0
    for tokens, answer in draws(rng.beta(*shape, 400), rng, **LONG):
        floor += HEAD + tokens[answer] + SUFFIX
        for name in spent:
            spent[name] += computed(tokens, explore(make_search(name), tokens, lambda cut: cut - answer + 0.5)[0])  # noqa: B023
    assert spent["ascend"] <= 1.2 * floor
    assert spent["binary"] >= binary_over * floor


@pytest.mark.parametrize("sigma", [0.0, 1.0, 2.0])
def test_short_traces_take_about_as_many_questions_as_bisection_for_fewer_tokens_and_no_larger_error(sigma):
    rng = np.random.default_rng(13)
    asked, spent, off = ({"ascend": 0, "binary": 0} for _ in range(3))
    for tokens, answer in draws(rng.beta(2.4, 4.2, 600), rng, **SHORT):
        curve = [(6.0 if cut >= answer else -7.0) + sigma * rng.normal() for cut in range(len(tokens))]
        for name in asked:
            cuts, found = explore(make_search(name), tokens, curve.__getitem__)
            asked[name] += len(cuts)
            spent[name] += computed(tokens, cuts)
            off[name] += abs(found.segments - answer)
    assert asked["ascend"] <= 1.1 * asked["binary"]
    assert spent["ascend"] <= 0.97 * spent["binary"]
    assert off["ascend"] <= off["binary"]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_no_further_off_than_binary_under_noise_for_fewer_tokens(sigma):
    rng = np.random.default_rng(12)
    errors, spent = {"ascend": [], "binary": []}, {"ascend": 0, "binary": 0}
    for tokens, answer in draws(rng.beta(2, 6, 1200), rng, **LONG):
        curve = wavering(tokens, answer, sigma, rng)
        for name, off in errors.items():
            asked, found = explore(make_search(name), tokens, curve.__getitem__)
            off.append(found.segments - answer)
            spent[name] += computed(tokens, asked)
    mean = {name: np.abs(off).mean() for name, off in errors.items()}
    bias = {name: abs(np.mean(off)) for name, off in errors.items()}
    slack = 2 * np.std(errors["ascend"]) / math.sqrt(len(errors["ascend"]))  # what this many draws can't tell apart
    assert mean["ascend"] <= mean["binary"]
    assert bias["ascend"] <= bias["binary"] + slack
    assert spent["ascend"] < 0.75 * spent["binary"]


def test_the_visits_of_a_wavering_walk_are_pinned():
    """A change here changes results under a wavering judge: raise the version of `Ascend` with it."""
    curve = [(cut - 60) / 10 + (cut * 7919 % 13 - 6) / 8 for cut in range(201)]
    asked, found = explore(Ascend(), evenly(200), curve.__getitem__)
    climb, settle = [0, 16, 30, 38, 45, 51, 61, 70], [65, 67, 66, 62, 64, 60, 58, 54, 56, 57, 59, 68, 63, 69]
    assert asked == climb + settle
    assert found == Found(62, True)
