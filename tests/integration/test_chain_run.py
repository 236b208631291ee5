"""`palign run` on the toy student: undisturbed, killed, and given a second time."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


pytestmark = pytest.mark.integration

SMALL = {
    "engine": "transformers",
    "max_samples": 8,
    "align.n": 1,
    "align.max_tokens": 60,
    "train.eval": "null",
    "train.stops": 0,
    "train.training.num_train_epochs": 1,
    "evaluate.n": 1,
    "evaluate.max_samples": 4,
    "evaluate.max_tokens": 40,
    "arms": "[p-align, label]",
}


def command(out: Path, *more: str) -> list[str]:
    values = [*(f"{key}={value}" for key, value in SMALL.items()), f"output_dir={out}"]
    options = [word for one in values for word in ("--set", one)]
    return [sys.executable, "-m", "palign_hf.cli", "run", "toy/pipeline.yaml", *options, *more]


def alone(out: Path) -> dict[str, str]:
    """An environment with ledgers of its own."""
    return os.environ | {"PALIGN_HOME": str(out.parent / "home")}


def run(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(out, *more), capture_output=True, text=True, env=alone(out))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    began = time.monotonic()
    done = run(out)
    assert done.returncode == 0, done.stderr[-3000:]
    (out.parent / "seconds").write_text(str(time.monotonic() - began))
    return out


def results(out: Path) -> dict[str, bytes]:
    """Tables and weights: what doesn't hold times and dates."""
    wanted = [*out.rglob("*.parquet"), *out.rglob("model.safetensors")]
    found = [path for path in wanted if "checkpoint-" not in str(path) and "details" not in path.parts]
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def stamps(out: Path) -> dict[str, int]:
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.name != "run.log"
    }


def test_the_arms_are_compared_in_one_table_of_the_same_pairs(whole):
    record = json.loads((whole / "run.json").read_text())
    steps = record["steps"]
    trained = [one for one in steps.values() if one["stage"] == "train"]
    assert len(trained) == 2 and len({json.dumps(one["reads"]) for one in trained}) == 1
    read = [one["inputs"] for one in trained]
    assert read[0] == read[1] and read[0]["pairs.source"] == steps["align"]["tables"] is not None
    figures = json.loads((whole / "comparison" / "comparison.json").read_text())
    assert figures["models"] == ["before", "p-align", "label"] and {*figures["differences"]["strict pass@1"]} == {
        "p-align",
        "label",
    }
    page = (whole / "report.md").read_text()
    assert "| label - before |" in page and (whole / "comparison" / "comparison.png").is_file()
    assert all(
        one["versions"]["palign-hf"] and one["seconds"] >= 0 for one in steps.values() if one["stage"] != "compare"
    )


def test_a_second_run_does_nothing(whole):
    before = stamps(whole)
    done = run(whole)
    assert done.returncode == 0 and "are done already" in done.stdout and "loading" not in done.stderr
    assert stamps(whole) == before


def test_the_state_of_a_run_and_a_dry_run_name_what_changed(whole):
    told = subprocess.run(
        [sys.executable, "-m", "palign_hf.cli", "run", "--status", str(whole)], capture_output=True, text=True
    )
    assert told.returncode == 0 and len(told.stdout.splitlines()) == 2 + 1 + 4, told.stderr
    assert all(line.split()[1] == "done" for line in told.stdout.splitlines())
    before = stamps(whole)
    done = run(whole, "--set", "train.training.learning_rate=1e-3", "--dry-run")
    assert done.returncode == 0 and "== align: kept" in done.stdout and "== evaluate-before: kept" in done.stdout
    assert "== train/label: runs again: `train.training`" in done.stdout
    assert "== evaluate/label: runs again: `train/label` runs again" in done.stdout
    assert stamps(whole) == before


def test_a_step_whose_files_are_gone_runs_again_and_nothing_else(whole, tmp_path):
    (whole / "before" / "evaluation" / "report.md").unlink()
    before = results(whole)
    done = run(whole, "--until", "evaluate")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "evaluate-before: runs again: `before/evaluation/report.md` is gone" in done.stderr
    assert done.stderr.count("runs again") == 1 and results(whole) == before


def test_killed_it_ends_with_the_same_bytes(whole, tmp_path):
    usual = float((whole.parent / "seconds").read_text())
    out = tmp_path / "run"
    process = subprocess.Popen(
        command(out), start_new_session=True, env=alone(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # Any moment will do: what is left of it is another one on another machine.
    time.sleep(random.uniform(0.1, 0.6) * usual)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = run(out)
    assert done.returncode == 0, done.stderr[-3000:]
    assert results(out) == results(whole)


def test_what_ends_the_chain_ends_its_stage(tmp_path):
    out = tmp_path / "run"
    process = subprocess.Popen(command(out), start_new_session=True, env=alone(out), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("== truncate"):
            break
    process.terminate()
    told = process.stderr.read()
    assert process.wait(timeout=60) == 143 and told.count("ended by SIGTERM") == 1 and "Traceback" not in told
    left = [name for name in os.listdir("/proc") if name.isdigit() and _group(name) == process.pid]
    assert left == []


LAUNCHED = """
student: palign-toy
output_dir: {out}
launch: {{processes: 2, config: {config}}}
train:
  recipe: toy/train_full.yaml
  pairs: {{source: {pairs}}}
  prefixes: null
  eval: null
  stops: 0
  training: {{num_train_epochs: {epochs}, per_device_train_batch_size: 1}}
"""
# Several processes on one machine start only by the launcher for GPUs, which serves for CPUs as well.
PROCESSES = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
mixed_precision: 'no'
num_machines: 1
machine_rank: 0
main_process_port: 0
use_cpu: false
"""


def launched(whole: Path, folder: Path, epochs: int) -> list[str]:
    """The command of a chain whose training has two processes, and learns the pairs of another chain."""
    (folder / "processes.yaml").write_text(PROCESSES)
    values = {"out": folder / "run", "config": folder / "processes.yaml", "pairs": whole / "pairs", "epochs": epochs}
    (folder / "chain.yaml").write_text(LAUNCHED.format(**values))
    return [sys.executable, "-m", "palign_hf.cli", "run", str(folder / "chain.yaml")]


def test_a_training_under_accelerate(whole, tmp_path):
    told = subprocess.run(launched(whole, tmp_path, 1), capture_output=True, text=True, env=alone(tmp_path))
    assert told.returncode == 0, told.stderr[-3000:]
    step = json.loads((tmp_path / "run" / "run.json").read_text())["steps"]["train/p-align"]
    report = json.loads((tmp_path / "run" / "p-align" / "student" / "report.json").read_text())
    assert (
        step["figures"]["steps"] == report["steps"] and (tmp_path / "run" / step["folder"] / "config.json").is_file()
    )
    assert report["settings"]["processes"] == 2


def test_what_ends_a_chain_ends_all_processes_of_its_training(whole, tmp_path):
    process = subprocess.Popen(
        launched(whole, tmp_path, 500), start_new_session=True, env=alone(tmp_path), stderr=subprocess.PIPE, text=True
    )
    logs, deadline = tmp_path / "run" / "p-align" / "student", time.monotonic() + 240
    while not list(logs.rglob("checkpoint-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    process.terminate()
    told = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "ended by SIGTERM" in told and "Traceback" not in told
    assert [name for name in os.listdir("/proc") if name.isdigit() and _group(name) == process.pid] == []


def _group(pid: str) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2])
    except OSError:
        return None


def test_one_run_at_a_time(whole):
    import fcntl

    with (whole / "run.log").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = run(whole)
    assert done.returncode == 2 and "is in use by another `palign run`" in done.stderr
