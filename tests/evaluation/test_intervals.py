"""Intervals hold the truth as often as they say, and pair what can be paired."""

import numpy as np
import pytest
from made_samples import sample, verdicts

from palign_hf.errors import UserError
from palign_hf.evaluation.metrics import measure
from palign_hf.evaluation.statistics import check_same_problems, differences, intervals


RIGHT = "strict pass@1"


def drawn(random, shares, n=3):
    return verdicts(random.random((len(shares), n)) < np.asarray(shares)[:, None])


@pytest.mark.parametrize("solved", [0.1, 0.5])
def test_an_interval_holds_the_truth_about_as_often_as_it_says(solved):
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        shares = random.beta(solved, 1 - solved, 30)
        one = intervals(measure(drawn(random, shares)), resamples=500)[RIGHT]
        held += one.low <= solved <= one.high
    assert 0.90 <= held / 200 <= 0.99


def test_the_same_seed_gives_the_same_interval_and_the_figure_lies_in_it():
    found = measure(drawn(np.random.default_rng(1), np.linspace(0, 1, 40)))
    one = intervals(found)
    assert one == intervals(found)
    assert intervals(found, 0, 50)[RIGHT] != intervals(found, 1, 50)[RIGHT]
    assert all(each.low <= each.value <= each.high for each in one.values() if each.low is not None)


def test_the_samples_of_a_problem_are_no_further_evidence():
    """Three times the same verdict says no more than one."""
    rows = [[k % 3 == 0] for k in range(60)]
    once, thrice = (intervals(measure(verdicts([row * n for row in rows])))[RIGHT] for n in (1, 3))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize("right", [False, True])
def test_where_all_agree_the_interval_is_that_of_a_rare_problem(right):
    one = intervals(measure(verdicts([[right]] * 30)))[RIGHT]
    # 0 of 30, exactly: the largest share that shows none in 30 problems once in forty times.
    assert one.high - one.low == pytest.approx(1 - 0.025 ** (1 / 30))
    assert (one.high if right else one.low) == one.value == right


def test_tokens_that_never_differ_have_no_interval():
    one = intervals(measure(verdicts([[True], [False]], tokens=7)))["tokens"]
    assert (one.value, one.low, one.high) == (7, None, None)


def test_one_problem_says_nearly_nothing():
    one = intervals(measure(verdicts([[True, False, False]])))[RIGHT]
    assert one.low < 0.02 and one.high > 0.97


def test_a_paired_difference_is_surer_than_two_intervals():
    random = np.random.default_rng(2)
    hard = random.random(80)
    base = drawn(random, hard, n=8)
    better = [sample(s.id, s.sample, s.strict or (s.sample == 0)) for s in base]
    one, other = measure(better), measure(base)
    apart = differences(one, other)[RIGHT]
    assert apart.low > 0 and apart.value == pytest.approx(one.value(RIGHT) - other.value(RIGHT))
    assert intervals(one)[RIGHT].low < intervals(other)[RIGHT].high


def test_differences_turn_their_sign_with_the_order_and_vanish_for_the_same():
    random = np.random.default_rng(3)
    one, other = (measure(drawn(random, np.full(50, share))) for share in (0.3, 0.5))
    there, back = differences(one, other)[RIGHT], differences(other, one)[RIGHT]
    assert there.value == -back.value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=0.01)
    same = differences(one, one)[RIGHT]
    assert same.value == 0 and same.low == -same.high < 0


def test_paired_differences_hold_the_truth():
    random = np.random.default_rng(4)
    held = 0
    for _ in range(150):
        hard = random.beta(0.8, 0.8, 40)
        one, other = (measure(drawn(random, shares)) for shares in (hard, hard * 0.7))
        apart = differences(one, other, resamples=500)[RIGHT]
        held += apart.low <= 0.5 * 0.3 <= apart.high
    assert 0.89 <= held / 150 <= 0.995


def test_other_problems_are_refused_in_words():
    one = measure(verdicts([[True]] * 3))
    other = measure(verdicts([[True]] * 4))
    with pytest.raises(UserError, match=r"weren't given the same problems \(only B has 1, as `b/p003`\)"):
        check_same_problems({"A": one, "B": other})
    with pytest.raises(UserError, match="same problems"):
        differences(one, other)


def test_many_problems_are_drawn_in_blocks_with_the_same_result(monkeypatch):
    found = measure(drawn(np.random.default_rng(5), np.linspace(0, 1, 30)))
    whole = intervals(found, resamples=100)
    monkeypatch.setattr("palign_hf.evaluation.statistics._BLOCK", 300)
    parted = intervals(found, resamples=100)
    assert parted[RIGHT].low == pytest.approx(whole[RIGHT].low, abs=0.05)
    assert parted[RIGHT].value == whole[RIGHT].value
