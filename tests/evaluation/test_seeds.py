"""Intervals over problems and seeds: against the truth by simulation, and at their ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.evaluation.statistics import crossed, student_quantile


# From any printed table of Student's distribution.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}


@pytest.mark.parametrize("freedom", TABLE)
def test_quantiles_are_those_of_the_printed_table(freedom):
    assert student_quantile(0.975, freedom) == pytest.approx(TABLE[freedom], rel=1e-3)


@pytest.mark.parametrize(
    ("problems_sd", "seeds_sd", "rest_sd"), [(1.0, 0.5, 1.0), (1.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.2, 1.0, 0.2)]
)
def test_about_95_of_100_intervals_hold_the_truth(problems_sd, seeds_sd, rest_sd):
    random, held, tries = np.random.default_rng(0), 0, 400
    for _ in range(tries):
        values = random.normal(0, rest_sd, (60, 5)) + random.normal(0, problems_sd, (60, 1))
        found = crossed(0.3 + values + random.normal(0, seeds_sd, (1, 5)), bounds=None)
        held += found.low <= 0.3 <= found.high
    assert 0.92 <= held / tries <= 0.995


def test_seeds_that_differ_make_it_wider_than_their_number_of_samples_suggests():
    random = np.random.default_rng(1)
    noise = random.normal(0, 0.1, (100, 5))
    shifted = noise + np.array([-0.2, -0.1, 0, 0.1, 0.2])
    width = [one.high - one.low for one in (crossed(noise, None), crossed(shifted, None))]
    assert width[1] > 4 * width[0]


@given(
    st.integers(2, 12).flatmap(
        lambda problems: st.lists(
            st.lists(st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0]), min_size=3, max_size=3),
            min_size=problems,
            max_size=problems,
        )
    )
)
def test_an_interval_holds_its_figure_and_stays_within_the_bounds(rows):
    found = crossed(np.array(rows))
    assert found.value == pytest.approx(np.mean(rows))
    assert 0 <= found.low <= found.value + 1e-9 and found.value - 1e-9 <= found.high <= 1
    # Which problem or seed is named first is no matter.
    other = crossed(np.array(rows)[::-1, ::-1])
    assert (other.low, other.high) == pytest.approx((found.low, found.high))


def test_agreement_is_no_certainty():
    found = crossed(np.zeros((100, 5)))
    assert found.low == 0 and 0 < found.high < 0.05


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (5,)])
def test_one_seed_or_problem_is_refused(shape):
    with pytest.raises(UserError, match="at least 2 problems and 2 seeds"):
        crossed(np.zeros(shape))
