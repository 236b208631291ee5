"""The demo before anything is loaded: what it refuses, what it says, how it picks what it shows."""

import pytest
from datasets import Dataset

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.segmentation import cuts
from palign_hf.toy import demo as module
from palign_hf.toy.demo import CASTS, DemoConfig, Told, demo
from palign_hf.toy.measure import Measured
from palign_hf.toy.problems import problems
from palign_hf.toy.truth import CutSkill, JudgeSkill
from palign_hf.truncation.report import Report


def rows(count: int, **changes) -> Dataset:
    """PREFIXES rows with the true cut of each problem."""
    made = []
    for problem in problems("test", count):
        ends = [0, *cuts(problem.trace)]
        found = problem.sufficient_segments
        made.append(
            {
                "id": problem.id,
                "question": problem.question,
                "trace": problem.trace,
                "n_segments": len(ends) - 1,
                "prefix_segments": found,
                "prefix_ratio": ends[found] / len(problem.trace),
                "status": "sufficient",
                "reason": None,
                "probes": [],
            }
            | changes
        )
    return Dataset.from_list(made)


def test_an_unknown_student_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match="`gpt2` plays in no demo.*`toy`, `smollm2`"):
        demo(DemoConfig(student="gpt2", output=str(tmp_path / "out")))
    with pytest.raises(UserError, match="`--rows 0` leaves nothing to show"):
        demo(DemoConfig(rows=0, output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_the_command_has_its_students_and_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--student", "gpt2"])
    assert ended.value.code == 2 and "'toy', 'smollm2'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    assert "runs/demo" in capsys.readouterr().out


def test_what_it_says_of_students_is_honest():
    assert "not perfectly" in CASTS["toy"].words
    assert "ENOUGH to nearly everything" in CASTS["smollm2"].words


def test_the_trace_that_is_shown_has_a_detour_before_its_cut():
    shown = module._example(rows(40))
    assert "cut here, after" in shown and "Problem: " in shown
    kept, _, left = shown.partition("cut here")
    assert any(word in kept for word in ("wait", "Wait", "not it", "No,", "Hmm", "Stop")), kept
    assert len(left) < 900


def test_a_run_without_any_cut_is_told_as_such():
    shown = module._example(rows(3, prefix_segments=None, prefix_ratio=None, status="error", reason="no answer"))
    assert "no cut: error (no answer)" in shown
    none = CutSkill(3, 3, *[None] * 9)
    judge = JudgeSkill(0, None, None, None, 0, None, None, None)
    told = Told(3, Report.of(empty()), [Measured("ascend", none, 0.0)], judge)
    assert "nothing to compare" in " ".join(module._words(told))
    assert told.figures()["median_distance"] is None


def empty() -> Dataset:
    from palign_hf.schema import PREFIXES

    return Dataset.from_dict({name: [] for name in PREFIXES.columns}, features=PREFIXES.features)


def test_the_table_names_every_search():
    skill = CutSkill(10, 0, 1.0, 1.4, 0.5, 0.9, 0.2, 0.3, 0.4, 0.38, 5.0)
    judge = JudgeSkill(300, 0.9, 0.97, 0.92, 80, 0.8, 0.9, 0.5)
    told = Told(10, Report.of(empty()), [Measured("ascend", skill, 812.4), Measured("full", skill, 0.0)], judge)
    lines = module._table(told)
    assert len({len(line) for line in lines[:3]}) == 1
    assert "ascend" in lines[1] and "812" in lines[1] and "full" in lines[2]
    words = " ".join(" ".join(module._words(told)).split())
    assert "90% of them at most two away" in words and "AUROC 0.970" in words and "length alone gives 0.500" in words
