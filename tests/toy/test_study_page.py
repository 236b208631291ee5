"""The study's page says what its figures say: planted differences are found, and nothing else is claimed."""

import json

import numpy as np
import pytest

from examples.toy.study.arms import FIRST, UNTRAINED, StudyPlan
from examples.toy.study.figures import by, figures
from examples.toy.study.picture import draw
from examples.toy.study.telling import concluded, page, plain
from palign_hf.evaluation.samples import Sample


PLAN = StudyPlan(seeds=3, arms=("label", "trace", FIRST))
FACTS = {
    "tokens_a_row": {"label": 70.0, "trace": 500.0, FIRST: 260.0},
    "rows_a_step": {"label": 30, "trace": 4, FIRST: 8},
    "problems": {"prompt": ["a", "b"], "prefill": ["a", "c"], "exact": ["a", "b"]},
}
TRAINED = {"tokens": {"prompt": 700, "continuation": 300}, "rows": 10, "epochs": 2.0}
TRAINED |= {"first": {"loss": 2.0}, "last": {"loss": 0.5}}
RIGHT = {UNTRAINED: 0.1, "label": 0.1, "trace": 0.5, FIRST: 0.5}


def made(share: float, seed: int, arm: str) -> list[Sample]:
    """Samples of 60 problems of two difficulties, right as often as said."""
    random = np.random.default_rng([seed, *arm.encode()])
    return [
        Sample(
            id=f"p{problem:02d}",
            benchmark="toy",
            sample=number,
            question="q",
            gold="1",
            text="x",
            finish_reason="stop",
            tokens=100 if arm == "trace" else 50,
            draft_tokens=0,
            seed=seed,
            strict=bool(right := random.random() < share),
            lenient=right,
            answer="1",
            error=None,
            draft=False,
            closed=True,
            boxed=arm != "label",
            loop=False,
            cut=False,
            draft_share=0.0,
            about={"difficulty": str(1 + problem % 2), "family": "chain"},
        )
        for problem in range(60)
        for number in range(3)
    ]


@pytest.fixture(scope="module")
def students():
    return {arm: [made(share, seed, arm) for seed in range(3)] for arm, share in RIGHT.items()}


def test_planted_differences_are_found_and_no_others(students):
    better, against, longest, silent, chance = concluded(figures(students))
    assert "Above the untrained student in pass@1: `trace`, `p-align`. Below it: none." in better
    assert "No difference shown: `label`." in better
    assert "above it none; below it `label`; no difference shown `trace`" in against
    assert "longest outputs are those of `trace`, 100 tokens" in longest
    assert silent.startswith("- `label` hardly ever give an answer")
    assert "These are 5 comparisons" in chance


def test_the_page_has_all_arms_everywhere_and_the_figures_are_plain_data(students):
    every = figures(students)
    parts = {column: by(students, column) for column in ("difficulty", "family")}
    text = page(PLAN, FACTS, every, parts, dict.fromkeys(PLAN.arms, TRAINED))
    for heading in ("## All problems", "### Each arm minus `p-align`", "## pass@1 by difficulty", "by family"):
        assert text.count(heading) == 1
    assert "1 (30 problems)" in text and "3 seeds" in text and "60 problems" in text and "9 samples" in text
    assert text.count("| trace |") == 6  # what it is, figures, difference, twice by groups, what it read
    assert "1 of 192 are the same" in text
    # Steps x rows a step x tokens of a target.
    assert f"{50 * 30 * 30:,}" in text
    found = json.loads(json.dumps(plain(every)))
    assert found["problems"] == 60 and set(found["arms"]) == set(RIGHT)
    assert found["minus p-align"]["label"]["pass@1"]["high"] < -0.2


def test_pairing_makes_a_difference_surer_than_its_sides(students):
    random = np.random.default_rng(0)
    hard = {problem: random.random() for problem in range(60)}

    def graded(shift: float, seed: int) -> list[Sample]:
        base = made(0.0, seed, "trace")
        return [
            Sample(**{name: getattr(one, name) for name in one.__dataclass_fields__} | {"strict": right})
            for one in base
            for right in [hard[int(one.id[1:])] < 0.5 + shift]
        ]

    every = figures({FIRST: [graded(0.0, k) for k in range(3)], "label": [graded(0.1, k) for k in range(3)]})
    apart, side = every.apart("label", "strict pass@1"), every.of("label", "strict pass@1")
    assert apart.high - apart.low < side.high - side.low


def test_the_plot_is_the_same_for_the_same_figures_and_another_for_others(students, tmp_path):
    for name in ("one", "same"):
        draw(figures(students), tmp_path / f"{name}.png")
    draw(figures(dict(students, label=students["trace"])), tmp_path / "other.png")
    one, same, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "same", "other"))
    assert one == same != other and one.startswith(b"\x89PNG")


def test_of_a_single_sample_there_is_no_pass_at_3_and_no_column_for_it(students):
    first = {arm: [[one for one in of if one.sample == 0] for of in seeds] for arm, seeds in students.items()}
    text = page(PLAN, FACTS, figures(first), {}, dict.fromkeys(PLAN.arms, TRAINED))
    rows = [line for line in text.splitlines() if line.startswith(("| arm | pass@1", "| trace | 0."))]
    assert "pass@3" not in text and len({line.count("|") for line in rows}) == 1 and len(rows) >= 3
