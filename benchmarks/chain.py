"""What `palign run` costs beside its stages: the wall of the toy chain over the sum of its stages run one by one.

    python benchmarks/chain.py [--rows 60] [--engine auto]

The chain truncates, continues, evaluates, trains and evaluates again; then each of its steps is run alone, by the
recipe that the chain keeps for it, into another folder and with a ledger of its own, and so starts its own engine. The
chain is run a second time, which does nothing. `forecast_over_fact` is of the prompt tokens of truncation.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path


SET = {"align.n": 1, "align.max_tokens": 128, "train.eval": "null", "train.stops": 0, "evaluate.n": 1}
SET |= {"evaluate.max_tokens": 128, "train.training.num_train_epochs": 1}


def timed(command: list[str], home: Path) -> float:
    """Seconds of a command; its errors end this program."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "palign_hf.cli", *command],
        env=os.environ | {"PALIGN_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"`palign {' '.join(command[:2])}` ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return time.monotonic() - began


def alone(chain: Path, folder: Path, names: list[str]) -> float:
    """Seconds of all steps of a chain, each run by its stage alone."""
    total = 0.0
    for name in names:
        kept = (chain / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        recipe = folder / f"{name}.yaml"
        recipe.write_text(kept.replace(str(chain), str(folder / "run")), encoding="utf-8")
        stage = name.split("-")[0]
        spent = timed([stage, "--config", str(recipe)], folder / "home")
        print(f"  {name:<20} {spent:7.1f} s")
        total += spent
    evaluated = [str(folder / "run" / place / "evaluation") for place in ("before", "p-align")]
    spent = timed(["compare", *evaluated, "--output-dir", str(folder / "comparison")], folder / "home")
    print(f"  {'compare':<20} {spent:7.1f} s")
    return total + spent


def main() -> None:
    """Run the chain and its stages, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=60, help="traces and problems (default: %(default)s)")
    parser.add_argument("--engine", default="auto", help="auto, vllm or transformers (default: %(default)s)")
    options = parser.parse_args()
    if options.rows < 4:
        parser.error(f"--rows {options.rows} says too little: give 4 or more")
    with tempfile.TemporaryDirectory() as place:
        folder, other = Path(place) / "chain", Path(place) / "alone"
        other.mkdir()
        values = SET | {"max_samples": options.rows, "evaluate.max_samples": options.rows, "engine": options.engine}
        values["output_dir"] = str(folder)
        words = [word for key, value in values.items() for word in ("--set", f"{key}={value}")]
        command = ["run", "toy/pipeline.yaml", *words]
        whole = timed(command, Path(place) / "home")
        second = timed(command, Path(place) / "home")
        print(f"machine: {platform.machine()}, {os.cpu_count()} cores; {options.rows} rows, engine {options.engine}")
        print(f"the chain            {whole:7.1f} s, given again {second:.1f} s\none by one:")
        steps = ["truncate", "align", "evaluate-before", "train-p-align", "evaluate-p-align"]
        total = alone(folder, other, steps)
        print(f"  {'all':<20} {total:7.1f} s")
        ratio = forecast_over_fact(folder)
    figures = {
        "chain_over_stages": round(whole / total, 3),
        "forecast_over_fact": ratio,
        "second_run_s": round(second, 1),
    }
    print(json.dumps(figures))


def forecast_over_fact(folder: Path) -> float:
    """The prompt tokens of truncation, forecast over computed."""
    from palign_hf.config import load_config
    from palign_hf.truncation.stage import TRUNCATE, TruncateConfig

    forecast = TRUNCATE.forecast(load_config(TruncateConfig, folder / "recipes" / "truncate.yaml"))
    report = json.loads((folder / "prefixes" / "report.json").read_text())
    return round(forecast.prompt_tokens / report["computed_tokens"], 3)


if __name__ == "__main__":
    main()
