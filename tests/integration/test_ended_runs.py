"""`palign truncate` ended from outside in each phase, by each signal: in seconds, in one line, nothing left behind.

Slow because vLLM has to load as far as the phase that is meant; the toy student keeps the rest short.
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

import psutil
import pytest
from datasets import Dataset, load_dataset
from processes import LATE_S, SOON_S, ended_within, of_group, spawned, where_it_hangs

from palign_hf import PrefixTruncation, load_traces


pytestmark = pytest.mark.integration

CLI = str(Path(__file__).with_name("bounded_cli.py"))
# A margin this near to 0 may change its sign with the batch it was read in (bfloat16; see test_engines.py).
NOISE = 0.5
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


def command(folder: Path, bound: str, *more: str) -> list[str]:
    options = ["--traces.source", "palign-toy", "--traces.split", "test", "--traces.max-samples", "30"]
    options += [
        "--student",
        "palign-toy",
        "--output-dir",
        str(folder / "out"),
        "--ledger",
        str(folder / "ledger"),
        *more,
    ]
    return [sys.executable, CLI, bound, "truncate", *options]


def probes(folder: Path) -> dict[tuple, float]:
    """What is answered so far."""
    found = {}
    for path in (folder / "ledger").glob("*.sqlite"):
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)
        with contextlib.closing(db), contextlib.suppress(sqlite3.OperationalError):
            found |= {row[:2]: row[2] for row in db.execute("SELECT problem, segments, margin FROM probes")}
    return found


def end(started: list[str], log: Path, ready, sent: signal.Signals, to_group: bool) -> tuple[int, list[str]]:
    """Start it, wait until it is `ready`, end it; its status and what it has said, once nothing of it is left."""
    with log.open("w") as errors:
        run = subprocess.Popen(
            started,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
            # Started in the background of a shell, SIGINT would be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        root, deadline = psutil.Process(run.pid), time.monotonic() + 600
        while not ready(root):
            assert run.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.02)
        family = root.children(recursive=True)
        os.killpg(run.pid, sent) if to_group else os.kill(run.pid, sent)
        began = time.monotonic()
        if not ended_within(run, LATE_S):
            # The command ends itself by force some seconds later, and then nobody knows what it has waited for.
            print(where_it_hangs(run, log))
            run.wait(60)
        left = psutil.wait_procs(family, timeout=SOON_S)[1]
        assert time.monotonic() - began < SOON_S
        assert left == [] and [child for child in psutil.process_iter() if of_group(child, run.pid)] == []
    finally:
        run.kill()
    return run.returncode, log.read_text().splitlines()


def last_words(sent: signal.Signals) -> str:
    said = {signal.SIGINT: "interrupted", signal.SIGTERM: "ended by SIGTERM"}[sent]
    return f"palign: {said}. What was answered is kept: run the same command again to go on."


@pytest.mark.parametrize(
    ("moment", "sent", "to_group"),
    [
        (0, signal.SIGTERM, False),
        (1, signal.SIGTERM, False),
        (1, signal.SIGINT, True),
        (1, signal.SIGKILL, False),
        (2, signal.SIGKILL, False),
    ],
    ids=["import-TERM", "core-TERM", "core-INT", "core-KILL", "worker-KILL"],
)
def test_while_the_engine_loads(tmp_path, moment, sent, to_group):
    """`moment`: how many processes the engine has by then: none during the import, then its core, then a worker."""
    seen, log = set(), tmp_path / "log"

    def ready(root: psutil.Process) -> bool:
        return "loading palign-toy" in log.read_text() and spawned(root, seen) >= moment

    status, lines = end(command(tmp_path, "0", "--engine", "vllm"), log, ready, sent, to_group)
    assert status == STATUS[sent] and "Traceback" not in "\n".join(lines)
    assert sent == signal.SIGKILL or lines[-1] == last_words(sent)
    assert probes(tmp_path) == {}


def test_while_it_asks_and_then_the_same_command_again(tmp_path):
    """SIGTERM in the middle of the questions, then `kill -9`, then to the end: nothing committed is asked again.

    Ctrl-C there has a test of its own (the demo's). Slow for starting vLLM three times.
    """
    log, linear = tmp_path / "log", ("--engine", "vllm", "--search", "linear")
    status, lines = end(
        command(tmp_path, "60", *linear), log, lambda root: len(probes(tmp_path)) >= 50, signal.SIGTERM, False
    )
    assert status == 143 and lines[-1] == last_words(signal.SIGTERM) and "Traceback" not in "\n".join(lines)
    terminated = probes(tmp_path)
    assert 50 <= len(terminated) <= 60
    goal = len(terminated) + 50
    status, lines = end(
        command(tmp_path, "60", *linear), log, lambda root: len(probes(tmp_path)) >= goal, signal.SIGKILL, False
    )
    assert status == -signal.SIGKILL
    killed = probes(tmp_path)
    assert terminated.items() <= killed.items() and goal <= len(killed) <= len(terminated) + 60
    assert not (tmp_path / "out" / "report.json").exists()

    done = subprocess.run(command(tmp_path, "100000", *linear), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    whole = probes(tmp_path)
    assert killed.items() <= whole.items()
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["asked"] == len(whole) - len(killed) and report["rows"] == 30
    assert report["settings"]["engines"][0].startswith("vllm ")
    compare(load_dataset(str(tmp_path / "out"), split="train"), tmp_path / "other")


def compare(resumed: Dataset, ledger: Path) -> None:
    """With what an undisturbed run of another engine finds: the same rows, but where a margin is within the noise."""
    settings = {"engine": "transformers", "search": "linear", "ledger": str(ledger), "progress": False}
    with PrefixTruncation("palign-toy", **settings) as truncation:
        undisturbed = load_traces("palign-toy", split="test", max_samples=30).map(truncation, batched=True)
    compared = 0
    for mine, theirs in zip(resumed, undisturbed, strict=True):
        margins = [{probe["segments"]: probe["margin"] for probe in row["probes"]} for row in (mine, theirs)]
        shared = margins[0].keys() & margins[1].keys()
        assert all(abs(margins[0][cut] - margins[1][cut]) <= NOISE for cut in shared)
        if all(abs(margin) > NOISE for margin in margins[0].values()):
            compared += 1
            assert {name: mine[name] for name in mine if name != "probes"} == {
                name: theirs[name] for name in theirs if name != "probes"
            }
    assert compared >= 20


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sent: sent.name)
def test_while_it_writes(tmp_path, sent):
    log = tmp_path / "log"
    rule = ("--search", "full")
    status, lines = end(
        command(tmp_path, "writing", *rule), log, lambda root: "writing" in log.read_text(), sent, False
    )
    assert status == STATUS[sent] and "Traceback" not in "\n".join(lines)
    assert sent == signal.SIGKILL or lines[-1] == last_words(sent)
    assert not (tmp_path / "out" / "data").exists()
    if sent != signal.SIGKILL:  # the rudest of them is enough to show how it goes on
        return
    done = subprocess.run(command(tmp_path, "0", *rule), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(load_dataset(str(tmp_path / "out"), split="train")) == 30
