"""Measures against their definitions: all subsets, one by one."""

from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_samples import answered, sample, verdicts

from palign_hf.errors import UserError
from palign_hf.evaluation.metrics import majority, measure, pass_curve, same_answer, shown_ks


problem = st.lists(st.booleans(), min_size=1, max_size=7)


@given(problem)
def test_pass_at_k_is_the_share_of_all_subsets_with_a_right_one(row):
    curve = pass_curve(len(row), np.array([sum(row)]))[0]
    for k in range(1, len(row) + 1):
        subsets = [any(chosen) for chosen in combinations(row, k)]
        assert curve[k - 1] == pytest.approx(sum(subsets) / len(subsets), abs=1e-12)


@given(st.integers(1, 300), st.data())
def test_pass_at_k_grows_with_k_and_with_what_is_right_and_never_leaves_0_to_1(n, data):
    right = data.draw(st.integers(0, n - 1)) if n > 1 else 0
    less, more = pass_curve(n, np.array([right, right + 1]))
    for curve in (less, more):
        assert (np.diff(curve) >= -1e-12).all() and curve.min() >= 0 and curve.max() <= 1
    assert (more >= less - 1e-12).all()
    assert less[0] == right / n and less[-1] == (right > 0) and more[-1] == 1


def test_pass_at_k_of_many_samples_is_a_number():
    curve = pass_curve(100_000, np.array([1]))[0]
    assert curve[49_999] == pytest.approx(0.5, abs=1e-9)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6), st.randoms())
def test_the_order_of_samples_and_problems_does_not_matter(rows, random):
    samples = verdicts(rows, tokens=5)
    shuffled = list(samples)
    random.shuffle(shuffled)
    one, other = measure(samples), measure(shuffled)
    assert one.problems == other.problems and one.correct == other.correct
    assert {name: m.value for name, m in one.of.items()} == {name: m.value for name, m in other.of.items()}
    renumbered = [sample(s.id, 2 - s.sample, s.strict, tokens=5) for s in samples]
    assert measure(renumbered).value("strict maj@n") == one.value("strict maj@n")


def test_pass_at_1_is_the_share_of_right_samples_and_avg_at_n_the_same():
    found = measure(verdicts([[False, True, True], [False, False, False], [True, True, True]]))
    assert found.value("strict pass@1") == found.value("strict avg@n") == pytest.approx(5 / 9)
    assert found.value("lenient pass@3") == pytest.approx(2 / 3) and found.correct == {"strict": 5, "lenient": 5}


def test_of_unequal_problems_n_is_the_least_and_all_samples_count_for_pass_at_k():
    found = measure(verdicts([[True, False, False, False], [False, True]]))
    assert (found.n, found.most, found.samples) == (2, 4, 6)
    assert found.value("strict pass@1") == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert found.value("strict pass@2") == pytest.approx((1 - (3 / 4) * (2 / 3) + 1) / 2)
    assert "strict pass@3" not in found.of
    # Rates are of samples, not of problems.
    assert found.value("closed") == 1 and measure(
        [sample("a", 0, loop=True), *(sample("b", k) for k in range(3))]
    ).value("loop") == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("answers", "share"),
    [
        (["1", "1", "2"], 1.0),
        (["2", "1", "2"], 0.0),
        (["1", "2", "3"], 1 / 3),
        (["1", "1", "2", "2"], 1 / 2),
        (["1", None, None], 1.0),
        ([None, None], 0.0),
    ],
)
def test_the_majority_and_its_ties(answers, share):
    assert measure(answered({"p": answers})).value("strict maj@n") == pytest.approx(share)


def test_a_strict_vote_needs_a_box():
    samples = [
        sample("p", 0, True, answer="1", boxed=True),
        sample("p", 1, answer="2", boxed=False),
        sample("p", 2, answer="2", boxed=False),
    ]
    found = measure(samples)
    assert found.value("strict maj@n") == 1 and found.value("lenient maj@n") == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=8), st.randoms())
def test_the_majority_is_a_share_that_no_order_changes(votes, random):
    shuffled = list(votes)
    random.shuffle(shuffled)
    assert majority(votes) == majority(shuffled) and 0 <= majority(votes) <= 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("142.0", "142"), (r"\frac12", "0.5"), (r"\dfrac{1}{2}", "1/2"), ("$x + 1$", "x+1"), (r"\text{Yes}", "yes")],
)
def test_answers_are_the_same_however_they_are_set(one, other):
    assert same_answer(one) == same_answer(other)


def test_other_answers_are_others_and_an_endless_one_is_taken_as_it_is():
    assert len({same_answer(answer) for answer in ("1", "2", "1/2", r"50\%", "x", "2x", "")}) == 7
    assert same_answer("9" * 50_000 + " ") == "9" * 50_000


def test_what_is_not_known_of_all_samples_is_not_told():
    samples = [sample("a", 0, cut=True, tokens=3), sample("a", 1)]
    assert not {"cut", "tokens", "draft_tokens"} & set(measure(samples).of)
    known = measure(
        [sample("a", 0, cut=True, tokens=3, draft_tokens=1), sample("b", 0, cut=False, tokens=6, draft_tokens=0)]
    )
    assert known.value("cut") == 0.5 and known.value("tokens") == 4.5 and list(known.tokens) == [3, 6]


def test_nothing_can_not_be_measured():
    with pytest.raises(UserError, match="no samples"):
        measure([])


@pytest.mark.parametrize("ks", [[1], [1, 2, 3], [1, 2, 3, 4], [1, 2, 4, 6], [1, 2, 4, 8], [1, 2, 4, 8, 9]])
def test_which_k_are_told(ks):
    assert shown_ks(ks[-1]) == ks


def test_measures_of_a_large_set_are_those_of_its_problems_one_by_one():
    random = Random(0)
    rows = [[random.random() < 0.3 for _ in range(5)] for _ in range(40)]
    whole, each = measure(verdicts(rows)), [measure(verdicts([row])) for row in rows]
    for name in whole.of:
        assert whole.value(name) == pytest.approx(np.mean([one.value(name) for one in each]))
