"""Recorded outputs through lighteval's pipeline: the labels and figures are those that are counted here by hand.

lighteval's own files are read back; nothing is taken from our counting code.
"""

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from made_samples import sample

from palign_hf.errors import UserError
from palign_hf.evaluation.backend import write_results
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.evaluation.tasks import Task
from palign_hf.evaluation.transform import StudentEvaluation


N = 4
# What a student wrote to each of three problems, and which of it is right by its box, and by any reading.
WRITTEN = {
    "12": [
        (r"So it is \boxed{12}.", True, True),
        (r"<Begin_of_Prefix>We have 12<End_of_Prefix>\boxed{13}", False, False),
        (r"\boxed{12.0}", True, True),
        ("", False, False),
    ],
    r"\frac{1}{2}": [
        (r"\boxed{0.5}", True, True),
        (r"\boxed{\frac{2}{4}}", True, True),
        (r"The final answer is $\frac{1}{2}$.", False, True),
        (r"\boxed{2}", False, False),
    ],
    "7": [(r"<Begin_of_Prefix>never ends", False, False)] * N,
}


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    """The pipeline over these outputs, graded by the stock pool as any other backend's are."""
    from palign_hf.evaluation import backend

    backend.install(downloads=False)
    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import SamplingMethod

    from palign_hf.evaluation.tasks import document, metric, problem_of

    found = {}
    one = metric(N)
    for at, (gold, texts) in enumerate(WRITTEN.items()):
        problem = problem_of("aime24", {"id": at, "problem": f"Problem {at}?", "answer": gold})
        doc = document(problem, "palign:aime24|0")
        response = ModelResponse(text=[text for text, *_ in texts], output_tokens=[[1] * len(t) for t, *_ in texts])
        values = one.compute_sample(doc=doc, model_response=response)
        found[gold] = values, doc.specific["samples"]
    assert one.category == SamplingMethod.GENERATIVE and one.sample_level_fn.num_samples() == N
    return found


def test_each_sample_has_the_labels_that_it_should_have(replayed):
    for gold, (_, rows) in replayed.items():
        expected = WRITTEN[gold]
        assert [row["strict"] for row in rows] == [strict for _, strict, _ in expected]
        assert [row["lenient"] for row in rows] == [lenient for *_, lenient in expected]
        assert [row["boxed"] for row in rows] == ["boxed" in text for text, *_ in expected]
        assert [row["draft"] for row in rows] == [text.startswith("<Begin") for text, *_ in expected]
        open_ones = [bool(text) and not (text.startswith("<Begin") and "<End" not in text) for text, *_ in expected]
        assert [row["closed"] for row in rows] == open_ones


def test_measures_are_those_over_all_subsets(replayed):
    for gold, (values, _) in replayed.items():
        for verdict, place in (("strict", 1), ("lenient", 2)):
            right = [one[place] for one in WRITTEN[gold]]
            for k in range(1, N + 1):
                subsets = [any(right[i] for i in one) for one in combinations(range(N), k)]
                assert values[f"{verdict}_pass@{k}"] == pytest.approx(sum(subsets) / len(subsets))
            assert values[f"{verdict}_avg@{N}"] == pytest.approx(sum(right) / N)
        lengths = [len(text) for text, *_ in WRITTEN[gold]]
        assert values["tokens"] == pytest.approx(sum(lengths) / N)
        # Why a sample of another backend ended isn't known, so nothing is said of it.
        assert "cut" not in values


def test_a_missing_sample_is_refused(replayed):
    from lighteval.models.model_output import ModelResponse

    from palign_hf.evaluation.tasks import document, metric, problem_of

    doc = document(problem_of("aime24", {"id": 1, "problem": "q", "answer": "1"}), "t")
    with pytest.raises(UserError, match="2 samples of the problem .* and 3 were asked for"):
        metric(3).compute_sample(doc=doc, model_response=ModelResponse(text=["a", "b"]))


def test_who_draws_lends_its_tokenizer(pupil):
    from palign_hf.evaluation import backend

    backend.install(downloads=False)
    from palign_hf.evaluation.backend import Recorded, StudentModel

    drawing = StudentEvaluation(str(pupil), engine="transformers")
    model = StudentModel(drawing, "me/student")
    assert model.tok_encode("So it is 4.") == drawing.runner.tokenizer.encode("So it is 4.", add_special_tokens=False)
    with pytest.raises(UserError, match="Recorded samples have no tokenizer"):
        _ = StudentModel(Recorded([], 3), "me/student").tokenizer


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict]:
    """Samples that were labelled before, in lighteval's files: of two benchmarks with 5 and 2 problems."""
    folder = tmp_path_factory.mktemp("lighteval") / "out"
    folder.mkdir()
    (folder / "notes.txt").write_text("")
    samples, tasks = [], []
    for name, count in (("aime24", 5), ("amc12", 2)):
        rows = [{"id": at % 2, "problem": f"{name} {at}?", "answer": "1"} for at in range(count)]
        tasks.append(Task(name, Dataset.from_list(rows)))
        for at, problem in enumerate(tasks[-1].problems):
            for number in range(3):
                text = None if number == 2 else f"{at} {number}"
                known = {"benchmark": name, "question": problem.question, "text": text, "cut": False, "tokens": at}
                samples.append(sample(problem.id, number, right=number < at % 3, draft_tokens=0, **known))
    settings = EvaluationSettings("me/student", max_tokens=99)
    return folder, write_results(folder, tasks, samples, settings, "me/student")


def test_lighteval_aggregates_what_was_labelled(written):
    _, results = written
    right = {"aime24": [at % 3 for at in range(5)], "amc12": [0, 1]}
    for name, counts in right.items():
        assert results[name]["strict_pass@1"] == pytest.approx(sum(counts) / 3 / len(counts))
        assert results[name]["lenient_pass@3"] == pytest.approx(sum(map(bool, counts)) / len(counts))
    assert results["aime24"]["tokens"] == 2 and results["amc12"]["cut"] == 0


def test_lightevals_files_lie_in_its_own_layout_and_hold_all_labels(written):
    folder, _ = written
    assert {path.name for path in folder.iterdir()} == {"results", "details", "notes.txt"}
    (results,) = (folder / "results" / "me" / "student").glob("results_*.json")
    told = json.loads(results.read_text())
    assert told["config_general"]["model_config"]["generation_parameters"]["temperature"] == 0.6
    assert told["config_tasks"]["palign:aime24|0"]["generation_size"] == 99
    assert told["config_tasks"]["palign:aime24|0"]["hf_repo"] == "HuggingFaceH4/aime_2024"
    files = {path.name.split("_")[1]: path for path in (folder / "details").rglob("*.parquet")}
    rows = pq.read_table(files["palign:aime24|0"]).to_pylist()
    assert len(rows) == 5 and len(pq.read_table(files["palign:amc12|0"])) == 2
    for row in rows:
        at = int(row["doc"]["id"])
        labels = row["doc"]["specific"]["samples"]
        assert [one["strict"] for one in labels] == [number < at % 3 for number in range(3)]
        assert row["model_response"]["text"] == [f"{at} 0", f"{at} 1", ""]


def test_samples_that_lack_one_are_refused_before_anything_is_written(tmp_path):
    task = Task("aime24", Dataset.from_list([{"id": 1, "problem": "q", "answer": "1"}]))
    samples = [sample("1", number, benchmark="aime24", question="q") for number in range(2)]
    with pytest.raises(UserError, match="has 2 recorded samples, and 3 are needed"):
        write_results(tmp_path / "out", [task], samples, EvaluationSettings("x"), "x")
    assert not (tmp_path / "out").exists()


def test_the_tasks_are_there_under_their_names(monkeypatch, tmp_path):
    from palign_hf.evaluation import backend

    backend.install(downloads=False)
    from palign_hf.data.benchmarks import BENCHMARKS, VARIABLE
    from palign_hf.evaluation import tasks

    monkeypatch.setenv("PALIGN_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    table = {one.name: one for one in tasks.TASKS_TABLE}
    assert set(table) == {f"palign:{name}" for name in ("math_500", "aime24", "aime25", "amc12", "gsm8k", "toy")}
    for name, known in (("math_500", "MATH-500"), ("gsm8k", "GSM8K")):
        one = table[f"palign:{name}"]
        assert (one.hf_repo, one.hf_revision) == (BENCHMARKS[known].hub_id, BENCHMARKS[known].revision)
        assert one.metrics[0].sample_level_fn.num_samples() == 3 and one.generation_size == 4096
    monkeypatch.setenv("PALIGN_SAMPLES", "5")
    assert tasks.TASKS_TABLE[0].metrics[0].sample_level_fn.num_samples() == 5
    monkeypatch.setenv("PALIGN_SAMPLES", "none")
    with pytest.raises(UserError, match="`PALIGN_SAMPLES=none` is no number of samples"):
        tasks.TASKS_TABLE  # noqa: B018


def test_the_prompt_of_a_task_is_the_message_of_training():
    from palign_hf.evaluation import backend

    backend.install(downloads=False)
    from palign_hf.evaluation.tasks import tasks_table
    from palign_hf.prompts import SOLVE

    (one,) = tasks_table(["amc12"])
    doc = one.prompt_function({"id": 0, "problem": "How many? ", "answer": 142.0}, "palign:amc12")
    assert doc.query == SOLVE.message("How many? ") and doc.get_golds() == ["142"]


def test_what_would_fail_at_import_is_stood_in_for_and_no_more():
    import sys

    from palign_hf.evaluation import backend

    backend.install()
    for name in ("mt_bench.main", "mix_eval.main", "tiny_benchmarks"):
        assert not hasattr(sys.modules[f"lighteval.tasks.tasks.{name}"], "TASKS_TABLE")
    assert backend.install() == []


def test_whoever_evaluates_can_train_and_read_afterwards():
    """lighteval turns gradients off for the whole process when it is imported, and lets numbers be of great length."""
    code = (
        "import sys, torch; from palign_hf.evaluation import backend, tasks; "
        "backend.install(downloads=False); import lighteval.pipeline; from lighteval.tasks.registry import Registry; "
        "Registry(tasks='palign:toy|0', custom_tasks='palign_hf.evaluation.tasks'); "
        "print(torch.is_grad_enabled(), sys.get_int_max_str_digits() == sys.int_info.default_max_str_digits)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split()[-2:] == ["True", "True"]
