"""The toy world with real engines: the demo interrupted and taken up, its recipe under accelerate, its benchmark.

All of it takes the engine that loads in seconds. The demo runs twice, for an interrupt and its continuation; other
tests read what that left.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import load_dataset
from launching import launch

from palign_hf.toy.world.problems import cut_skill


pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# A margin this near to 0 may change its sign with the batch it was read in (bfloat16).
NOISE = 0.5
# So small a student gains nothing from a second thread, and waits long for it where the cores are busy.
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


def start(command: list[str], folder: Path) -> subprocess.Popen:
    """A command as a person at a terminal starts it: in a process group of its own, SIGINT heard."""
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ALONE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def probes(folder: Path) -> int:
    """How many answers the ledger holds."""
    import sqlite3

    total = 0
    for path in folder.glob("*.sqlite"):
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=30)
        try:
            total += db.execute("SELECT COUNT(*) FROM probes").fetchone()[0]
        except sqlite3.OperationalError as error:  # a moment after the file appears its tables do
            assert "no such table" in str(error)
        finally:
            db.close()
    return total


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo with a real engine: Ctrl-C in the middle of the questions, then the same command again."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "palign_hf.cli", "demo", "--rows", "12", "--engine", "transformers"]
    first = start(command, folder)
    try:
        deadline = time.monotonic() + 900
        while probes(folder / "runs" / "demo" / "ledger") < 20:
            assert first.poll() is None, first.communicate()[1][-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(first.pid, signal.SIGINT)
        interrupted = first.communicate(timeout=90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.pid, signal.SIGKILL)
    held = probes(folder / "runs" / "demo" / "ledger")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, command, (first.returncode, *interrupted), held, (done.stdout, done.stderr)


def test_an_interrupted_demo_says_how_to_go_on(demo):
    _, _, (code, _, errors), held, _ = demo
    assert code == 130 and held >= 20
    assert errors.count("run the same command again to go on") == 1 and "Traceback" not in errors


def test_the_demo_tells_what_happened_and_what_it_wrote(demo):
    folder, _, _, _, (told, errors) = demo
    for words in (
        "Resuming the demo in runs/demo: ",
        "no stored answer is asked again",
        "on this machine (measured just now)",
        "palign run toy/pipeline.yaml",
        "from the found cut",
        "cut here, after",
        "p-align - before",
        "It took ",
        "To try next:",
    ):
        assert told.count(words) >= 1, words
    assert "measures nothing" not in told and "demo --rows 12 --compare" in told
    out = folder / "runs" / "demo"
    for name in ("report.md", "demo.md", "figures.json", "prefixes/report.json", "pairs/report.json"):
        assert f"runs/demo/{name.split('/')[0]}" in told and (out / name).is_file()
    assert "Traceback" not in errors and "WARNING" not in errors
    assert not any(bar in told + errors for bar in ("%|", "it/s", "Loading weights", "Writing model shards", "'loss'"))
    steps = ("align", "evaluate-before", "train/p-align", "evaluate/p-align")
    assert all(errors.count(f"  {step}: done in ") == 1 for step in steps)


def test_its_table_is_that_of_the_chain(demo):
    folder, _, _, _, (told, _) = demo
    out = folder / "runs" / "demo"
    figures = json.loads((out / "figures.json").read_text())
    compared = json.loads((out / "comparison" / "comparison.json").read_text())
    learned, told = figures["learned"], " ".join(told.split())
    change = compared["differences"]["strict pass@1"]["p-align"]
    assert learned["problems"] == compared["problems"] == 6 and learned["difference"] == change
    assert learned["before"]["pass@1"] == compared["figures"]["strict pass@1"]["before"]["value"]
    assert "6 new problems, 3 samples each" in told
    assert f"Training changed pass@1 by {change['value']:+.3f} (95 % interval" in told
    # Taught targets with a draft, it writes more than it did.
    assert learned["steps"] >= 4 and learned["after"]["tokens"] > learned["before"]["tokens"] > 10


def test_the_announced_time_stands_beside_the_real_one(demo):
    folder, _, _, _, (told, _) = demo
    spent = json.loads((folder / "runs" / "demo" / "figures.json").read_text())["time"]
    assert spent["announced"] > 0 and spent["took"] > 0 and spent["engine"] == "transformers"
    assert all(rate > 0 for rate in spent["rates"].values()) and "had been announced" in told


def test_what_an_interrupted_demo_was_told_is_not_asked_again(demo):
    folder, _, _, held, _ = demo
    out = folder / "runs" / "demo"
    prefixes = load_dataset(str(out / "prefixes"), split="train")
    again = json.loads((out / "prefixes" / "report.json").read_text())["asked"]
    assert sum(map(len, prefixes["probes"])) - again >= min(held, 20)


SCRIPT = """
from palign_hf import PrefixTruncation, load_traces
if __name__ == "__main__":
    traces = load_traces("palign-toy", split="test", max_samples=2)
    truncation = PrefixTruncation("palign-toy", engine="transformers", ledger="ledger", progress=False)
    print(traces.map(truncation, batched=True)["status"][:])
"""


def test_a_script_that_closes_nothing_ends_quietly(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0 and "sufficient" in done.stdout
    assert "Error" not in done.stderr and "could not be closed" not in done.stderr


def test_its_figures_are_those_of_its_dataset(demo):
    folder, *_ = demo
    out = folder / "runs" / "demo"
    prefixes = load_dataset(str(out / "prefixes"), split="train")
    skill = cut_skill(prefixes)
    figures = json.loads((out / "figures.json").read_text())
    assert skill.rows == 12 and skill.median_distance == figures["median_distance"] <= 2
    shares = (figures["too_short"], figures["too_long"])
    assert (skill.too_short, skill.too_long) == pytest.approx(shares, abs=1e-4)  # written with four digits
    assert figures["judge_auroc"] is figures["judge"] is None
    assert [one["search"] for one in figures["searches"]] == ["ascend", "fixed(ratio=0.38)", "none", "full"]
    assert all(one["failed"] == 0 for one in figures["searches"]) and figures["kept_right"] == 1.0
    assert figures["right"]["found cut"]["share"] > 0
    page = (out / "demo.md").read_text()
    assert "exact █" in page and "cut here, after" in page and "Machine: " in page


def test_a_finished_demo_asks_nothing_and_says_the_same(demo):
    folder, command, _, _, (told, _) = demo
    out = folder / "runs" / "demo"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.log"}
    again = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ALONE)
    assert again.returncode == 0 and "nothing is generated" in again.stdout and "loading" not in again.stderr
    parts = [text[text.index("== where the traces were cut") :] for text in (told, again.stdout)]
    assert parts[0] == parts[1]
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.log"}
    assert after == before


def test_smollm2_plays_too_and_is_told_to_measure_nothing(smollm2, tmp_path):
    (tmp_path / ".palign").mkdir()
    (tmp_path / ".palign" / "smollm2-135m").symlink_to(smollm2)
    command = [sys.executable, "-m", "palign_hf.cli", "demo", "--student", "smollm2", "--rows", "10"]
    done = subprocess.run([*command, "--engine", "transformers"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "far too small to judge" in done.stdout and "palign demo --student toy" in done.stdout
    assert "--until align" in done.stdout and "training" not in done.stdout.split("== ")[-1]
    out = tmp_path / "runs" / "demo-smollm2"
    assert not (out / "p-align").exists()  # on two cores that would take hours
    figures = json.loads((out / "figures.json").read_text())
    assert figures["rows"] == 10 and figures["too_short"] + figures["too_long"] > 0.5
    assert "warning: this judge measures nothing here: its cuts are no better than" in done.stdout


def test_the_recipe_in_two_processes_cuts_as_the_demo_does(demo, tmp_path):
    """One process is what the demo has."""
    folder, *_ = demo
    settings = [f"output_dir={tmp_path}", f"ledger={tmp_path}/ledger", "traces.max_samples=12", "engine=transformers"]
    command = [*launch(2, "truncate.py"), "--config", str(ROOT / "recipes" / "toy" / "truncate.yaml")]
    command += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("report:") == 1 and len(list((tmp_path / "data").iterdir())) == 2
    two = load_dataset(str(tmp_path), split="train")
    one = load_dataset(str(folder / "runs" / "demo" / "prefixes"), split="train").select(range(12))
    assert two["id"][:] == one["id"][:] and cut_skill(two).failed == 0
    sure = [
        (here["prefix_end"], there["prefix_end"])
        for here, there in zip(one, two, strict=True)
        if all(abs(probe["margin"]) > NOISE for probe in (*here["probes"], *there["probes"]))
    ]
    assert len(sure) >= 4 and all(here == there for here, there in sure)


def test_a_comparison_measures_the_judge_at_every_cut(tmp_path):
    command = [sys.executable, "-m", "palign_hf.cli", "demo", "--rows", "5", "--compare", "--engine", "transformers"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads((tmp_path / "runs" / "demo" / "figures.json").read_text())
    assert figures["judge_auroc"] > 0.85 and figures["judge"]["cuts"] > 150 and "(AUROC)" in done.stdout
    assert {one["search"] for one in figures["searches"]} >= {"ascend", "binary", "linear", "every"}
    assert figures["right"]["no prefix"]["problems"] > 0 and figures["learned"]["problems"] == 2
    assert "--compare" not in done.stdout and "`every` probes all" in done.stdout


def test_the_benchmark_ends_with_its_line():
    command = [sys.executable, str(ROOT / "benchmarks" / "toy_truncation.py"), "--rows", "10"]
    done = subprocess.run([*command, "--engine", "transformers"], capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    names = {"median_distance", "too_short", "too_long", "judge_auroc", "judge_accuracy", "questions_over_binary"}
    assert set(figures) == names | {"wall_over_binary"} and None not in figures.values()
    assert figures["judge_auroc"] > 0.8 and "generate" in done.stdout and "machine:" in done.stdout
    assert "questions a trace: ascend" in done.stdout
