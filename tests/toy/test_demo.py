"""The demo before anything is loaded: what it refuses, what it says, how it picks what it shows."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.pipeline.chain import chain
from palign_hf.pipeline.recipe import read_chain
from palign_hf.segmentation import cuts
from palign_hf.toy.demo import report
from palign_hf.toy.demo.measure import COMPARISON, PROCESSES, SEARCHES, Measured, Rates, Work, figures, processes
from palign_hf.toy.demo.report import DemoReport, Spent
from palign_hf.toy.demo.run import RECIPE, STUDENTS, DemoConfig, _overrides, demo
from palign_hf.toy.world.problems import CutSkill, JudgeSkill, problems, toy_problem


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
    difference = dict(zip(("value", "low", "high"), interval, strict=True))
    found = {"models": ["before", "p-align"], "problems": 60, "differences": {report.PASS: {"p-align": difference}}}
    assert said in report.benefit(found)


def test_the_table_is_that_of_the_chain_with_its_intervals():
    def held(value):
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    found = {
        "models": ["before", "p-align"],
        "figures": {name: {"before": held(0.1), "p-align": held(0.3)} for name in ("strict pass@1", "closed")}
        | {"tokens": {"before": held(24.0), "p-align": held(180.0)}, "lenient pass@1": {}},
        "differences": {name: {"p-align": held(0.2)} for name in ("strict pass@1", "closed", "tokens")},
    }
    head, *lines = report.compared(found)
    assert head.split() == ["before", "p-align", "p-align", "-", "before"]
    assert [line.split("  ")[1] for line in lines] == ["strict pass@1", "no draft left open", "tokens"]
    assert "0.100 [0.000, 0.200]" in lines[0] and "0.200 [0.100, 0.300]" in lines[0] and "24 [24, 24]" in lines[2]


def test_an_unknown_student_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UserError, match="`gpt2` is not a demo student.*`toy`, `smollm2`"):
        demo(DemoConfig(student="gpt2", output_dir=str(tmp_path / "out")))
    for count in (0, 4, 501):
        with pytest.raises(UserError, match=f"`--rows {count}` is out of range. Give 5 to 500"):
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
    return DemoReport("toy", "small", rows, [], list(measured), SPENT, judge)


SPENT = Spent(52.0, 61.0, "transformers", {})
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


def test_the_announced_time_is_that_of_this_machine():
    assert "about 50 seconds on this machine (measured just now). Interrupt" in " ".join(
        report.announced(SPENT)[0].split()
    )
    slow = replace(SPENT, announced=190.0, engine="vllm")
    words = " ".join(report.announced(slow)[0].split())
    assert "at most about 3 minutes on this machine (measured just now), and the start of vllm, which" in words
    (*_, last) = report.closing(told(Measured("ascend", SKILL, 1.0)), [(Path("a"), "b")], [])
    assert last == "  It took 60 seconds; about 50 seconds had been announced."


KINDS = [one.name for one in fields(Work)]
counts = st.lists(st.floats(0, 1e6), min_size=5, max_size=5)
speeds = st.lists(st.floats(0.01, 1e5), min_size=5, max_size=5)


@given(counts, counts, speeds, st.floats(1.0, 10.0))
def test_the_time_grows_with_the_work_and_with_the_slowness_of_the_machine(one, other, rates, slower):
    one, other, rates = Work(*one), Work(*other), Rates(*rates)
    assert rates.seconds(one + other) == pytest.approx(rates.seconds(one) + rates.seconds(other))
    assert rates.seconds(one.times(3)) == pytest.approx(3 * rates.seconds(one))
    slow = Rates(*(getattr(rates, name) / slower for name in KINDS))
    assert slow.seconds(one) == pytest.approx(slower * rates.seconds(one))
    assert rates.seconds(Work()) == 0


@cache
def steps_of() -> list[tuple[str, str, bool]]:
    """The steps of the demo's chain, as the real recipe has them."""
    read = read_chain(RECIPE, _overrides(DemoConfig().changes(STUDENTS["toy"], 20)))
    return [(step.name, step.stage, bool(step.runner)) for step in chain(read)]


def test_each_process_of_the_chain_is_counted_once():
    whole = processes([(stage, shares) for _, stage, shares in steps_of()])
    # Truncation, alignment and the first evaluation share a process; training and the second have their own.
    assert whole.modules == 2 * PROCESSES["evaluate"] + PROCESSES["train"] + COMPARISON
    assert processes([]) == Work() and processes([("align", True)]).modules == PROCESSES["align"]


@given(st.integers(5, 500), st.integers(0, 4), st.booleans())
def test_what_is_done_already_costs_nothing(rows, done, compare):
    steps, student = steps_of(), STUDENTS["toy"]
    left, whole = student.work(steps[done:], rows, compare), student.work(steps, rows, compare)
    assert all(getattr(left, name) <= getattr(whole, name) for name in KINDS)
    more = student.work(steps, rows + 1, compare)
    assert all(getattr(whole, name) <= getattr(more, name) for name in KINDS)
    assert student.problems(rows) == min(40, rows // 2)


def test_every_step_of_the_chain_has_its_counts():
    """A step that the recipe renames would cost nothing."""
    student = STUDENTS["toy"]
    for step in steps_of():
        assert student.work([step], 20) != processes([step[1:]]), step
    assert set(student.problem) <= {name for name, _, _ in steps_of()}


@pytest.mark.parametrize("folder", ["runs/demo", "my [runs]/d: #1", "x='1'"])
def test_a_folder_is_given_to_the_chain_as_it_is(folder):
    config = DemoConfig(rows=20, output_dir=folder)
    read = read_chain(RECIPE, _overrides(config.changes(STUDENTS["toy"], 20)))
    assert read.head.output_dir == folder and read.head.max_samples == 20
    assert read.sections["align"]["ledger"] == f"{folder}/ledger" and read.sections["train"]["eval"] is None


def test_the_time_of_a_finished_demo_is_kept(tmp_path):
    assert report.spent_before(tmp_path, False) is None
    held = {"time": {"announced": 52.0, "took": 61.0, "engine": "transformers", "rates": {}}, "judge": None}
    (tmp_path / "figures.json").write_text(json.dumps(held))
    assert report.spent_before(tmp_path, False) == SPENT
    assert report.spent_before(tmp_path, True) is None  # the comparison of more searches is not in it


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
    assert max(map(len, report.table(told(*widest)))) <= 80
    words = report.summary(both)
    assert "50% of its cuts are exact, 90% at most two sentences off" in words
    assert "97.0% of cases (AUROC)" in words and "length alone gives 50.0%" in words
