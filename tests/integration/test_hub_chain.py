"""From traces on the Hub to a measured student there, by its commands alone, against the Hub double.

Slow: seven processes import torch or `datasets` anew, each with an empty cache, so that all they read comes over HTTP.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from chained import Chain
from hub_clients import run_python
from hub_double import Double

from palign_hf.data.benchmarks import BENCHMARKS
from palign_hf.toy import traces


pytestmark = pytest.mark.integration

ROWS = 12
AIME = BENCHMARKS["AIME25"]
PUSH = """
import sys
from datasets import Dataset
Dataset.from_parquet(sys.argv[1]).push_to_hub("tester/traces", "toy", split="test")
"""
DATASETS, STUDENT = ("prefixes", "pairs", "results"), "tester/student"
CONFIGS = {"prefixes": "palign-toy-ascend", "pairs": "palign-toy-pairs-prompt", "results": "tester-student-evaluation"}


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """The whole chain, run once: each stage reads by its id what the one before has pushed."""
    folder = tmp_path_factory.mktemp("chain")
    problems = traces("test").select(range(ROWS))
    problems.to_parquet(str(folder / "traces.parquet"))
    with Double(folder / "hub") as double:
        found = Chain(double, folder)
        double.create("dataset", AIME.hub_id)
        # As many problems as the benchmark has: a part of it would be published as such, and to no leaderboard.
        asked = traces("test").select(range(AIME.rows))
        lines = [{"id": row["id"], "problem": row["question"], "answer": row["answer"]} for row in asked]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        double.commit("dataset", AIME.hub_id, {"train.jsonl": text.encode()}, commit_id=AIME.revision)
        run_python(double, folder / "home-traces", PUSH, str(folder / "traces.parquet"))
        read = ["--traces.source", "tester/traces", "--traces.config", "toy", "--traces.split", "test"]
        found.stage("truncate", "tester/prefixes", "--student", "palign-toy", *read, "--hub.license", "cc-by-4.0")
        read = ["--prefixes.source", "tester/prefixes", "--prefixes.split", "train"]
        found.stage("align", "tester/pairs", "--student", "palign-toy", "--n", "2", *read)
        steps = ["use_cpu=true", "bf16=false", "max_steps=2", "per_device_train_batch_size=2", "max_length=2048"]
        training = [word for one in steps for word in ("--set", f"training.{one}")]
        found.stage("train", STUDENT, "--student", "palign-toy", "--pairs.source", "tester/pairs", *training)
        asked = ["--tasks", "aime25", "--n", "1", "--max-tokens", "64"]
        found.stage("evaluate", "tester/results", "--student", STUDENT, *asked)
        found.twice("publish", "publish", str(folder / "runs" / "evaluate"), "tester/results", "--model", STUDENT)
        yield found
        assert not double.unknown()


def test_the_hub_holds_all_of_it_once(chain):
    hub = chain.double
    assert hub.titles("dataset", "tester/prefixes") == ["Prefixes: palign-toy-ascend"]
    assert hub.titles("dataset", "tester/pairs") == ["Pairs: palign-toy-pairs-prompt"]
    assert hub.titles("model", STUDENT) == ["Student: palign-toy-p-align", "Results: tester-student-evaluation"]
    assert hub.titles("dataset", "tester/results") == ["Evaluation: tester-student-evaluation"]
    for name, splits in {"prefixes": ["train"], "pairs": ["train", "rejected"]}.items():
        files, config = hub.files("dataset", f"tester/{name}"), CONFIGS[name]
        wanted = {f"{config}/{split}-00000-of-00001.parquet" for split in splits}
        wanted |= {f"reports/{config}/report.{kind}" for kind in ("json", "md")}
        wanted |= {f"pictures/{config}/{picture}.png" for picture in ("prefix_ratio", "lengths")}
        view = {f"sft/{config}/train-00000-of-00001.parquet"} if name == "pairs" else set()
        assert {*files} == wanted | view | {"README.md", ".gitattributes"}
        made = chain.folder / "runs" / {"prefixes": "truncate", "pairs": "align"}[name] / "data"
        for split in splits:
            table = f"{split}-00000-of-00001.parquet"
            assert files[f"{config}/{table}"] == (made / table).read_bytes()
    files = {path.split("/")[0] for path in hub.files("dataset", "tester/results")}
    assert files == {".gitattributes", "README.md", "lighteval", "reports", "tester-student-evaluation"}
    assert ".eval_results/palign_aime25_pass_at_1.yaml" in hub.files("model", STUDENT)


def test_a_finished_command_that_is_given_again_changes_nothing(chain):
    assert {*chain.said} == {"truncate", "align", "train", "evaluate", "publish"}
    for name, (first, again) in chain.said.items():
        assert "unchanged: " in again and "pushed: " not in again, name
        assert "pushed: " in first, name


def test_each_stage_read_what_the_one_before_has_pushed(chain):
    hub = chain.double
    for name, source in {"prefixes": "traces", "pairs": "prefixes"}.items():
        files, config = hub.files("dataset", f"tester/{name}"), CONFIGS[name]
        told = json.loads(files[f"reports/{config}/report.json"])["settings"]["input"]
        commit = hub.repository("dataset", f"tester/{source}").find("main").id
        assert (told["source"], told["revision"]) == (f"tester/{source}", commit)
        card = files["README.md"].decode()
        assert f"source_datasets:\n- tester/{source}\n" in card and f"revision {commit}" in card
    files = hub.files("model", STUDENT)
    told = json.loads(files["reports/palign-toy-p-align/report.json"])["settings"]["input"]
    assert told["source"] == "tester/pairs"
    assert told["revision"] == hub.repository("dataset", "tester/pairs").find("main").id
    assert b"datasets: tester/pairs\n" in files["README.md"]
    told = json.loads(hub.files("dataset", "tester/results")["reports/tester-student-evaluation/report.json"])
    trained = hub.repository("model", STUDENT).history("main")[1]
    assert told["settings"]["student"] == {"commit": trained.id, "name": STUDENT}
    assert told["settings"]["tasks"] == {"aime25": f"{AIME.hub_id}@{AIME.revision[:8]}"}


def test_cards_tell_what_was_measured(chain):
    hub = chain.double
    card = hub.files("dataset", "tester/prefixes")["README.md"].decode()
    assert "license: cc-by-4.0\n" in card and f"| rows in | {ROWS} |" in card and "Verified: nothing." in card
    rows = pq.read_table(chain.folder / "runs" / "align" / "data" / "train-00000-of-00001.parquet").num_rows
    card = hub.files("dataset", "tester/pairs")["README.md"].decode()
    assert f"| rows kept | {rows} |" in card and f"{rows} pairs are kept" in card
    card = hub.files("model", STUDENT)["README.md"].decode()
    assert "## Evaluation" in card and f"| problems | {AIME.rows} |" in card and "| draft | " in card
    (figure,) = yaml.safe_load(hub.files("model", STUDENT)[".eval_results/palign_aime25_pass_at_1.yaml"])
    assert figure["dataset"] == {"id": AIME.hub_id, "task_id": "default", "revision": AIME.revision}
    told = json.loads((chain.folder / "runs" / "evaluate" / "report.json").read_text())
    assert figure["value"] == pytest.approx(100 * told["benchmarks"]["aime25"]["strict"]["pass@1"], abs=0.01)


LOADED = """
import json
from datasets import load_dataset
from huggingface_hub import ModelCard, hf_hub_download
from palign_hf import load_prefixes
from palign_hf.data.pairs import load_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained("tester/student")
model = AutoModelForCausalLM.from_pretrained("tester/student")
prompt = tokenizer.apply_chat_template([{"role": "user", "content": "1 + 1?"}], add_generation_prompt=True,
    return_tensors="pt", return_dict=True)
wrote = model.generate(**prompt, max_new_tokens=4)
card = ModelCard.load("tester/student")
(result,) = card.data.eval_results
print(json.dumps({
    "prefixes": load_dataset("tester/prefixes", split="train").to_list() == load_prefixes("tester/prefixes").to_list(),
    "pairs": load_dataset("tester/pairs", split="train").to_list() == load_pairs("tester/pairs").to_list(),
    "streamed": len(list(load_dataset("tester/pairs", split="rejected", streaming=True))),
    "view": load_dataset("tester/pairs", "palign-toy-pairs-prompt-sft", split="train").column_names,
    "samples": len(load_dataset("tester/results", split="samples")),
    "result": [result.dataset_type, result.dataset_revision, result.metric_type, result.metric_value],
    "model": [card.data.model_name, card.data.datasets, wrote.shape[1] > prompt["input_ids"].shape[1]],
    "file": open(hf_hub_download("tester/student", ".eval_results/palign_aime25_pass_at_1.yaml")).read(),
}))
"""


def test_all_of_it_comes_back_into_a_fresh_process(chain):
    told = json.loads(run_python(chain.double, chain.folder / "home-loaded", LOADED).splitlines()[-1])
    assert told["prefixes"] and told["pairs"] and told["samples"] == AIME.rows
    assert (
        told["streamed"] == json.loads((chain.folder / "runs/align/report.json").read_text())["statuses"]["rejected"]
    )
    assert told["view"] == ["id", "prompt", "completion"]
    (figure,) = yaml.safe_load(told["file"])
    assert told["result"] == [AIME.hub_id, AIME.revision, "pass@1", figure["value"]]
    assert told["model"][1:] == ["tester/pairs", True]


def test_no_key_and_no_place_of_this_machine_gets_anywhere(chain):
    key, here = chain.double.token.encode(), str(chain.folder).encode()
    said = "\n".join([text for both in chain.said.values() for text in both] + chain.errors)
    assert key.decode() not in said
    for kind, name in [*(("dataset", f"tester/{name}") for name in DATASETS), ("model", STUDENT)]:
        for path, content in chain.double.files(kind, name).items():
            assert key not in content and here not in content, path
    assert any((chain.folder / "ledger").rglob("*"))
    for home in ("runs", "ledger"):
        for file in (path for path in (chain.folder / home).rglob("*") if path.is_file()):
            assert key not in _bytes(file), file


def _bytes(file: Path) -> bytes:
    """What a file holds; of a table what one reads in it."""
    return repr(pq.read_table(file).to_pylist()).encode() if file.suffix == ".parquet" else file.read_bytes()
