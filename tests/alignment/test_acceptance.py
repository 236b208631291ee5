"""Reasons to reject a sample: its answer first, then the refused flags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.alignment.acceptance import FLAGS, Rules
from palign_hf.grading import Grade


RIGHT, LENIENT = Grade(True, True, "4"), Grade(False, True, "4")


@pytest.mark.parametrize(
    ("grade", "flags", "against"),
    [
        (RIGHT, (), ()),
        (RIGHT, ("leak", "restart", "language"), ()),
        (RIGHT, ("cut",), ("cut",)),
        (RIGHT, ("loop", "leak"), ("loop",)),
        (Grade(False, False, "5"), ("cut", "no_box"), ("wrong answer", "cut")),
        (Grade(False, False, None), (), ("no answer",)),
        (LENIENT, ("no_box",), ("right only outside a box",)),
        (Grade(False, False, "5", "not graded within 5 s"), (), ("not graded",)),
    ],
)
def test_the_default_keeps_what_is_right_and_finished_and_no_loop(grade, flags, against):
    assert Rules().against(grade, flags) == against


def test_a_lenient_grade_counts_where_that_is_said():
    assert Rules(right="lenient").against(LENIENT, ("no_box",)) == ()


@given(st.booleans(), st.booleans(), st.sets(st.sampled_from(FLAGS)), st.sets(st.sampled_from(FLAGS)))
def test_a_sample_is_kept_if_it_is_right_and_has_no_refused_flag(strict, lenient, flags, refuse):
    rules = Rules("strict", tuple(refuse))
    kept = not rules.against(Grade(strict, lenient, "x"), [flag for flag in FLAGS if flag in flags])
    assert kept == (strict and not flags & refuse)
