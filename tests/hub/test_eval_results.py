"""What an evaluation says to leaderboards: whole benchmarks, pinned where they are, each figure with what it means."""

import yaml
from finished_runs import evaluation_run
from huggingface_hub import EvalResultEntry
from huggingface_hub._eval_results import parse_eval_result_entries

from palign_hf.hub.eval_results import eval_result_files, model_index, read_evaluation, results


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
    assert "from a copy of the benchmark" in copied.notes


def test_another_commit_than_ours_is_not_taken_for_it(tmp_path):
    tasks = {"aime25": "yentinglin/aime_2025@01234567"}
    found = results(read_evaluation(evaluation_run(tmp_path / "run", settings={"tasks": tasks})))
    assert {one.revision for one in found} == {None} and {one.task for one in found} == {"aime25"}


def test_a_part_of_a_benchmark_is_no_result_of_it(tmp_path):
    told = read_evaluation(evaluation_run(tmp_path / "run", settings={"limit": 10}))
    assert eval_result_files(told) == {}
    names = {one["dataset"]["name"] for one in model_index(told, "student")[0]["results"]}
    assert names == {"AIME25 (first 10 problems)", "GSM8K (first 10 problems)"}


def test_the_same_evaluation_gives_the_same_bytes(tmp_path):
    one, two = (eval_result_files(read_evaluation(evaluation_run(tmp_path / name))) for name in ("one", "two"))
    assert one == two and all(text.isascii() for text in one.values())


def test_what_has_no_place_on_the_hub_is_in_no_index(tmp_path):
    told = read_evaluation(evaluation_run(tmp_path / "run", settings={"tasks": {"toy": "this package"}}))
    assert model_index(told, "student") == [] and eval_result_files(told) == {}
