"""The next stage needs nothing of truncation: a few lines over the machinery are durable, sharded and resumable."""

import ast
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import load_dataset


pytestmark = pytest.mark.integration

STAGE = Path(__file__).with_name("sampling_stage.py")
ROWS, N = 24, 3


def held(folder: Path) -> dict[tuple[bytes, int], tuple]:
    """Every sample that is stored, with the engine that gave it."""
    db = sqlite3.connect(f"{(folder / 'samples.sqlite').as_uri()}?mode=ro", uri=True, timeout=60)
    try:
        query = "SELECT key, sample, token_ids, finish_reason, name, version, dtype FROM samples "
        query += "JOIN problems p ON problem = p.number JOIN engines e ON engine = e.number"
        return {row[:2]: row[2:] for row in db.execute(query)}
    except sqlite3.OperationalError as error:  # a moment after the file appears its tables do
        assert "no such table" in str(error)
        return {}
    finally:
        db.close()


# One thread: on so small a student two mostly wait for each other.
THREADS = os.environ | {"OMP_NUM_THREADS": "1"}


def run(folder: Path, shards: int) -> None:
    done = subprocess.run([sys.executable, STAGE, folder, str(shards)], capture_output=True, text=True, env=THREADS)
    assert done.returncode == 0, done.stderr[-3000:]


def test_it_reaches_nothing_of_another_stage():
    homes = {
        node.module.split(".")[1]
        for node in ast.walk(ast.parse(STAGE.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module.startswith("palign_hf.")
    }
    assert homes <= {"data", "engines", "generation", "prompts", "runs"}


def test_kill_9_and_again_gives_the_samples_of_a_run_that_nothing_disturbed(tmp_path):
    """Slow for starting the toy student three times; what it draws depends on its seed alone."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    run(whole, 2)
    first = subprocess.Popen([sys.executable, STAGE, killed, "2", "40"], stderr=subprocess.PIPE, env=THREADS)
    deadline = time.monotonic() + 600
    while not (killed / "samples.sqlite").exists() or len(held(killed)) < 40:
        assert first.poll() is None, first.stderr.read()[-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.kill()
    first.wait()
    before = held(killed)
    kept = sum(1 for _ in (killed / "out" / ".run").rglob("*.parquet"))
    assert len(before) == 40 and kept >= 2  # rows that had ended are on disk
    assert not (killed / "out" / "data").exists()
    run(killed, 2)
    after = held(killed)
    assert len(after) == ROWS * N and before.items() <= after.items()
    assert after == held(whole)
    assert {row[2] for row in after.values()} == {"transformers"}
    one, two = (load_dataset(str(folder / "out"), split="train") for folder in (whole, killed))
    assert one["id"] == two["id"] and one["samples"] == two["samples"] and len(one) == ROWS
