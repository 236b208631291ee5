"""A recipe of evaluation: shards that are counted once, files, failures, and that nothing is drawn twice."""

import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from palign_hf.cli import main
from palign_hf.engines.base import RequestFailed
from palign_hf.errors import UserError
from palign_hf.evaluation.compare import compare_files
from palign_hf.evaluation.grade import GradeConfig, grade_file, read_samples
from palign_hf.evaluation.stage import EVALUATE, EvaluateConfig
from palign_hf.evaluation.tasks import open_task
from palign_hf.grading import Grade, GraderPool
from palign_hf.hub.eval_results import eval_result_files, model_index, read_evaluation
from palign_hf.hub.model_card import evaluation_blocks
from palign_hf.runs.launch import run_here
from palign_hf.runs.shards import Shard


@pytest.fixture
def make(pupil, speaker, tmp_path):
    """A recipe over the first toy problems; the student knows the answer where it lies below 20."""
    golds = {one.question: one.gold for one in open_task("toy", max_samples=40).problems}

    def say(prompt: str, seed: int) -> str:
        gold = next(gold for question, gold in golds.items() if question in prompt)
        return rf"\boxed{{{gold if int(gold) < 20 else -1}}}"

    speaker.text = say

    def make(**given) -> EvaluateConfig:
        usual = {
            "student": str(pupil),
            "engine": "transformers",
            "output_dir": str(tmp_path / "out"),
            "grader": "exact",
        }
        usual |= {"ledger": str(tmp_path / "ledger"), "tasks": ["palign:toy"], "max_samples": 7, "progress": False}
        return EvaluateConfig(**usual | given)

    return make


def run(config: EvaluateConfig, count: int = 1) -> dict:
    for index in range(count):
        with EVALUATE.open(config, shown=False) as one:
            one.work(Shard(index, count), one.agree())
    with EVALUATE.open(config, shown=False) as one:
        one.agree()
        ending = one.finish(count)
    return json.loads((config.folder / "report.json").read_text()) | {"ending": ending}


def test_shards_are_merged_once_and_give_the_samples_of_one_process(make, speaker, tmp_path):
    one = run(make(output_dir=str(tmp_path / "one")))
    asked = len(speaker.asked)
    assert asked == 21 == one["samples"] and one["problems"] == 7
    three = run(make(output_dir=str(tmp_path / "three")), count=3)
    assert len(speaker.asked) == asked
    files = [tmp_path / name / "samples.parquet" for name in ("one", "three")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert three["usage"]["asked"] == 0 and one["usage"]["asked"] == 21
    assert three["strict"] == one["strict"] and three["ending"].failed == 0


def test_figures_are_those_of_the_dataset_and_every_file_is_there(make):
    config = make()
    report = run(config)
    golds = [one.gold for one in open_task("toy", max_samples=7).problems]
    right = sum(int(gold) < 20 for gold in golds)
    assert 0 < right < 7 and report["strict"]["correct"] == 3 * right
    assert report["strict"]["pass@1"] == pytest.approx(right / 7) == report["benchmarks"]["toy"]["strict"]["pass@1"]
    samples = read_samples(config.folder)
    assert [(one.id, one.sample) for one in samples] == [
        (one.id, number) for one in open_task("toy", max_samples=7).problems for number in range(3)
    ]
    assert {one.about["family"] for one in samples} > {"chain"}
    names = {path.name for path in config.folder.iterdir()}
    assert names == {"samples.parquet", "report.json", "report.md", "lighteval"}
    (details,) = config.folder.rglob("details_palign:toy*.parquet")
    assert len(pq.read_table(details)) == 7
    page = (config.folder / "report.md").read_text()
    assert f"| pass@1, strict | {right / 7:.3f} \\[" in page and "the first 7 problems" in page
    assert "| family (partial: toy the first 7 of 500 problems) |" in page


def test_the_same_command_again_asks_nothing_and_a_longer_one_only_what_is_new(make, speaker):
    run(make())
    before = len(speaker.asked)
    run(make())
    assert len(speaker.asked) == before
    with pytest.raises(UserError, match="holds the result of another run"):
        EVALUATE.open(make(max_samples=9), shown=False)
    run(make(max_samples=9, overwrite=True))
    assert len(speaker.asked) == before + 6


def test_without_lighteval_a_run_names_the_extra_before_it_starts(make, speaker, monkeypatch):
    monkeypatch.setitem(sys.modules, "lighteval", None)
    with pytest.raises(UserError, match=r"needs lighteval.*`pip install 'palign-hf\[eval\]'`"):
        EVALUATE.open(make(), shown=False)
    assert not speaker.asked


def test_a_run_that_broke_off_goes_on_with_what_is_missing(make, speaker):
    say, left = speaker.text, [10]

    def few(prompt, seed):
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError("the machine is full")
        return say(prompt, seed)

    speaker.text = few
    with pytest.raises(MemoryError), EVALUATE.open(make(max_concurrency=1), shown=False) as one:
        one.work(Shard(), one.agree())
    speaker.text = say
    before = len(speaker.asked)
    report = run(make())
    assert report["samples"] == 21 and 0 < len(speaker.asked) - before <= 12


def test_a_failed_request_ends_the_run_with_status_1_and_is_asked_again(make, speaker, capsys):
    say = speaker.text
    question = open_task("toy", max_samples=7).problems[3].question

    def poisoned(prompt, seed):
        if question in prompt:
            raise RequestFailed("the server said no")
        return say(prompt, seed)

    speaker.text = poisoned
    config = make()
    assert run_here(EVALUATE, config) == 1
    told = capsys.readouterr().out
    assert "3 rows failed" in told and "3 x no answer to sample N the server said no: counted as wrong" in told
    report = json.loads((config.folder / "report.json").read_text())
    assert (report["samples"], report["failed"], report["empty"]) == (21, 3, 3)
    speaker.text = say
    before = len(speaker.asked)
    assert run_here(EVALUATE, make()) == 0
    assert len(speaker.asked) == before + 3


def test_what_could_not_be_graded_in_time_is_graded_again_and_drawn_once(make, speaker, monkeypatch):
    """By the run that goes on after an interrupt; one that has ended leaves only its ledger, and grades all anew."""
    late = Grade(False, False, None, "not graded within 0.5 s")
    graded = GraderPool.grade_async

    async def slow(pool, output, gold):
        return late if int(gold) % 2 else await graded(pool, output, gold)

    with monkeypatch.context() as patched, EVALUATE.open(make(), shown=False) as one:
        patched.setattr(GraderPool, "grade_async", slow)
        one.work(Shard(), one.agree())
    odd = [one for one in open_task("toy", max_samples=7).problems if int(one.gold) % 2 and int(one.gold) < 20]
    asked = len(speaker.asked)
    report = run(make())
    assert odd and report["unjudged"] == 0 and len(speaker.asked) == asked == 21
    assert sum(one.strict for one in read_samples(make().folder) if one.id in {of.id for of in odd}) == 3 * len(odd)


def test_a_draft_budget_and_stopped_loops_are_reported_where_they_are_on(make, speaker):
    report = run(make())
    assert report["drafts_closed_by_force"] is None and report["stopped_in_a_loop"] is None
    report = run(make(max_draft_tokens=30, stop_loops=True, overwrite=True))
    assert report["drafts_closed_by_force"] == 0 == report["stopped_in_a_loop"]
    page = (Path(make().folder) / "report.md").read_text()
    assert "| drafts closed after the budget | 0 |" in page and "closed after 30 tokens" in page


def test_zero_shot_has_a_folder_of_its_own_and_no_tags(make):
    config = make(zero_shot=True, output_dir=None)
    assert config.folder.name == "zero-shot" and config.style.name == "none"
    with pytest.raises(UserError, match="a student that wasn't trained writes no draft"):
        make(zero_shot=True, max_draft_tokens=9)


def test_a_dry_run_says_what_is_asked_and_asks_nothing(make, speaker):
    told = str(EVALUATE.forecast(make()))
    assert "7 problems, from this package" in told and "21, 3 of each problem" in told and not speaker.asked


def test_a_partial_copy_of_a_benchmark_says_so_in_every_figure_and_goes_to_no_leaderboard(make, tmp_path, capsys):
    """A "MATH-500" of one row: lines, page, samples, comparison, what `palign grade` makes of them, card, index."""
    place = tmp_path / "copies" / "HuggingFaceH4" / "MATH-500"
    place.mkdir(parents=True)
    golds = open_task("toy", max_samples=1).problems[0]
    row = {"problem": golds.question, "answer": golds.gold, "unique_id": "one", "subject": "toy", "level": 1}
    (place / "test.jsonl").write_text(json.dumps(row) + "\n")
    given = {"tasks": ["math_500", "toy"], "max_samples": 2, "benchmarks": str(tmp_path / "copies")}
    config = make(**given)
    reasons = {"math_500": "1 of 500 problems", "toy": "the first 2 of 500 problems"}
    report = run(config)
    assert report["settings"]["partial"] == report["partial"] == reasons
    assert {name: one["partial"] for name, one in report["benchmarks"].items()} == {
        name: {name: why} for name, why in reasons.items()
    }
    words = report["ending"].words
    assert re.search("partial +math_500 1 of 500 problems, toy the first 2 of 500 problems", words)
    assert (
        re.search("problems +3 of a part only, with 3 samples each", words)
        and "math_500 (partial)" in words
        and "math_500 is partial (1 of 500" in words
    )
    page = (config.folder / "report.md").read_text()
    assert "math\\_500 (partial: 1 of 500 problems)" in page and "toy (partial: the first 2 of 500" in page
    assert "all problems (partial: math\\_500 1 of 500 problems, toy the first" in page
    samples = read_samples(config.folder)
    assert {one.about["partial"] for one in samples if one.benchmark == "math_500"} == {"1 of 500 problems"}
    told = read_evaluation(config.folder)
    assert eval_result_files(told) == {} and model_index(told, "student") == []
    assert "math\\_500 (partial: 1 of 500 problems)" in "\n".join(evaluation_blocks(told))

    found = compare_files([str(config.folder), str(config.folder / "samples.parquet")], ["one", "two"])
    assert (
        found.overall.head()[0]
        == "all problems (partial: math_500 1 of 500 problems, toy the first 2 of 500 problems)"
    )
    assert [one.head()[0] for one in found.groups] == [
        "benchmark math_500 (partial: math_500 1 of 500 problems)",
        "benchmark toy (partial: toy the first 2 of 500 problems)",
    ]
    assert "note: math_500 is partial" in found.text() and "math\\_500 is partial" in found.page()
    assert json.loads(found.json())["partial"] == reasons
    assert all(path.is_file() for path in found.write(tmp_path / "comparison"))

    summary = grade_file(GradeConfig(file=str(config.folder), grader="exact", progress=False))
    assert summary.partial == reasons and "math_500 is partial" in summary.text()
    forecast = str(EVALUATE.forecast(config))
    assert "1 problems, from" in forecast and "(partial: 1 of 500 problems)" in forecast


def test_a_whole_benchmark_has_no_such_column_and_no_such_word(make, tmp_path):
    config = make(tasks=["toy"], max_samples=500, output_dir=str(tmp_path / "whole"))
    with EVALUATE.open(config, shown=False) as one:
        assert one.tasks[0].partial is None and "partial" not in one.rows.column_names
        identity = one.identity()
    with EVALUATE.open(make(tasks=["toy"], max_samples=None, output_dir=str(tmp_path / "all")), shown=False) as one:
        assert one.identity() == identity


def test_a_file_of_ones_own_is_evaluated_and_known_by_its_content(make, speaker, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    speaker.text = lambda prompt, seed: r"\boxed{2}"
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "1 + 1?", "gold": 2}\n{"question": "1 + 2?", "gold": 3}\n')
    first = run(make(tasks=["mine.jsonl", "toy"], max_samples=2))
    assert first["benchmarks"]["mine"]["problems"] == 2 and first["benchmarks"]["mine"]["strict"]["pass@1"] == 0.5
    assert first["settings"]["tasks"] == {"mine": "mine.jsonl", "toy": "this package"}
    assert first["settings"]["input"]["source"] == "mine, toy" and list(model_index(first, "x")) == []
    file.write_text('{"question": "1 + 1?", "gold": 2}\n{"question": "1 + 2?", "gold": 2}\n')
    other = run(make(tasks=["mine.jsonl", "toy"], max_samples=2, overwrite=True))
    assert other["settings"]["input"]["content"] != first["settings"]["input"]["content"]
    assert other["benchmarks"]["mine"]["strict"]["pass@1"] == 1.0
    with pytest.raises(UserError, match="mine.jsonl"):
        make(tasks=["mine.jsonl"], output_dir="mine.jsonl")


def test_the_page_about_problems_of_ones_own_runs(pupil, speaker, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text().split("### Problems of your own")[1]
    for name, language in (("my_problems.py", "python"), ("mine.yaml", "yaml")):
        block = re.search(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        (tmp_path / name).write_text(block[1])
    (tmp_path / "my_problems.jsonl").write_text('{"question": "What is 1 + 1?", "gold": 2}\n')
    monkeypatch.chdir(tmp_path)
    speaker.text = lambda prompt, seed: r"\boxed{2}"
    options = ["--config", "mine.yaml", "--student", str(pupil), "--ledger", "ledger", "--no-progress"]
    assert main(["evaluate", *options, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "sums       not known: `my_problems:sums` is your own" in shown
    assert "my_problems 1 problems, from my_problems.jsonl" in shown
    assert main(["evaluate", *options]) == 0
    report = json.loads(Path("runs/my-problems/report.json").read_text())
    found = {name: (one["problems"], one["strict"]["pass@1"]) for name, one in report["benchmarks"].items()}
    assert found == {"my_problems": (1, 1.0), "sums": (3, 1 / 3)}
    published = read_evaluation(Path("runs/my-problems"))
    assert published["settings"]["tasks"] == {"my_problems": "my_problems.jsonl", "sums": "my_problems:sums"}
    assert eval_result_files(published) == {} and evaluation_blocks(published)
    sys.modules.pop("my_problems")
