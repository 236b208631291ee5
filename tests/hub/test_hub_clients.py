"""The Hub double under the real clients, each in a fresh process; slow, since each imports them again."""

import sys
from pathlib import Path

import pytest
import tiny
from hub_clients import run, run_hf, run_python
from hub_double import Double
from hub_preload import preload

from palign_hf.data.benchmarks import BENCHMARKS


pytestmark = pytest.mark.integration
PUSH_AND_LOAD = """
from datasets import Dataset, DatasetDict, load_dataset
rows = Dataset.from_dict({"n": list(range(50)), "text": [f"row {n}" for n in range(50)]})
splits = DatasetDict({"kept": rows, "rejected": rows.select(range(3))})
splits.push_to_hub("tester/rows", config_name="first", private=True)
rows.select(range(7)).push_to_hub("tester/rows", config_name="second", split="kept")
back = load_dataset("tester/rows", "first")
assert {name: split.num_rows for name, split in back.items()} == {"kept": 50, "rejected": 3}
assert back["kept"].to_list() == rows.to_list()
stream = load_dataset("tester/rows", "second", split="kept", streaming=True)
assert list(stream) == rows.select(range(7)).to_list()
rows.push_to_hub("tester/rows", config_name="third", create_pr=True)
"""


def test_datasets_are_pushed_loaded_and_streamed(hub, tmp_path):
    run_python(hub, tmp_path / "home", PUSH_AND_LOAD)
    held = hub.files("dataset", "tester/rows")
    assert {path for path in held if path.endswith(".parquet")} == {
        "first/kept-00000-of-00001.parquet",
        "first/rejected-00000-of-00001.parquet",
        "second/kept-00000-of-00001.parquet",
    }
    assert hub.repository("dataset", "tester/rows").private
    assert any(path.startswith("third/") for path in hub.files("dataset", "tester/rows", "refs/pr/1"))
    assert all(token not in repr(hub.log) for token in hub.state.accounts)


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    return tiny.save_student(tmp_path_factory.mktemp("student"), weights=True)


STUDENT = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model.push_to_hub("tester/student")
AutoTokenizer.from_pretrained(sys.argv[1]).push_to_hub("tester/student")
back = AutoModelForCausalLM.from_pretrained("tester/student")
assert all(torch.equal(one, other) for one, other in zip(model.state_dict().values(), back.state_dict().values()))
assert AutoTokenizer.from_pretrained("tester/student")("Wait, 12")["input_ids"]
from transformers import Trainer, TrainingArguments
settings = {"max_steps": 1, "report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no"}
hub = {"push_to_hub": True, "hub_model_id": "tester/trained", "hub_private_repo": True}
rows = [{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}] * 8
trainer = Trainer(model, TrainingArguments(sys.argv[2], **settings, **hub), train_dataset=rows)
trainer.train()
trainer.push_to_hub(tags=["prefixes"])
"""


def test_a_student_is_pushed_loaded_and_pushed_by_the_trainer(hub, tmp_path, student):
    run_python(hub, tmp_path / "home", STUDENT, str(student), str(tmp_path / "trained"))
    assert hub.files("model", "tester/student")["model.safetensors"] == (student / "model.safetensors").read_bytes()
    assert hub.requests("PUT", "/upload/tester/student/")
    assert hub.repository("model", "tester/trained").private
    assert b"- prefixes" in hub.files("model", "tester/trained")["README.md"]
    assert "model.safetensors" in hub.files("model", "tester/trained")


TRACKER = """
import json, sys
from datasets import Dataset, load_dataset
from lighteval.logging.evaluation_tracker import EvaluationTracker
tracker = EvaluationTracker(sys.argv[1], push_to_hub=True, hub_results_org="tester")
tracker.general_config_logger.model_name = "tester/student"
results = {"results": {"aime|0": {"pass@1": 0.5}}, "versions": {}, "config_general": {}}
details = {"aime|0": Dataset.from_dict({"n": [1, 2]})}
tracker.push_to_hub("2026-01-01T10-57-04.203304", details, results)
rows = load_dataset("tester/details_tester__student_private", "aime_0", split="latest")
assert rows["n"][:] == [1, 2]
"""


def test_the_tracker_of_lighteval_pushes_results_and_details(hub, tmp_path):
    run_python(hub, tmp_path / "home", TRACKER, str(tmp_path / "output"))
    held = hub.files("dataset", "tester/details_tester__student_private")
    assert {"README.md", "results_2026-01-01T10-57-04.203304.json"} < set(held)
    assert hub.repository("dataset", "tester/details_tester__student_private").private


XET = """
import sys
from huggingface_hub import HfApi, hf_hub_download
from datasets import Dataset, load_dataset
api = HfApi()
api.create_repo("tester/student")
api.upload_folder(repo_id="tester/student", folder_path=sys.argv[1], create_pr=True)
api.upload_folder(repo_id="tester/student", folder_path=sys.argv[1])
got = hf_hub_download("tester/student", "model.safetensors")
assert open(got, "rb").read() == open(sys.argv[1] + "/model.safetensors", "rb").read()
rows = Dataset.from_dict({"n": list(range(50))})
rows.push_to_hub("tester/rows")
assert load_dataset("tester/rows", split="train").to_list() == rows.to_list()
assert list(load_dataset("tester/rows", split="train", streaming=True)) == rows.to_list()
"""


def test_large_files_go_and_come_by_xet(tmp_path, student):
    with Double(tmp_path / "hub", xet=True) as hub:
        run_python(hub, tmp_path / "home", XET, str(student))
        assert not hub.unknown() and not hub.requests("PUT")
        assert hub.requests("GET", r"/xet-write-token/main\?create_pr=1") and hub.requests("GET", "/xet-read-token/")
        weights = (student / "model.safetensors").read_bytes()
        assert hub.files("model", "tester/student")["model.safetensors"] == weights
        assert hub.files("model", "tester/student", "refs/pr/1")["model.safetensors"] == weights
        # A client without Xet gets the bytes from the second port.
        code = "from huggingface_hub import hf_hub_download as get; get('tester/student', 'model.safetensors')"
        run_python(hub, tmp_path / "other", code, xet=False)
        assert hub.requests("GET", place="cdn")


def test_the_hf_command_uploads_and_downloads(hub, tmp_path):
    folder = tmp_path / "results"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "one.json").write_text("{}")
    (folder / "weights.bin").write_bytes(b"w" * 1000)
    sent = run_hf(hub, tmp_path / "home", "upload", "tester/results", str(folder), "--repo-type", "dataset")
    assert sent.returncode == 0, sent.stderr
    assert hub.files("dataset", "tester/results")["weights.bin"] == b"w" * 1000
    options = ["--repo-type", "dataset", "--local-dir", str(tmp_path / "got")]
    got = run_hf(hub, tmp_path / "home", "download", "tester/results", *options)
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "got" / "deep" / "one.json").read_text() == "{}"
    refused = run_hf(hub, tmp_path / "home", "upload", "tester/results", str(folder), token=hub.read_token)
    assert refused.returncode != 0 and "403" in refused.stderr + refused.stdout


PINNED = """
import sys
from datasets import load_dataset
from palign_hf.data.benchmarks import BENCHMARKS
for name, known in BENCHMARKS.items():
    rows = load_dataset(known.hub_id, known.config, split=known.split, revision=known.revision)
    print(name, rows.num_rows, known.column in rows.column_names)
"""


def test_preloaded_datasets_answer_at_their_pinned_commits(hub, tmp_path, shared_data):
    names = preload(hub, shared_data / "hub")
    assert {known.hub_id for known in BENCHMARKS.values()} < set(names)
    told = dict(line.split(maxsplit=1) for line in run_python(hub, tmp_path / "home", PINNED).splitlines())
    assert set(told) == set(BENCHMARKS) and all(line.endswith(" True") for line in told.values())
    lines = (shared_data / "hub" / "openai" / "gsm8k" / "main" / "test.jsonl").read_text().splitlines()
    assert told["GSM8K"] == f"{len(lines)} True"


def test_a_process_without_a_token_sees_what_is_public(hub, tmp_path):
    hub.create("dataset", "tester/open")
    hub.commit("dataset", "tester/open", {"data.jsonl": b'{"n": 1}\n'})
    hub.create("dataset", "tester/secret", private=True)
    load = [
        sys.executable,
        "-c",
        "import sys, datasets; print(len(datasets.load_dataset(sys.argv[1], split='train')))",
    ]
    assert run(hub, tmp_path / "home", [*load, "tester/open"], token="").stdout == "1\n"
    refused = run(hub, tmp_path / "home", [*load, "tester/secret"], token="")
    assert refused.returncode == 1 and "DatasetNotFoundError" in refused.stderr
