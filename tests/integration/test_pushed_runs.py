"""Runs that end in the Hub: under accelerate one process pushes, and a trained student comes back from it.

Slow because launched runs and whoever loads what they pushed are processes of their own, one of which trains.
"""

import sys
from pathlib import Path

import pytest
from hub_clients import run, run_python
from launching import launch
from toy_pairs import toy_pairs


pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PALIGN = [sys.executable, "-m", "palign_hf.cli"]


def test_of_two_processes_one_pushes_and_a_push_that_fails_is_told_with_the_way_to_go_on(hub, tmp_path):
    toy_pairs(6)[1].to_parquet(str(tmp_path / "traces.parquet"))
    out = tmp_path / "out"
    command = [*launch(2, "truncate.py"), "--traces.source", str(tmp_path / "traces.parquet")]
    command += ["--student", "palign-toy", "--search", "fixed(ratio=0.5)", "--output-dir", str(out)]
    command += ["--push-to-hub", "tester/rows", "--hub.config-name", "mine"]
    hub.fault("POST", "/commit/", 403)
    failed = run(hub, tmp_path / "home", command)
    assert failed.returncode != 0 and failed.stdout.count("report:") == 1, failed.stderr
    again = f"palign publish {out} tester/rows --config-name mine"
    assert failed.stderr.count("The run is whole in") == 1 and f"`{again}`" in failed.stderr
    assert hub.titles("dataset", "tester/rows") == [] and (out / "report.json").exists()
    # One looks who it is before the run, and once more when it pushes.
    assert len(hub.requests("GET", "/api/whoami")) == 2
    done = run(hub, tmp_path / "home", command)
    assert done.returncode == 0 and done.stdout.count("pushed:") == 1, done.stderr
    assert hub.titles("dataset", "tester/rows") == ["Prefixes: mine"]
    code = "from datasets import load_dataset; print(load_dataset('tester/rows', 'mine', split='train').num_rows)"
    assert run_python(hub, tmp_path / "other", code).split()[-1] == "6"
    assert run(hub, tmp_path / "home", [*PALIGN, *again.split()[1:]]).stdout.startswith("unchanged: ")
    assert hub.token not in failed.stdout + failed.stderr + done.stdout + done.stderr


def test_a_trained_student_is_pushed_whole_and_loads_anywhere(hub, tmp_path):
    pairs, traces = toy_pairs(8)
    pairs.to_parquet(str(tmp_path / "pairs.parquet"))
    traces.to_parquet(str(tmp_path / "traces.parquet"))
    given = ["training.max_steps=1", "training.save_strategy=steps", "training.save_steps=1", "eval=null", "stops=0"]
    given += [f"pairs.source={tmp_path / 'pairs.parquet'}", f"prefixes.source={tmp_path / 'traces.parquet'}"]
    given += [f"output_dir={tmp_path / 'out'}", "lora.merge=true", "push_to_hub=tester/student", "hub.private=true"]
    command = [*PALIGN, "train", "--config", str(ROOT / "recipes" / "toy" / "train_lora.yaml")]
    done = run(hub, tmp_path / "home", [*command, *(word for one in given for word in ("--set", one))])
    assert done.returncode == 0 and "pushed:" in done.stdout, done.stderr
    files = hub.files("model", "tester/student")
    assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= {*files}
    assert not [name for name in files if "checkpoint" in name or name.endswith((".bin", ".pt", ".sqlite"))]
    assert not any(str(tmp_path).encode() in content for content in files.values())
    code = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("tester/student")
tokenizer = AutoTokenizer.from_pretrained("tester/student")
print(model.num_parameters(), bool(tokenizer.chat_template))
"""
    assert run_python(hub, tmp_path / "other", code).split()[-1] == "True"
    assert hub.token not in done.stdout + done.stderr
    again = [*PALIGN, "publish", str(tmp_path / "out" / "merged"), "tester/student"]
    assert run(hub, tmp_path / "home", again).stdout.startswith("unchanged: ")
