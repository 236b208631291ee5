"""Cuts and margins against the truth: exact figures on hand-made rows, and agreement with a slow definition."""

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.segmentation import cuts
from palign_hf.toy.world.problems import (
    SPLITS,
    auroc,
    curves_of,
    cut_skill,
    distances,
    judge_skill,
    problem,
    problems,
    toy_problem,
)


def row(at: int, off: int | None, probes: tuple[tuple[int, float | None], ...] = ()) -> dict:
    """A PREFIXES row of toy problem `at` whose found cut is `off` segments from the true one (None: no cut)."""
    true = problem("test", at)
    ends = [0, *cuts(true.trace)]
    found = None if off is None else true.sufficient_segments + off
    return {
        "id": true.id,
        "trace": true.trace,
        "n_segments": len(ends) - 1,
        "prefix_segments": found,
        "prefix_end": 0 if found is None else ends[found],
        "probes": [{"segments": cut, "margin": margin, "verdict": "enough"} for cut, margin in probes],
    }


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("seed", [0, 7])
def test_a_row_is_known_by_its_id(split, seed):
    for true in problems(split, 5, seed):
        assert toy_problem(true.id) == true


@pytest.mark.parametrize("strange", ["sum-3", "toy1-0-test", "toy1-0-test-x", "toy99-0-test-1", ""])
def test_other_rows_are_refused(strange):
    with pytest.raises(UserError, match="not a problem of version 1 of the toy world.*Give rows made from"):
        toy_problem(strange)


def test_cut_skill_counts_every_row_once():
    rows = [row(0, 0), row(1, 1), row(2, -1), row(3, 4), row(4, None)]
    skill = cut_skill(rows)
    assert (skill.rows, skill.failed) == (5, 1)
    assert skill.median_distance == 1.0 and skill.mean_distance == 1.5
    assert (skill.exact, skill.within_two) == (0.25, 0.75)
    assert (skill.too_short, skill.too_long) == (0.25, 0.5)
    assert skill.probes == 0
    assert distances(rows) == [0, 1, -1, 4]
    json.dumps(asdict(skill), allow_nan=False)


def test_true_cuts_have_no_distance_and_the_true_ratio():
    skill = cut_skill([row(at, 0) for at in range(20)])
    assert skill.median_distance == 0 and skill.exact == 1 and skill.too_short == skill.too_long == 0
    assert skill.found_ratio == skill.true_ratio


def test_no_cut_at_all_gives_no_figures_instead_of_wrong_ones():
    skill = cut_skill([row(0, None), row(1, None)])
    assert (skill.rows, skill.failed) == (2, 2) and skill.median_distance is None and skill.too_short is None
    assert judge_skill([]).auroc is None and judge_skill([]).accuracy is None


def test_judge_skill_of_a_judge_that_is_always_right():
    skill = judge_skill([({k: 1.0 if k >= 3 else -1.0 for k in range(11)}, 3, 10)])
    assert (skill.cuts, skill.accuracy, skill.auroc) == (11, 1.0, 1.0)
    # 0, 1, 2 lie below the boundary, 3, 4, 5, 6 from it on.
    assert (skill.near_cuts, skill.near_accuracy, skill.near_auroc) == (7, 1.0, 1.0)


def test_length_alone_is_nothing_near_boundaries_that_lie_anywhere():
    """One cut each side of the boundary: the judge tells them apart, their length can't."""
    judged = [({k: 1.0 if k >= s else -1.0 for k in (s - 1, s)}, s, 40) for s in range(1, 40)]
    skill = judge_skill(judged)
    assert skill.near_auroc == 1.0 and skill.near_auroc_of_length == pytest.approx(0.5, abs=0.03)


def test_curves_come_out_of_the_probes_and_leave_out_what_gave_no_margin():
    rows = [row(5, 0, ((0, -1.0), (4, None), (9, 2.0))), row(6, 0)]
    ((curve, sufficient, segments),) = curves_of(rows)
    assert curve == {0: -1.0, 9: 2.0}
    assert sufficient == problem("test", 5).sufficient_segments and segments == rows[0]["n_segments"]


scores = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=30)


@given(scores)
def test_auroc_is_the_share_of_pairs_in_order(pairs):
    above = [score for score, true in pairs if true]
    below = [score for score, true in pairs if not true]
    found = auroc([score for score, _ in pairs], [true for _, true in pairs])
    if not above or not below:
        assert found is None
        return
    wins = sum((a > b) + (a == b) / 2 for a in above for b in below)
    assert found == pytest.approx(wins / (len(above) * len(below)))


def test_a_trace_that_was_changed_is_not_compared():
    """The id says which problem it is, so a row whose trace is another one must not be measured against it."""
    changed = row(0, 0) | {"trace": problem("test", 0).trace + " More."}
    with pytest.raises(UserError, match="differs from the generated one"):
        cut_skill([changed])
