"""How near `--dry-run` is: what it forecasts for the toy chain, over what the chain then takes.

    python benchmarks/forecast.py [--rows 100] [--engine auto]

Toy traces are cut, continued and trained on, each stage after its own forecast. Tokens are those that the stages
count; seconds are forecast by measuring this machine, and are those of the work alone: loading and writing are left
out. The last line has forecast over fact, for each stage.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any


# A forecast can't know how long the student will write; its most is given beside it.
SAMPLES, MAX_TOKENS, STEPS = 2, 128, 10
TRAINING = {"use_cpu": True, "bf16": False, "max_length": 2048, "per_device_train_batch_size": 4}
TRAINING |= {"save_strategy": "no", "report_to": "none", "gradient_checkpointing": False, "max_steps": STEPS}


def run_stage(stage: Any, settings: Any) -> tuple[Any, dict[str, Any]]:
    """The forecast of a stage, and the report of its run."""
    from palign_hf.runs.shards import REPORT, Shard

    forecast = stage.forecast(settings)
    with stage.open(settings, shown=False) as run:
        run.work(Shard(), run.agree())
        run.finish(1)
    return forecast, json.loads((settings.folder / REPORT).read_text())


def main() -> int:
    """Read the options; signals end the engine as they end that of `palign`."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100, help="traces (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="auto, vllm or transformers (default: %(default)s)")
    options = parser.parse_args()
    if options.rows < 20:
        parser.error(f"--rows {options.rows} says too little: give 20 or more")
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from palign_hf.runs.launch import ended

    return ended(Path(__file__).name, lambda: measure(options), parser, "Run the same command again.")


def measure(options: argparse.Namespace) -> int:
    """Forecast and run each stage, print a table and one line of JSON."""
    from palign_hf.alignment.stage import ALIGN, AlignConfig, PrefixSettings
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.runs.forecast import hours, measure_runner, training_hours
    from palign_hf.runs.forecast import measure as rate_of
    from palign_hf.training.settings import PairSettings, TrainConfig
    from palign_hf.training.stage import TRAIN
    from palign_hf.truncation.stage import TRUNCATE, TraceSettings, TruncateConfig

    student = "palign-toy"
    rows: list[tuple[str, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        with StudentRunner(student, engine=options.engine) as runner:
            rate = measure_runner(runner)
            common = {"student": student, "engine": runner, "ledger": str(home / "ledger"), "progress": False}
            traces = TraceSettings(source=student, split="test", max_samples=options.rows)
            cut, report = run_stage(
                TRUNCATE, TruncateConfig(traces=traces, output_dir=str(home / "prefixes"), **common)
            )
            spent = 3600 * hours(cut.prompt_tokens, cut.written_tokens, rate)
            rows += [
                ("truncate_computed_tokens", cut.prompt_tokens, report["computed_tokens"]),
                ("truncate_seconds", spent, report["settings"]["seconds"]["asking"]),
            ]
            prefixes = PrefixSettings(source=str(home / "prefixes"), split="train")
            config = AlignConfig(
                prefixes=prefixes,
                output_dir=str(home / "pairs"),
                n=SAMPLES,
                sampling="all",
                max_tokens=MAX_TOKENS,
                **common,
            )
            drawn, report = run_stage(ALIGN, config)
            spent = 3600 * hours(drawn.prompt_tokens, drawn.written_tokens, rate)
            rows += [
                ("align_samples", drawn.requests, report["samples"]),
                ("align_written_tokens", drawn.written_tokens, report["generated_tokens"]),
                ("align_seconds", spent, report["settings"]["seconds"]["asking"]),
            ]
            identity = runner.identity()
        given = {"pairs": PairSettings(source=str(home / "pairs")), "output_dir": str(home / "student")}
        config = TrainConfig(student=student, stops=0, training=TRAINING, **given)
        taught, report = run_stage(TRAIN, config)
        rows += [
            ("train_steps", taught.training.steps, report["steps"]),
            ("train_weights", taught.training.trained, report["weights"]["trained"]),
            ("train_seconds", 3600 * training_hours(taught.training, rate_of(taught.runner)), report["seconds"]),
        ]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}"
    print(f"machine: {machine}; engine: {identity.label if identity else options.engine}; {options.rows} traces")
    print(f"{rate.prefill:,.0f} prompt tokens a second, {rate.decode:,.0f} written: {rate.source}\n")
    print(f"{'':26}{'forecast':>12}{'fact':>12}{'ratio':>8}")
    for name, said, fact in rows:
        print(f"{name.replace('_', ' '):26}{said:12,.1f}{fact:12,.1f}{said / fact:8.2f}")
    print(json.dumps({name: round(said / fact, 3) for name, said, fact in rows}))
    return 0


if __name__ == "__main__":
    status = main()
    if status:
        from palign_hf.runs.signals import leave

        # At its exit Python would wait for engines that are still busy; their watch ends them.
        leave(status)
