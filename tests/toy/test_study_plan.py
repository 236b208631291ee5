"""The study's plan: equal rows, equal tokens, every student once, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.toy.study.__main__ import main
from examples.toy.study.arms import ALIKE, ARMS, BARE, FIRST, UNTRAINED, StudyPlan, chosen, rows_a_step
from palign_hf.data.pairs import make_baseline
from palign_hf.errors import UserError


def test_every_arm_and_the_untrained_student_have_all_seeds_once():
    runs = StudyPlan(seeds=3).runs()
    assert len(runs) == len(set(runs)) == 3 * (len(ARMS) + 1)
    # Whatever is done first can be compared: no arm begins a seed before all have ended the last one.
    assert [seed for _, seed in runs] == sorted(seed for _, seed in runs)
    assert runs[0] == (UNTRAINED, 0)


def test_each_arm_is_a_baseline_that_the_trainer_knows():
    assert len({arm.name for arm in ARMS}) == len(ARMS)
    for arm in ARMS:
        assert str(make_baseline(arm.baseline)) == arm.baseline and arm.pairs in (*ALIKE, BARE)


ids = st.sets(st.integers(0, 60).map(str), min_size=20)


@given(st.fixed_dictionaries(dict.fromkeys((*ALIKE, BARE), ids)), st.integers(1, 20))
def test_problems_are_as_many_for_all_and_the_same_where_they_can_be(kept, rows):
    found = chosen({name: sorted(some) for name, some in kept.items()}, rows)
    assert {name: len(some) for name, some in found.items()} == dict.fromkeys(kept, rows)
    assert all(set(found[name]) <= kept[name] for name in kept)
    common = set.intersection(*(kept[name] for name in ALIKE))
    shared = set.intersection(*(set(found[name]) for name in ALIKE))
    assert len(shared) >= min(rows, len(common))
    # In which order they were kept is no matter.
    assert found == chosen({name: sorted(some, reverse=True) for name, some in kept.items()}, rows)


def test_too_few_problems_are_told():
    kept = {name: ["a", "b"] for name in ALIKE} | {BARE: ["a"]}
    with pytest.raises(UserError, match="`rows=2` is more than the solved problems: 1 of `bare`.*`traces`"):
        chosen(kept, 2)


@given(st.floats(20, 2000), st.dictionaries(st.text(min_size=1), st.floats(20, 2000)), st.integers(1, 32))
def test_a_step_has_as_many_tokens_for_all_to_the_nearest_row(first, others, rows):
    tokens = others | {FIRST: first}
    found = rows_a_step(tokens, rows)
    assert found[FIRST] == rows
    for arm, count in found.items():
        assert count == 1 or abs(count * tokens[arm] - rows * first) <= tokens[arm] / 2 + 1e-6


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "1"], "gives no variance between seeds"),
        (["--steps", "0"], "`--steps 0` must be above 0"),
        (["--arms", "label"], "lacks `p-align`"),
        (["--arms", "p-align", "lable"], "`lable` is not an arm (nearest match: `label`)"),
        (["--arms", "p-align", "p-align"], "names one twice"),
        (["--workers", "0"], "trains no student"),
    ],
)
def test_what_can_not_be_studied_is_refused_in_one_line(options, words, tmp_path, capsys):
    assert main(["--output-dir", str(tmp_path / "study"), *options]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not (tmp_path / "study").exists()


def test_another_plan_in_the_same_folder_is_refused(tmp_path, capsys):
    (tmp_path / "plan.json").write_text('{"version": 1, "world": 1, "plan": {"steps": 7}}')
    assert main(["--output-dir", str(tmp_path)]) == 2
    assert "holds a study of another plan" in capsys.readouterr().err
