"""What an evaluation says to leaderboards: whole benchmarks, pinned where they are, each figure with what it means."""

import json

import pytest
import yaml
from finished_runs import evaluation_run
from huggingface_hub import EvalResultEntry
from huggingface_hub._eval_results import parse_eval_result_entries

from palign_hf.hub.eval_results import eval_result_files, model_index, read_evaluation, results
from palign_hf.hub.model_card import evaluation_blocks
from palign_hf.tables import escaped


def entries(folder) -> dict[str, EvalResultEntry]:
    files = eval_result_files(read_evaluation(folder))
    return {path: parse_eval_result_entries(yaml.safe_load(text))[0] for path, text in files.items()}


def test_each_figure_has_its_file_and_its_meaning(tmp_path):
    found = entries(evaluation_run(tmp_path / "run"))
    assert sorted(found) == [
        ".eval_results/palign_aime25_pass_at_1.yaml",
        ".eval_results/palign_aime25_pass_at_3.yaml",
        ".eval_results/palign_gsm8k_pass_at_1.yaml",
        ".eval_results/palign_gsm8k_pass_at_3.yaml",
    ]
    one, three = (found[f".eval_results/palign_aime25_pass_at_{k}.yaml"] for k in (1, 3))
    assert (one.dataset_id, one.task_id, one.value) == ("yentinglin/aime_2025", "default", 20.0)
    assert one.dataset_revision == "6f71d77b0b89b9dabe07ab466c51df33f514df7f"
    assert one.date == "2026-01-02T03:04:05+00:00" and three.value == 40.0
    assert one.notes.startswith("pass@1: share of right samples, 30 problems, 90 samples in all; strict")
    assert three.notes.startswith("pass@3: chance that one of 3 samples is right")
    assert "95 % interval 10.0% to 30.0%; temperature 0.6, top_p 0.9" in one.notes


def test_a_copy_of_a_benchmark_is_not_pinned(tmp_path):
    copied = entries(evaluation_run(tmp_path / "run"))[".eval_results/palign_gsm8k_pass_at_1.yaml"]
    assert (copied.dataset_id, copied.task_id, copied.dataset_revision) == ("openai/gsm8k", "main", None)
    assert "from a copy of the benchmark, compared with the pinned revision" in copied.notes


def test_another_commit_than_ours_is_not_taken_for_it(tmp_path):
    tasks = {"aime25": "yentinglin/aime_2025@01234567"}
    found = results(read_evaluation(evaluation_run(tmp_path / "run", settings={"tasks": tasks})))
    assert {one.revision for one in found} == {None} and {one.task for one in found} == {"aime25"}


@pytest.mark.parametrize("name", ["max_samples", "limit"])  # the second as the last release has it
def test_a_part_of_a_benchmark_is_no_result_of_it(tmp_path, name):
    told = read_evaluation(evaluation_run(tmp_path / "run", settings={name: 10}))
    assert eval_result_files(told) == {} and model_index(told, "student") == []


def changed(folder, task, **figures):
    """The evaluation with other figures of a task."""
    told = json.loads((evaluation_run(folder) / "report.json").read_text())
    told["benchmarks"][task] |= figures
    (folder / "report.json").write_text(json.dumps(told))
    return read_evaluation(folder)


@pytest.mark.parametrize(
    ("task", "figures"),
    [
        ("gsm8k", {"problems": 1}),
        ("gsm8k", {"problems": 1320}),
        ("aime25", {"problems": 29}),
        ("gsm8k", {"partial": {"gsm8k": "1319 problems, not all of them those of the pinned revision"}}),
        ("aime25", {"partial": {"aime25": "the first 10 of 30 problems"}}),
    ],
)
def test_a_partial_copy_is_no_result_of_its_benchmark_and_the_others_are(tmp_path, task, figures):
    told = changed(tmp_path / "run", task, **figures)
    (other,) = {"gsm8k", "aime25"} - {task}
    assert {path.split("_")[2] for path in eval_result_files(told)} == {other}
    assert {one.task for one in results(told)} == {other}
    assert [len(one["metrics"]) for one in model_index(told, "student")[0]["results"]] == [2]
    card = "\n".join(evaluation_blocks(told))
    assert all(f"partial: {escaped(why)}" in card for why in figures.get("partial", {}).values())


def test_a_copy_that_an_earlier_release_has_read_is_no_result(tmp_path):
    told = read_evaluation(evaluation_run(tmp_path / "run"))
    for figures in told["benchmarks"].values():
        del figures["partial"]
    assert {one.task for one in results(told)} == {"aime25"}


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    one, two = (eval_result_files(read_evaluation(evaluation_run(tmp_path / name))) for name in ("one", "two"))
    assert one == two and all(text.isascii() for text in one.values())


def test_what_has_no_place_on_the_hub_is_in_no_index(tmp_path):
    told = read_evaluation(evaluation_run(tmp_path / "run", settings={"tasks": {"toy": "this package"}}))
    assert model_index(told, "student") == [] and eval_result_files(told) == {}
