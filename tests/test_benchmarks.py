"""The benchmarks as anyone starts them: each says what it is at once, and ends with its line of JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = pytest.mark.integration

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
HEAVY = ("torch", "transformers", "datasets", "vllm", "pyarrow", "sympy")


def start(script: str, *options: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """From another folder: a benchmark finds what it reads beside itself."""
    command = [sys.executable, *python, str(BENCHMARKS / script), *options]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def figures_of(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_answers_without_heavy_imports(script: str):
    done = start(script, "--help", python=("-X", "importtime"))
    assert "usage:" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported and not imported & set(HEAVY)


def test_the_driver_ends_with_its_line_and_goes_on_with_a_ledger(tmp_path: Path):
    options = ("--problems", "1000", "--ledger", str(tmp_path / "ledger.sqlite"))
    first, again = start("driver.py", *options), start("driver.py", *options)
    for done in (first, again):
        figures = figures_of(done)
        assert set(figures) == {"us_per_probe", "peak_mb", "problems"}
        assert figures["problems"] == 1000 and figures["us_per_probe"] > 0
    assert "Asked 0 of" in again.stdout and "Asked 0 of" not in first.stdout


def test_the_stream_ends_with_its_line():
    done = start("stream.py", "--rows", "300", "--mean-ms", "2")
    figures = figures_of(done)
    assert set(figures) == {"stream_over_ideal"}
    # Faster than the answers themselves is not to be had.
    assert figures["stream_over_ideal"] > 1
    assert all(told in done.stdout for told in ("streamed", "barrier at 30", "in order, at no cost"))


def test_the_forecast_ends_with_its_line_and_is_near_where_it_can_know():
    figures = figures_of(start("forecast.py", "--rows", "20", "--engine", "transformers"))
    assert figures["align_samples"] == figures["train_steps"] == figures["train_weights"] == 1
    assert 0.6 < figures["truncate_computed_tokens"] < 1.7
    assert {"truncate_seconds", "align_seconds", "align_written_tokens", "train_seconds"} <= set(figures)


def test_the_cost_of_searches_ends_with_its_line():
    figures = figures_of(start("search_cost.py", "--draws", "20"))
    over = {"default_over_floor", "binary_over_floor", "reference_over_floor"}
    assert set(figures) == over | {"short_questions_over_binary", "short_tokens_over_binary"}
    assert 1 <= figures["default_over_floor"] < figures["binary_over_floor"] < figures["reference_over_floor"]


def test_grading_ends_with_its_line():
    done = start("grading.py", "--answers", "100", "--limit", "1")
    figures = figures_of(done)
    assert set(figures) == {"answers_per_s", "worst_s", "gold_vs_gold"}
    assert figures["answers_per_s"] > 10 and figures["worst_s"] > 1
    assert figures["gold_vs_gold"] == 1 or "left out" in done.stdout


def test_engines_ends_with_its_line():
    figures = figures_of(
        start("engines.py", "--problems", "4", "--samples", "2", "--tokens", "12", "--only", "transformers")
    )
    assert set(figures) == {"batched_over_one", "float32_over_bfloat16", "auto", "auto_dtype"}
    assert figures["batched_over_one"] > 0.5
    assert (figures["auto"], figures["auto_dtype"]) in {("transformers", "float32"), ("vllm", None)}


def test_training_ends_with_its_line():
    done = start("training.py", "--max-length", "256", "--steps", "1", "--repeats", "1")
    figures = figures_of(done)
    assert set(figures) == {"step_ratio", "memory_ratio", "packing_speedup"}
    assert all(0.2 < value < 5 for value in figures.values())
    # Nothing of a batch's size is made beside what TRL makes.
    assert figures["memory_ratio"] < 1.02 and "SFTTrainer, packed" in done.stdout


@pytest.mark.parametrize(
    ("script", "option", "value"),
    [
        ("grading.py", "--answers", "5"),
        ("grading.py", "--limit", "0"),
        ("driver.py", "--problems", "0"),
        ("engines.py", "--samples", "0"),
        ("chain.py", "--rows", "3"),
        ("forecast.py", "--rows", "3"),
        ("stream.py", "--rows", "10"),
        ("stream.py", "--mean-ms", "0"),
        ("search_cost.py", "--draws", "0"),
        ("toy_truncation.py", "--rows", "3"),
        ("truncation.py", "--traces", "nowhere.jsonl"),
        ("decontamination.py", "--data", "nowhere"),
        ("training.py", "--max-length", "100"),
        ("training.py", "--repeats", "0"),
    ],
)
def test_what_measures_nothing_is_refused_in_words(script: str, option: str, value: str):
    done = subprocess.run([sys.executable, str(BENCHMARKS / script), option, value], capture_output=True, text=True)
    assert done.returncode == 2 and value in done.stderr and "Traceback" not in done.stderr


def test_decontamination_ends_with_its_line(shared_data: Path):
    done = start("decontamination.py", "--data", str(shared_data))
    figures = figures_of(done)
    assert {"recall_exact", "recall_copies", "recall_all", "false_alarm_gsm8k"} <= set(figures)
    assert figures["recall_exact"] == 1 and figures["false_alarm_gsm8k"] < figures["naive_false_alarm_gsm8k"]
    assert "any 8-gram" in done.stdout
