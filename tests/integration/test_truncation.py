"""`PrefixTruncation` end to end on a real vLLM: map, the engine's death in the middle, `kill -9`, accelerate."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from datasets import load_dataset
from launching import launch

from palign_hf.schema import PREFIXES, check_table
from palign_hf.truncation.transform import PrefixTruncation


pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
CONTEXT = 2048
# A margin this near to 0 may change its sign with the batch it was read in (bfloat16; see test_engines.py).
NOISE = 0.5


@pytest.fixture(scope="module")
def vllm_prefixes(smollm2, traces, tmp_path_factory):
    """The whole run on one engine, whose core is killed while it works."""

    def kill_core():
        """Wait until probes are answered, then end the engine core."""
        while truncation._store is None or truncation._store.count() < 5:
            if over.wait(0.02):
                return
        for child in psutil.Process().children(recursive=True):
            if "EngineCore" in child.name():
                child.kill()
                killed.append(child.pid)

    killed: list[int] = []
    over = threading.Event()
    ledger = str(tmp_path_factory.mktemp("ledger"))
    settings = {"search": "linear", "max_model_len": CONTEXT, "ledger": ledger, "progress": False, "audit": 1.0}
    truncation = PrefixTruncation(smollm2, engine="vllm", **settings)
    killer = threading.Thread(target=kill_core)
    killer.start()
    with truncation:
        try:
            prefixes = traces.map(truncation, batched=True, batch_size=4)
        finally:
            over.set()
            killer.join()
        report = truncation.report(prefixes)
        # A copy with another search asks the same engine, whichever of them is closed.
        second = traces.map(truncation.with_search("ascend"), batched=True)
        engines = [child.name() for child in psutil.Process().children(recursive=True) if "EngineCore" in child.name()]
    cores = [process for process in psutil.Process().children(recursive=True) if "VLLM" in process.name()]
    # One that was killed at last is still listed until somebody has waited for it.
    _, left = psutil.wait_procs(cores, timeout=10)
    assert len(engines) == 1 and len(second) == len(traces)
    return prefixes, report, killed, left, ledger


def test_the_map_gives_the_table_through_the_death_of_the_engine(vllm_prefixes, traces):
    prefixes, report, killed, left, _ = vllm_prefixes
    assert len(killed) == 1 and left == []
    assert prefixes.features == PREFIXES.features
    check_table(prefixes, PREFIXES)
    assert prefixes["id"] == traces["id"]
    assert all(row["prefix"] == row["trace"][: row["prefix_end"]] for row in prefixes)
    assert report.statuses["error"] == 0 and report.rows == len(traces)
    # SmolLM2 says ENOUGH to nearly everything: what it measures is the plumbing, and the report says so.
    assert report.probes_a_problem >= 10 and any("labels have" in line for line in report.warnings())


def test_another_search_over_the_same_ledger_asks_little_and_starts_no_engine_for_what_is_known(
    vllm_prefixes, smollm2, traces
):
    *_, ledger = vllm_prefixes
    settings = {"max_model_len": CONTEXT, "ledger": ledger, "progress": False, "audit": 1.0}
    with PrefixTruncation(smollm2, engine="vllm", search="linear", **settings) as again:
        table = again(traces[:])
        assert again.usage.asked == 0 < again.usage.probes and not again.runner.started
    assert table["prefix"] == list(vllm_prefixes[0]["prefix"])


def test_transformers_agrees_with_vllm_on_the_cuts(vllm_prefixes, smollm2, traces, tmp_path):
    settings = {"search": "linear", "max_model_len": CONTEXT, "ledger": str(tmp_path), "progress": False}
    with PrefixTruncation(smollm2, engine="transformers", **settings) as truncation:
        prefixes = traces.map(truncation, batched=True)
    for mine, theirs in zip(prefixes, vllm_prefixes[0], strict=True):
        known = {probe["segments"]: probe["margin"] for probe in theirs["probes"]}
        for probe in mine["probes"]:
            assert abs(probe["margin"] - known[probe["segments"]]) <= NOISE
        if all(abs(probe["margin"]) > NOISE for probe in mine["probes"]):
            assert mine["prefix_end"] == theirs["prefix_end"]


def recipe(folder: Path, student: str, source: Path, **settings) -> Path:
    path = folder / "truncate.yaml"
    values = {
        "traces": {"source": str(source)},
        "student": student,
        "output_dir": str(folder / "out"),
        "max_model_len": CONTEXT,
    }
    path.write_text(json.dumps(values | {"ledger": str(folder / "ledger")} | settings))
    return path


def test_accelerate_with_one_and_two_processes_gives_what_the_command_gives(traces, tmp_path):
    source = tmp_path / "traces.jsonl"
    traces.to_json(source)
    results, reports = [], []
    starts = {
        "command": [sys.executable, "-m", "palign_hf.cli", "truncate"],
        "one": launch(1, "truncate.py"),
        "two": launch(2, "truncate.py"),
    }
    for name, start in starts.items():
        folder = tmp_path / name
        folder.mkdir()
        config = recipe(folder, "palign-toy", source, engine="transformers", search="binary", audit=0.2)
        # As many threads for each: their number decides how sums are split, and so how they round.
        threads = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run([*start, "--config", str(config)], capture_output=True, text=True, env=threads)
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("report:") == 1
        results.append(load_dataset(str(folder / "out"), split="train").to_list())
        reports.append(json.loads((folder / "out" / "report.json").read_text()))
    assert results[0] == results[1] == results[2]
    assert len(list((tmp_path / "two" / "out" / "data").iterdir())) == 2
    assert reports[0]["asked"] == reports[2]["asked"] and reports[2]["rows"] == len(traces)


def test_wrong_settings_end_every_process_with_a_message(tmp_path):
    config = recipe(tmp_path, "palign-toy", tmp_path / "absent.jsonl", engine="transformers")
    done = subprocess.run([*launch(2, "truncate.py"), "--config", str(config)], capture_output=True, text=True)
    assert done.returncode != 0 and "absent.jsonl" in done.stderr
