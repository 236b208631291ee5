"""Several processes and one pilot: its prior is found once, by the first, and all search with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset
from launching import launch


pytestmark = pytest.mark.integration

# As many threads for each: their number decides how sums are split, and so how they round.
ALONE = os.environ | {"OMP_NUM_THREADS": "1"}


def recipe(folder: Path, ledger: Path, **more) -> Path:
    folder.mkdir(exist_ok=True)
    values = {
        "traces": {"source": "palign-toy", "split": "test", "max_samples": 24},
        "student": "palign-toy",
        "engine": "transformers",
        "output_dir": str(folder / "out"),
        "ledger": str(ledger),
        "pilot": 20,
    }
    (folder / "truncate.yaml").write_text(yaml.safe_dump(values | more))
    return folder / "truncate.yaml"


def report(folder: Path) -> dict:
    return json.loads((folder / "out" / "report.json").read_text())


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=ALONE, timeout=240)


def test_two_processes_have_one_prior_and_ask_the_pilot_once(tmp_path):
    alone = run(
        sys.executable, "-m", "palign_hf.cli", "truncate", "--config", str(recipe(tmp_path / "one", tmp_path / "a"))
    )
    assert alone.returncode == 0, alone.stderr[-3000:]
    both = run(*launch(2, "truncate.py"), "--config", str(recipe(tmp_path / "two", tmp_path / "b")))
    assert both.returncode == 0, both.stderr[-3000:]
    assert both.stdout.count("report:") == 1
    one, two = report(tmp_path / "one"), report(tmp_path / "two")
    # The same prior, so the same search, rows and fingerprint: two priors would have been refused.
    assert two["run"] == one["run"] and two["settings"]["search"] == one["settings"]["search"]
    knots = two["settings"]["search"]["prior"]["knots"]
    assert len(knots) > 10  # a pilot's, and not the five of the published data
    rows = [load_dataset(str(tmp_path / name / "out"), split="train").to_list() for name in ("one", "two")]
    assert rows[0] == rows[1]
    # Nothing was asked twice, and all that was asked is counted: the pilot was asked by one of them alone.
    assert two["asked"] == one["asked"]

    # What the first process refuses, once it has asked the pilot, it says alone.
    other = ["--set", "search={name: ascend, confirm: 3}"]
    refused = run(*launch(2, "truncate.py"), "--config", str(tmp_path / "two" / "truncate.yaml"), *other)
    assert refused.returncode != 0 and refused.stdout == ""
    assert refused.stderr.count("holds the result of another run: fingerprint") == 1
    assert "Connection closed" not in refused.stderr and "RuntimeError" not in refused.stderr
    assert report(tmp_path / "two") == two


def test_a_process_that_has_other_rows_is_refused(tmp_path):
    """Rank 1 reads a file that isn't the one of rank 0, as on machines with a folder of the same name each."""
    path = recipe(tmp_path / "two", tmp_path / "b")
    starter = tmp_path / "starter.py"
    script = launch(2, "truncate.py")[-1]
    starter.write_text(
        "import os, runpy, sys\n"
        "if os.environ['LOCAL_RANK'] == '1':\n"
        "    sys.argv += ['--traces.max-samples', '23']\n"
        f"runpy.run_path({script!r}, run_name='__main__')\n"
    )
    done = run(*launch(2, "truncate.py")[:-1], str(starter), "--config", str(path), "--set", "pilot=null")
    assert done.returncode != 0
    assert "Process 1 has other settings or rows than process 0" in done.stderr
    assert not (tmp_path / "two" / "out" / "report.json").exists()
