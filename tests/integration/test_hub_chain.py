"""From traces on the Hub to a measured student there, by its commands alone, against the Hub double.

Slow: six processes import torch or `datasets` anew, each with an empty cache, so that all they read comes over HTTP.
"""

import json
import sys
from pathlib import Path

import pytest
from hub_clients import run, run_python
from hub_double import Double

from palign_hf.benchmarks import BENCHMARKS
from palign_hf.toy import traces


pytestmark = pytest.mark.integration

ROWS = 12
AIME = BENCHMARKS["AIME25"]
# The command, and once more what has ended already, with what is asked of the Hub in between.
TWICE = """
import sys
from palign_hf.cli import main
for again in (False, True):
    print("== again" if again else "== first", flush=True)
    if (status := main(sys.argv[1:])):
        sys.exit(status)
"""
PUSH = """
import sys
from datasets import Dataset
Dataset.from_parquet(sys.argv[1]).push_to_hub("tester/traces", "toy", split="test")
"""


class Chain:
    """The commands of a chain, in order, with what each of them said."""

    def __init__(self, double: Double, folder: Path) -> None:
        self.double, self.folder = double, folder
        self.said: dict[str, tuple[str, str]] = {}
        self.errors: list[str] = []

    def twice(self, name: str, *options: str) -> None:
        """A command with a cache of its own, run to its end and then given again."""
        command = [sys.executable, "-c", TWICE, *options]
        done = run(self.double, self.folder / f"home-{name}", command)
        assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        first, again = done.stdout.removeprefix("== first\n").split("== again\n")
        self.said[name] = first, again
        self.errors.append(done.stderr)

    def stage(self, name: str, repo_id: str, *options: str) -> None:
        """A stage that ends in the Hub."""
        out, ledger = self.folder / "runs" / name, self.folder / "ledger"
        places = ["--output", str(out), "--push-to-hub", repo_id]
        if name != "train":
            places += ["--engine", "transformers", "--ledger", str(ledger)]
        self.twice(name, name, *options, *places)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory):
    """The whole chain, run once: each stage reads by its id what the one before has pushed."""
    folder = tmp_path_factory.mktemp("chain")
    problems = traces("test").select(range(ROWS))
    problems.to_parquet(str(folder / "traces.parquet"))
    with Double(folder / "hub") as double:
        found = Chain(double, folder)
        double.create("dataset", AIME.hub_id)
        lines = [{"id": row["id"], "problem": row["question"], "answer": row["answer"]} for row in problems]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        double.commit("dataset", AIME.hub_id, {"train.jsonl": text.encode()}, commit_id=AIME.revision)
        run_python(double, folder / "home-traces", PUSH, str(folder / "traces.parquet"))
        traced = ["--traces.source", "tester/traces", "--traces.config", "toy", "--traces.split", "test"]
        found.stage("truncate", "tester/prefixes", "--student", "palign-toy", *traced)
        prefixes = ["--prefixes.source", "tester/prefixes", "--prefixes.split", "train"]
        found.stage("align", "tester/pairs", "--student", "palign-toy", "--n", "2", *prefixes)
        steps = ["use_cpu=true", "bf16=false", "max_steps=2", "per_device_train_batch_size=2", "max_length=2048"]
        training = [word for one in steps for word in ("--set", f"training.{one}")]
        found.stage("train", "tester/student", "--student", "palign-toy", "--pairs.source", "tester/pairs", *training)
        asked = ["--tasks", "aime25", "--n", "1", "--max-tokens", "64"]
        found.stage("evaluate", "tester/results", "--student", "tester/student", *asked)
        results = str(folder / "runs" / "evaluate")
        found.twice("publish", "publish", results, "tester/results", "--model", "tester/student")
        yield found
        assert not double.unknown()


def test_all_went_well(chain):
    for name, (first, again) in chain.said.items():
        print("=====", name)
        print(first)
        print("-----")
        print(again)
    print("\n".join(chain.errors)[-6000:])
    for kind, name in chain.double.state.repositories:
        print(kind, name, chain.double.titles(kind, name), list(chain.double.files(kind, name)))
    assert 0
