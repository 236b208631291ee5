"""Alignment end to end with real engines: SmolLM2 on vLLM killed and taken up, the toy student under accelerate.

Slow for vLLM, which starts three times, half a minute each: a run that nothing disturbs, one that is killed, and its
continuation. The toy student starts in seconds.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import load_dataset
from launching import launch

from palign_hf.data.traces import load_traces
from palign_hf.schema import PAIRS, check_table
from palign_hf.toy.world.problems import right_by_truth
from palign_hf.truncation.transform import PrefixTruncation


pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
# Where the batch that a sample is drawn in changes, its tokens must not: as many threads for each run, and one alone.
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
PALIGN = [sys.executable, "-m", "palign_hf.cli", "align"]


def samples(folder: Path) -> dict[tuple[bytes, int], tuple]:
    """Every stored sample, with all that is kept of it but what the cache saved, which is a matter of the moment."""
    found: dict[tuple[bytes, int], tuple] = {}
    for path in folder.glob("*.sqlite"):
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)
        try:
            query = "SELECT key, sample, token_ids, finish_reason, seed, prompt_tokens FROM samples "
            found |= {row[:2]: row[2:] for row in db.execute(query + "JOIN problems ON problem = number")}
        except sqlite3.OperationalError as error:  # a moment after the file appears its tables do
            assert "no such table" in str(error)
        finally:
            db.close()
    return found


def recipe(folder: Path, student: str, prefixes: Path, **settings) -> list[str]:
    folder.mkdir()
    path = folder / "align.yaml"
    values = {"prefixes": {"source": str(prefixes)}, "student": student, "output_dir": str(folder / "out")}
    path.write_text(json.dumps(values | {"ledger": str(folder / "ledger")} | settings))
    return ["--config", str(path)]


def rows(folder: Path) -> list[dict]:
    """What anyone reads who loads the folder."""
    splits = load_dataset(str(folder / "out"))
    for split in splits.values():
        check_table(split, PAIRS)
    return sorted((row for split in splits.values() for row in split), key=lambda row: (row["id"], row["sample"]))


@pytest.fixture(scope="module")
def smollm2_runs(smollm2, tmp_path_factory):
    """Four real traces cut at a twentieth, continued three times each: undisturbed, and killed in the middle.

    In the transformers engine, where a sample is the same whatever is drawn beside it. vLLM rounds by what else is in
    a batch, which a kill changes.
    """
    folder = tmp_path_factory.mktemp("smollm2")
    traces = load_traces(str(ROOT / "benchmarks" / "data" / "traces.jsonl"))
    with PrefixTruncation(smollm2, search="fixed(ratio=0.05)", ledger=str(folder), progress=False) as truncation:
        traces.map(truncation, batched=True).to_parquet(str(folder / "prefixes.parquet"))
    settings = {"engine": "transformers", "max_model_len": 2048, "sampling": "all", "n": 3, "max_tokens": 12}
    whole, killed = (folder / name for name in ("whole", "killed"))
    told = {}
    for name, run in (("whole", whole), ("killed", killed)):
        told[name] = [*PALIGN, *recipe(run, smollm2, folder / "prefixes.parquet", **settings)]
    done = subprocess.run(told["whole"], capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0, done.stderr[-3000:]
    # One row at a time goes in, so that there is a middle.
    first = subprocess.Popen(
        [*told["killed"], "--max-concurrency", "1"], stderr=subprocess.PIPE, start_new_session=True, env=ALONE
    )
    try:
        deadline = time.monotonic() + 600
        while len(samples(killed / "ledger")) < 3:
            assert first.poll() is None, first.stderr.read()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before = samples(killed / "ledger")
    again = subprocess.run(told["killed"], capture_output=True, text=True, env=ALONE)
    assert again.returncode == 0, again.stderr[-3000:]
    return whole, killed, before, again


def test_what_was_drawn_before_the_kill_is_drawn_once(smollm2_runs):
    whole, killed, before, again = smollm2_runs
    report = json.loads((killed / "out" / "report.json").read_text())
    assert 3 <= len(before) < 12 and report["asked"] == 12 - len(before)
    after = samples(killed / "ledger")
    assert before.items() <= after.items() and len(after) == 12
    assert "Traceback" not in again.stderr and "pairs:" in again.stdout


def test_every_sample_is_that_of_a_run_that_nothing_disturbed(smollm2_runs):
    whole, killed, *_ = smollm2_runs
    assert samples(killed / "ledger") == samples(whole / "ledger")
    assert rows(killed) == rows(whole) and len(rows(whole)) == 12
    assert {row["engine"].split()[0] for row in rows(whole)} == {"transformers"}


@pytest.fixture(scope="module")
def toy_prefixes(tmp_path_factory) -> Path:
    """Toy problems cut where a share says, which asks nobody."""
    folder = tmp_path_factory.mktemp("toy-prefixes")
    traces = load_traces("palign-toy", split="test", max_samples=16)
    with PrefixTruncation("palign-toy", search="fixed(ratio=0.4)", ledger=str(folder), progress=False) as truncation:
        traces.map(truncation, batched=True).to_parquet(str(folder / "prefixes.parquet"))
    return folder / "prefixes.parquet"


def test_accelerate_with_one_and_two_processes_gives_what_the_command_gives(toy_prefixes, tmp_path):
    starts = {"command": PALIGN, "one": launch(1, "align.py"), "two": launch(2, "align.py")}
    found = []
    for name, start in starts.items():
        config = recipe(tmp_path / name, "palign-toy", toy_prefixes, engine="transformers", n=2)
        done = subprocess.run([*start, *config], capture_output=True, text=True, env=ALONE)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(rows(tmp_path / name))
        assert (tmp_path / name / "out" / "report.md").is_file() and "problems with a kept pair" in done.stdout
    assert found[0] == found[1] == found[2] and len({row["id"] for row in found[0]}) == 16
    kept = [row for row in found[0] if row["status"] == "kept"]
    assert kept and all(right_by_truth(row["id"], row["continuation"]) for row in kept)
    assert not any(
        right_by_truth(row["id"], row["continuation"]) for row in found[0] if row["reason"] == "wrong answer"
    )
