"""The demo before anything is loaded: what it refuses, what it says, how it picks what it shows."""

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from datasets import Dataset

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.segmentation import cuts
from palign_hf.toy.demo import telling
from palign_hf.toy.demo.measure import SEARCHES, Measured
from palign_hf.toy.demo.run import DemoConfig, demo
from palign_hf.toy.demo.telling import Told
from palign_hf.toy.world.problems import problems
from palign_hf.toy.world.truth import CutSkill, JudgeSkill, toy_problem
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
                "prefix_end": ends[found],
                "prefix": problem.trace[: ends[found]],
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
    for count in (0, 501):
        with pytest.raises(UserError, match=f"`--rows {count}` can't be shown. Give 1 to 500"):
            demo(DemoConfig(rows=count, output=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="can't be written to.*Give another folder by `--output`"):
        demo(DemoConfig(output=str(tmp_path / "out")))


def test_each_student_has_a_folder_of_its_own():
    assert str(DemoConfig().folder) == "runs/demo" and str(DemoConfig("smollm2").folder) == "runs/demo-smollm2"
    assert str(DemoConfig("smollm2", output="mine").folder) == "mine"


def test_the_command_has_its_students_and_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--student", "gpt2"])
    assert ended.value.code == 2 and "'toy', 'smollm2'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    assert "runs/demo" in capsys.readouterr().out


def test_a_folder_that_takes_no_file_is_refused(tmp_path, monkeypatch):
    def refuses(**given):
        raise PermissionError(13, "Permission denied", str(given["dir"]))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuses)
    with pytest.raises(UserError, match="can't be written to.*Give another folder by `--output`"):
        demo(DemoConfig(output=str(tmp_path / "out")))


@pytest.mark.parametrize("merged", [True, False])
def test_headings_come_before_what_their_stages_say(merged, tmp_path):
    """Even where stdout is no terminal, and so is kept back until much has gathered."""
    code = "import sys; from palign_hf.toy.demo.run import _aloud; _aloud('[1/4] first'); sys.stderr.write('bar\\n')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    errors = subprocess.STDOUT if merged else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, text=True, check=True, env=environment
    )
    assert done.stdout == ("[1/4] first\nbar\n" if merged else "[1/4] first\n")


def test_the_trace_that_is_shown_is_cut_after_a_detour():
    table = rows(40)
    shown = telling.example(table)
    (row,) = [row for row in table if " ".join(row["question"].split()) in joined(shown)]
    detours = toy_problem(row["id"]).detours
    assert detours and detours[0][1] <= row["prefix_end"] and row["prefix_ratio"] <= 0.5
    kept, _, left = shown.partition("---- cut here, after")
    assert joined(row["prefix"])[-40:] in joined(kept) and len(left) < 900


def joined(text: str) -> str:
    """Without line ends and quoting."""
    return " ".join(text.replace("|", " ").split())


def test_a_run_without_any_cut_is_told_as_such():
    shown = telling.example(rows(3, prefix_segments=None, prefix_ratio=None, status="error", reason="no answer"))
    assert "no cut: error (no answer)" in shown
    none = CutSkill(3, 3, *[None] * 9)
    judge = JudgeSkill(0, None, None, None, 0, None, None, None)
    told = Told("toy", "small", 3, Report.of(empty()), [Measured("ascend", none, 0.0)], judge)
    assert "nothing to compare" in telling.summary(told)
    assert told.figures()["median_distance"] is None
    (line,) = telling.failures(told)
    assert line.startswith("3 of 3 rows have no cut by `ascend`: run the same command again")


def test_one_row_whose_beginnings_all_suffice_compares_nothing():
    skill = CutSkill(1, 0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    judge = JudgeSkill(31, 1.0, None, None, 4, 1.0, None, None)
    told = Told("toy", "small", 1, Report.of(empty()), [Measured("ascend", skill, 90.0)], judge)
    assert telling.summary(told).endswith("it is right about 100%.") and telling.failures(told) == []


def test_commands_are_shown_as_they_can_be_typed(monkeypatch, tmp_path):
    beside = Path(sys.executable).parent / "palign"
    monkeypatch.setenv("PATH", str(beside.parent))
    assert telling._found("palign") == "palign"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(beside.parents[2])
    assert telling._found("palign") == os.path.relpath(beside)
    monkeypatch.chdir(tmp_path)
    assert telling._found("palign") == str(beside)


def test_programs_that_lie_apart_are_shown_as_they_can_be_typed(monkeypatch, tmp_path):
    """A system's Python has no `python` beside it, and puts scripts elsewhere."""
    system, scripts = tmp_path / "usr" / "python3", tmp_path / "local" / "palign"
    for program in (system, scripts):
        program.parent.mkdir()
        program.write_text("")
        program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(system))
    monkeypatch.setenv("PATH", f"{system.parent}:{scripts.parent}")
    assert telling._found("palign") == "palign" and telling._found("python") == "python3"


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "100.0%"), (0.9996, "over 99.9%"), (0.9994, "99.9%"), (0.5, "50.0%"), (0.0, "0.0%")]
)
def test_nearly_all_is_not_all(value, words):
    assert telling._share(value) == words


@pytest.mark.parametrize("word", ["plain", "two words", "it's", "print('a b')", 'say "x"', "cost $5", "it's $5"])
def test_words_of_commands_survive_the_shell(word):
    assert shlex.split(telling._typed(word)) == [word]


def empty() -> Dataset:
    from palign_hf.schema import PREFIXES

    return Dataset.from_dict({name: [] for name in PREFIXES.columns}, features=PREFIXES.features)


def test_the_table_names_every_search():
    skill = CutSkill(10, 0, 1.0, 1.4, 0.5, 0.9, 0.2, 0.3, 0.4, 0.38, 5.0)
    judge = JudgeSkill(300, 0.9, 0.97, 0.92, 80, 0.8, 0.9, 0.5)
    told = Told(
        "toy", "small", 10, Report.of(empty()), [Measured("ascend", skill, 812.4), Measured("full", skill, 0.0)], judge
    )
    lines = telling.table(told)
    assert len({len(line) for line in lines[:3]}) == 1
    widest = [Measured(search, replace(skill, median_distance=10.5), 12345.6) for search in SEARCHES]
    assert max(map(len, telling.table(replace(told, measured=widest)))) <= 80
    assert "ascend" in lines[1] and "812" in lines[1] and "full" in lines[2]
    words = telling.summary(told)
    assert (
        "50% of its cuts are exact, 90% at most two sentences off" in words
        and "97.0% of cases (AUROC)" in words
        and "length alone gives 50.0%" in words
    )
