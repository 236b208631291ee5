"""`palign train` and its recipe under accelerate: alike in one process and in two, killed and taken up, and what comes
out of it is a student for every engine.

Slow because each launched run is a process that loads torch and trains the toy student for some steps, and for one
vLLM, which takes half a minute to start.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from toy_pairs import toy_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer

from palign_hf.cli import main
from palign_hf.schema import PREFIXES, check_table
from palign_hf.truncation.transform import PrefixTruncation


pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
# Where two runs are compared: as many threads for each, and one alone.
ALONE = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", "recipes/accelerate/cpu.yaml"]
# Rows that are learned without the evaluation's: as many as the steps take, so that no step is smaller than another.
ROWS, STEPS = 22, 4


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """Toy pairs, two of them not kept, and the traces beside them."""
    folder = tmp_path_factory.mktemp("made")
    pairs, traces = toy_pairs(ROWS, rejected=(3, 7))
    pairs.to_parquet(str(folder / "pairs.parquet"))
    traces.to_parquet(str(folder / "traces.parquet"))
    return folder


def settings(source: Path, out: Path, recipe: str = "train_full", **training) -> list[str]:
    """A shipped recipe, with few steps, on these pairs."""
    changed = {"max_steps": STEPS, "per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 2}
    given = [f"training.{name}={value}" for name, value in (changed | training).items()]
    given += [f"pairs.source={source / 'pairs.parquet'}", f"prefixes.source={source / 'traces.parquet'}"]
    given += [f"output_dir={out}", "stops=0", "eval=null"]
    return ["--config", f"recipes/toy/{recipe}.yaml", *(word for one in given for word in ("--set", one))]


def test_on_a_pipe_a_training_shows_its_log_and_no_bars(source, tmp_path):
    command = [sys.executable, "-m", "palign_hf.cli", "train", *settings(source, tmp_path / "out")]
    done = subprocess.run(command, env=ALONE, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    said = done.stdout + done.stderr
    assert not any(bar in said for bar in ("%|", "it/s", "Loading weights", "Writing model shards"))
    assert said.count("'loss'") == STEPS


def launched(processes: int, *options: str) -> str:
    """What a run under accelerate says on stdout."""
    command = [*LAUNCH, "--num_processes", str(processes), "recipes/train.py", *options]
    done = subprocess.run(command, env=ALONE, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def report(out: Path) -> dict:
    return json.loads((out / "report.json").read_text())


def losses(out: Path) -> list[float]:
    """Of every step, as the last checkpoint has them."""
    told = json.loads((out / f"checkpoint-{STEPS}" / "trainer_state.json").read_text())
    return [log["loss"] for log in told["log_history"] if "loss" in log]


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory) -> tuple[Path, str]:
    """A run that nothing disturbed, and what it said."""
    out = tmp_path_factory.mktemp("whole") / "student"
    return out, launched(1, *settings(source, out), "--set", "eval=0.2", "--stops", "2", "--stops-tokens", "40")


@pytest.fixture
def here(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_what_is_said_is_what_was_done(whole):
    out, said = whole
    told = report(out)
    assert told["rows"] == ROWS == sum(told["statuses"].values())
    assert told["statuses"]["left out"] == sum(told["reasons"].values())
    assert told["reasons"] == {"kept for the evaluation": 4, "not kept: rejected": 2}
    assert told["steps"] == STEPS and told["measured_rows"] == 4 and told["measured"]["prefix/nll"] > 0
    assert told["first"]["loss"] == losses(out)[0] and told["last"]["loss"] == losses(out)[-1]
    assert told["stops"]["replies"] == 2 and told["stops"]["limit"] == 40
    assert set(told["tokens"]) == {"prompt", "prefix", "close_tag", "continuation"} and all(told["tokens"].values())
    assert told["settings"]["processes"] == 1 and "train.py --config" in told["settings"]["command"]
    assert told["settings"]["versions"]["trl"]
    assert told["written"] == sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert said.count("student:  ") == said.count("report:   ") == said.count("next:     ") == 1
    page = (out / "report.md").read_text()
    assert "# Training of palign-toy" in page and "| learning\\_rate | 0.0005 |" in page
    assert "16 of 16 rows of the train dataset are used" in (out / "README.md").read_text()


def test_two_processes_train_as_one(whole, source, tmp_path):
    """The same rows a step, whoever does them; the folder, the report and the words are one."""
    out = tmp_path / "student"
    options = settings(source, out, per_device_train_batch_size=2)
    said = launched(2, *options, "--set", "eval=0.2")
    assert losses(out) == pytest.approx(losses(whole[0]), rel=1e-4)
    told, alone = report(out), report(whole[0])
    assert told["settings"]["processes"] == 2 and said.count("student:  ") == 1
    assert told["run"] == alone["run"] and told["tokens"] == alone["tokens"]


def test_ended_in_a_step_it_goes_on_from_its_checkpoint(whole, source, tmp_path, here, capsys):
    out = tmp_path / "student"
    options = ["train", *settings(source, out), "--set", "eval=0.2"]
    worker = Path(__file__).with_name("held_training.py")
    run = subprocess.Popen(
        [sys.executable, worker, "3", *options], env=ALONE, cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    said = ""
    while "held" not in said:
        line = run.stderr.readline()
        assert line, said
        said += line
    run.send_signal(signal.SIGTERM)
    _, rest = run.communicate(timeout=60)
    assert run.returncode == 143
    assert f"\npalign: ended by SIGTERM. The same command resumes from {out}/checkpoint-2.\n" in f"\n{rest}"
    # A checkpoint that was broken off while it was written is none.
    (out / "checkpoint-3").mkdir()
    other = [*options, "--set", "training.learning_rate=0.1"]
    assert main(other) == 2
    told = capsys.readouterr().err
    assert "checkpoints of another run: learning_rate `0.0005` instead of `0.1`. Give another folder" in told
    # How the rows of a step are parted may change.
    halves = ["training.per_device_train_batch_size=2", "training.gradient_accumulation_steps=2"]
    assert main([*options, *(word for one in halves for word in ("--set", one))]) == 0
    assert losses(out) == pytest.approx(losses(whole[0]), rel=1e-4)
    assert report(out)["settings"]["resumed_from"] == "checkpoint-2" and report(out)["steps"] == STEPS


def test_a_folder_is_its_run_s_own_unless_it_is_replaced(source, tmp_path, here, capsys):
    out = tmp_path / "student"
    options = ["train", *settings(source, out, max_steps=2)]
    assert main(options) == 0
    before = (out / "model.safetensors").read_bytes()
    capsys.readouterr()
    assert main(options) == 0
    assert capsys.readouterr().out.startswith(f"This training is finished: {out} has the student.")
    another = [*options, "--baseline", "label"]
    assert main(another) == 2
    assert "holds the result of another run: " in capsys.readouterr().err
    assert main([*another, "--overwrite"]) == 0
    told = report(out)
    assert told["settings"]["baseline"] == "label" and told["tokens"]["prefix"] == 0
    assert (out / "model.safetensors").read_bytes() != before


def test_what_is_missing_here_is_said_in_one_line(source, tmp_path, here, capsys, monkeypatch):
    monkeypatch.setattr("transformers.integrations.integration_utils.is_wandb_available", lambda: False)
    assert main(["train", *settings(source, tmp_path / "student", report_to="wandb")]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("palign: `palign-toy` can't be trained with these settings: ") and "wandb" in told


def test_baselines_of_the_traces_are_one_key_away(source, tmp_path, here, capsys):
    options = ["train", *settings(source, tmp_path / "student"), "--baseline", "first(tokens=30)"]
    assert main([*options, "--budget", "200", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "first(tokens=30): 6 of 22 rows" in said and "over the budget of 200 tokens" in said
    assert not (tmp_path / "student").exists()


@pytest.fixture(scope="module")
def adapted(source, tmp_path_factory) -> Path:
    """What an adapter's run leaves."""
    out = tmp_path_factory.mktemp("adapted") / "student"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        assert main(["train", *settings(source, out, "train_lora", max_steps=2)]) == 0
    return out


def test_an_adapter_is_saved_and_merged(adapted):
    assert (adapted / "adapter_model.safetensors").exists() and not (adapted / "model.safetensors").exists()
    told = report(adapted)
    assert 0 < told["weights"]["trained"] < told["weights"]["all"] / 2
    before = AutoModelForCausalLM.from_pretrained("palign_hf/toy/student/weights").state_dict()
    merged = AutoModelForCausalLM.from_pretrained(adapted / "merged").state_dict()
    changed = {name for name, weight in merged.items() if not weight.float().equal(before[name].float())}
    assert changed and all(name.endswith("_proj.weight") for name in changed)


@pytest.mark.parametrize(("kind", "engine"), [("whole", "transformers"), ("merged", "vllm")])
def test_what_was_trained_is_a_student(whole, adapted, source, tmp_path, kind, engine):
    """Its folder alone is enough, for either engine: weights, tokenizer, chat template."""
    student = whole[0] if kind == "whole" else adapted / "merged"
    template = AutoTokenizer.from_pretrained("palign_hf/toy/student/weights").chat_template
    assert AutoTokenizer.from_pretrained(student).chat_template == template
    traces = Dataset.from_parquet(str(source / "traces.parquet"), cache_dir=str(tmp_path)).select(range(2))
    with PrefixTruncation(str(student), engine=engine, ledger=str(tmp_path), progress=False) as truncation:
        prefixes = traces.map(truncation, batched=True)
    check_table(prefixes, PREFIXES)
    assert set(prefixes["status"]) <= {"sufficient", "full_trace"}
    assert all(probe["margin"] is not None for row in prefixes for probe in row["probes"])
