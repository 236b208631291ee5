"""The demo before anything is loaded: what it refuses, what it says, how it picks what it shows."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.evaluation.statistics import Interval
from palign_hf.schema import PREFIXES
from palign_hf.segmentation import cuts
from palign_hf.toy.demo import report
from palign_hf.toy.demo.measure import QUICK, SEARCHES, Measured, figures
from palign_hf.toy.demo.report import DemoReport
from palign_hf.toy.demo.run import DemoConfig, demo
from palign_hf.toy.world.problems import CutSkill, JudgeSkill, problems, toy_problem
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


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.167, 0.083, 0.25), "by +0.167 (95 % interval +0.083 to +0.250, each problem compared with itself): an"),
        ((-0.1, -0.2, -0.01), "by -0.100 (95 % interval -0.200 to -0.010, each problem compared with itself): a loss"),
        ((0.033, -0.05, 0.117), "itself). The interval includes 0: on these problems it may be chance."),
        ((0.033, 0.0, 0.117), "The interval includes 0"),
        ((0.033, None, None), "by +0.033 on these 60 problems; its interval isn't known."),
    ],
)
def test_the_benefit_is_the_measured_difference_with_its_interval(interval, said):
    learned = SimpleNamespace(difference=Interval(*interval), problems=60)
    assert said in report.benefit(learned)


def test_an_unknown_student_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match="`gpt2` is not a demo student.*`toy`, `smollm2`"):
        demo(DemoConfig(student="gpt2", output_dir=str(tmp_path / "out")))
    for count in (0, 501):
        with pytest.raises(UserError, match=f"`--rows {count}` is out of range. Give 1 to 500"):
            demo(DemoConfig(rows=count, output_dir=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UserError, match="can't be a folder: `.*out` is a file. Give another folder"):
        demo(DemoConfig(output_dir=str(tmp_path / "out")))


def test_each_student_has_a_folder_of_its_own():
    assert str(DemoConfig().folder) == "runs/demo" and str(DemoConfig("smollm2").folder) == "runs/demo-smollm2"
    assert str(DemoConfig("smollm2", output_dir="mine").folder) == "mine"


def test_the_command_has_its_students_and_help(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--student", "gpt2"])
    assert ended.value.code == 2 and "'toy', 'smollm2'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    told = capsys.readouterr().out
    assert "runs/demo" in told and "--compare" in told


def test_a_folder_that_takes_no_file_is_refused(tmp_path, monkeypatch):
    def refuses(**given):
        raise PermissionError(13, "Permission denied", str(given["dir"]))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuses)
    with pytest.raises(UserError, match="can't be written to.*Give another folder by `--output-dir`"):
        demo(DemoConfig(output_dir=str(tmp_path / "out")))


@pytest.mark.parametrize("merged", [True, False])
def test_headings_come_before_what_their_stages_say(merged, tmp_path):
    """Even where stdout is no terminal, and so is kept back until much has gathered."""
    code = "import sys; from palign_hf.toy.demo.run import _say; _say(['[1/3] first']); sys.stderr.write('bar\\n')"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    errors = subprocess.STDOUT if merged else subprocess.PIPE
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=errors, text=True, check=True, env=environment
    )
    assert done.stdout == ("[1/3] first\nbar\n" if merged else "[1/3] first\n")


def test_the_trace_that_is_shown_is_cut_after_a_detour():
    table = rows(40)
    shown = report.example(table)
    (row,) = [row for row in table if " ".join(row["question"].split()) in joined(shown)]
    detours = toy_problem(row["id"]).detours
    assert detours and detours[0][1] <= row["prefix_end"] and row["prefix_ratio"] <= 0.5
    kept, _, left = shown.partition("---- cut here, after")
    assert joined(row["prefix"])[-40:] in joined(kept) and len(left) < 900


def joined(text: str) -> str:
    """Without line ends and quoting."""
    return " ".join(text.replace("|", " ").split())


def told(*measured: Measured, judge: JudgeSkill | None = None, rows: int = 10) -> DemoReport:
    """What a demo may have found out."""
    nothing = Dataset.from_dict({name: [] for name in PREFIXES.columns}, features=PREFIXES.features)
    return DemoReport("toy", "small", rows, Report.of(nothing), list(measured), judge)


SKILL = CutSkill(10, 0, 1.0, 1.4, 0.5, 0.9, 0.2, 0.3, 0.4, 0.38, 5.0)
JUDGE = JudgeSkill(300, 0.9, 0.97, 0.92, 80, 0.8, 0.9, 0.5)
NO_CUTS = CutSkill(3, 3, *[None] * 9)


def test_a_run_without_any_cut_is_told_as_such():
    shown = report.example(rows(3, prefix_segments=None, prefix_ratio=None, status="error", reason="no answer"))
    assert "no cut: error (no answer)" in shown
    failed = told(Measured("ascend", NO_CUTS, 0.0), judge=JudgeSkill(0, None, None, None, 0, None, None, None))
    assert "nothing to compare" in report.summary(failed)
    assert set(figures(failed.measured, failed.judge).values()) == {None}
    (line,) = report.warnings(failed)
    assert line.startswith("3 of 3 rows have no cut by `ascend`: run the same command again")
    assert report.table(failed)[1].split() == ["ascend", *["-"] * 7]


def test_one_row_whose_beginnings_all_suffice_compares_nothing():
    skill = CutSkill(1, 0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    easy = told(Measured("ascend", skill, 90.0), judge=JudgeSkill(31, 1.0, None, None, 4, 1.0, None, None))
    assert report.summary(easy).endswith("it is right about 100%.") and report.warnings(easy) == []


def test_what_was_not_measured_is_not_claimed():
    quick = told(Measured("ascend", SKILL, 812.4), Measured("binary", replace(SKILL, probes=4.0), 700.0))
    assert "right about" not in report.summary(quick) and "AUROC" not in report.summary(quick)
    found = figures(quick.measured, None)
    assert found["judge_auroc"] is found["judge_accuracy"] is None
    assert (found["median_distance"], found["too_short"], found["questions_over_binary"]) == (1.0, 0.2, 1.25)
    assert figures(quick.measured[:1], JUDGE) | {"judge_auroc": 0.97} == found | {
        "judge_auroc": 0.97, "judge_accuracy": 0.9, "questions_over_binary": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("own", "auroc", "words"),
    [
        (1.4, None, []),
        (1.4, 0.97, []),
        (4.8, 0.97, ["no better than those of `fixed(ratio=0.38)`, which needs no judge", "4.8 and 5.2 sentences"]),
        (1.4, 0.38, ["prefers the right one in 38.0% of cases (AUROC); chance is 50%"]),
        (14.9, 0.38, ["which needs no judge", "14.9 and 5.2", "38.0% of cases"]),
    ],
)
def test_a_judge_that_measures_nothing_is_told_as_such(own, auroc, words):
    blind = replace(SKILL, mean_distance=5.2, probes=0.0)
    measured = [Measured("ascend", replace(SKILL, mean_distance=own), 800.0)]
    measured += [Measured("fixed(ratio=0.38)", blind, 0.0), Measured("none", replace(blind, mean_distance=9.0), 0.0)]
    said = report.warnings(told(*measured, judge=replace(JUDGE, auroc=auroc) if auroc else None))
    assert len(said) == bool(words) and all(word in said[0] for word in words)
    assert not words or said[0].startswith("this judge measures nothing here: ")
    few = [replace(one, skill=replace(one.skill, rows=9)) for one in measured]
    assert report.warnings(told(*few)) == []  # so few say nothing


def test_the_time_is_said_first():
    first = " ".join("\n".join(report.opening("small", 52.0)[:3]).split())
    assert "This takes about 50 seconds on two quiet cores" in first
    assert "about 3 minutes" in "".join(report.opening("small", 190.0))


@given(st.lists(st.integers(-60, 60), max_size=50))
def test_every_distance_is_in_one_bar(off):
    lines = report.bars(off).splitlines()
    counts = [int(line.rsplit(" ", 1)[1]) for line in lines]
    assert len(lines) == 13 and sum(counts) == len(off)
    assert counts[6] == off.count(0) and counts[0] == sum(step <= -6 for step in off)
    assert counts[12] == sum(step >= 6 for step in off)
    assert all(("·" in line) == (count == 0) for line, count in zip(lines, counts, strict=True))


def test_the_bars_show_also_the_few():
    lines = report.bars([0] * 100 + [3], width=10).splitlines()
    assert lines[6].strip() == "exact ██████████ 100" and lines[9].strip() == "+3 █ 1"
    assert lines[0] == "6 or more short · 0"


def test_commands_are_shown_as_they_can_be_typed(monkeypatch, tmp_path):
    beside = Path(sys.executable).parent / "palign"
    monkeypatch.setenv("PATH", str(beside.parent))
    assert report._palign() == "palign"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(beside.parents[2])
    assert report._palign() == os.path.relpath(beside)
    monkeypatch.chdir(tmp_path)
    assert report._palign() == str(beside)


def test_programs_that_lie_apart_are_shown_as_they_can_be_typed(monkeypatch, tmp_path):
    """A system's Python has no `python` beside it, and puts scripts elsewhere."""
    system, scripts = tmp_path / "usr" / "python3", tmp_path / "local" / "palign"
    for program in (system, scripts):
        program.parent.mkdir()
        program.write_text("")
        program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(system))
    monkeypatch.setenv("PATH", f"{system.parent}:{scripts.parent}")
    assert report._palign() == "palign"


@pytest.mark.parametrize(
    ("value", "words"), [(1.0, "100.0%"), (0.9996, "over 99.9%"), (0.9994, "99.9%"), (0.5, "50.0%"), (0.0, "0.0%")]
)
def test_nearly_all_is_not_all(value, words):
    assert report._share(value) == words


def test_the_table_and_its_legend_name_every_search_and_no_other():
    both = told(Measured("ascend", SKILL, 812.4), Measured("full", SKILL, 0.0), judge=JUDGE)
    lines = report.table(both)
    assert len({len(line) for line in lines}) == 1
    assert "ascend" in lines[1] and "812" in lines[1] and "full" in lines[2]
    page = " ".join("\n".join(report.body(both, rows(3))).split())
    assert "`ascend` is the default; `fixed`, `none` and `full` need no judge." in page and "`linear`" not in page
    widest = [Measured(search, replace(SKILL, median_distance=10.5), 12345.6) for search in SEARCHES]
    assert max(map(len, report.table(told(*widest)))) <= 80 and set(QUICK) < set(SEARCHES)
    words = report.summary(both)
    assert "50% of its cuts are exact, 90% at most two sentences off" in words
    assert "97.0% of cases (AUROC)" in words and "length alone gives 50.0%" in words
