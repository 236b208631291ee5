"""Evaluation whose problems come from the Hub double under their real ids, at the commits that the package names.

Slow for two processes: one that imports torch, and one that imports lighteval as well.
"""

import json
import sys

import pytest
from hub_clients import run
from hub_preload import preload

from palign_hf.data.benchmarks import BENCHMARKS
from palign_hf.toy import student_folder


pytestmark = pytest.mark.integration

FOUR = {"math_500": "MATH-500", "aime24": "AIME24", "aime25": "AIME25", "amc12": "AMC12"}


def test_a_recipe_reads_its_four_benchmarks_at_their_commits(hub, tmp_path, shared_data):
    preload(hub, shared_data / "hub")
    command = [sys.executable, "-m", "palign_hf.cli", "evaluate", "--config", "qwen3-1.7b/evaluate.yaml"]
    command += [
        "--student",
        "palign-toy",
        "--max-samples",
        "1",
        "--n",
        "1",
        "--max-tokens",
        "16",
        "--max-model-len",
        "2048",
    ]
    command += ["--engine", "transformers", "--engine-options", "{}"]
    command += ["--ledger", str(tmp_path / "ledger"), "--output-dir", str(tmp_path / "out")]
    done = run(hub, tmp_path / "home", command)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    known = {task: BENCHMARKS[name] for task, name in FOUR.items()}
    assert report["settings"]["tasks"] == {task: f"{one.hub_id}@{one.revision[:8]}" for task, one in known.items()}
    assert {task: one["problems"] for task, one in report["benchmarks"].items()} == dict.fromkeys(FOUR, 1)
    for one in known.values():
        assert hub.requests("GET", f"/datasets/{one.hub_id}/resolve/{one.revision}/.*jsonl"), one.hub_id


def test_lightevals_own_command_line_reads_them_too(hub, tmp_path, shared_data):
    preload(hub, shared_data / "hub")
    command = ["env", f"PALIGN_HOME={tmp_path / 'palign'}", "PALIGN_SAMPLES=1", sys.executable]
    command += ["-m", "palign_hf.lighteval", "accelerate", "model_name=tester/student,max_length=256", "palign:aime25"]
    command += ["--custom-tasks", "palign_hf.evaluation.tasks", "--max-samples", "1"]
    command += ["--output-dir", str(tmp_path / "out")]
    hub.create("model", "tester/student")
    files = {path.name: path.read_bytes() for path in student_folder().iterdir() if path.is_file()}
    told = json.loads(files["generation_config.json"]) | {"do_sample": True}
    hub.commit("model", "tester/student", {**files, "generation_config.json": json.dumps(told).encode()})
    done = run(hub, tmp_path / "home", command)
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results_*.json")
    assert "palign:aime25|0" in json.loads(results.read_text())["results"]
    known = BENCHMARKS["AIME25"]
    assert hub.requests("GET", f"/datasets/{known.hub_id}/resolve/{known.revision}/.*jsonl")
