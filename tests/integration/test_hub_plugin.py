"""Published pairs in somebody else's hands: TRL's own trainer learns them, and ours by two changes of that script.

Slow for three processes that import torch and train two steps.
"""

import json
import re
import sys
from pathlib import Path

import pytest
from hub_clients import run
from toy_pairs import toy_pairs

from palign_hf.data.pairs import split_by_outcome
from palign_hf.hub.publish import publish
from palign_hf.toy import student_folder


pytestmark = pytest.mark.integration

PAGE = Path(__file__).parents[2] / "docs" / "hub.md"
CONFIG = "toy-pairs-prompt"
# The changes by which a script that has TRL's trainer gets ours: the import, and one line.
CHANGES = {
    "from trl import SFTConfig, SFTTrainer\n": "from trl import SFTConfig\n\nfrom palign_hf import PAlignTrainer\n",
    "trainer = SFTTrainer(": "trainer = PAlignTrainer(",
}
# What the script leaves for the test to look at.
LOOK = """
    import json, sys
    seen = {"log": trainer.state.log_history, "ours": "palign_hf" in sys.modules, "rows": rows.column_names}
    print(json.dumps(seen))
"""


@pytest.fixture
def published(hub, online, tmp_path):
    """Pairs of the toy world on the Hub, as `palign publish` lays them out."""
    pairs, _ = toy_pairs(6, rejected=(2,))
    folder = tmp_path / "run"
    (folder / "data").mkdir(parents=True)
    for split, rows in split_by_outcome(pairs).items():
        rows.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    report = {"rows": 6, "settings": {"student": "palign-toy", "mode": "prompt"}, "run": {"rows": 6}}
    (folder / "report.json").write_text(json.dumps(report))
    publish(folder, "tester/pairs", config=CONFIG, api=hub.api())
    return hub


def script(student: Path, folder: Path) -> str:
    """The page's script for TRL's own trainer, with names of here and few steps."""
    (code,) = re.findall(r"^```python\n([^`]*trainer = SFTTrainer[^`]*)^```$", PAGE.read_text(), re.MULTILINE)
    few = f"{str(folder)!r}, max_length=1024, max_steps=2, per_device_train_batch_size=2, logging_steps=1, "
    few += "save_strategy='no', report_to='none', use_cpu=True, bf16=False, disable_tqdm=True"
    changed = {
        '"me/pairs", "qwen2.5-7b-instruct-pairs-prompt-sft"': f'"tester/pairs", "{CONFIG}-sft"',
        '"runs/mine-student", max_length=8192': few,
        '"Qwen/Qwen2.5-7B-Instruct"': f'"{student}"',
    }
    return _changed(code, changed) + LOOK


def _changed(code: str, changes: dict[str, str]) -> str:
    for before, after in changes.items():
        assert code.count(before) == 1, f"{before!r} is not once in:\n{code}"
        code = code.replace(before, after)
    return code


def test_trls_trainer_learns_published_pairs_and_ours_by_two_changes(published, tmp_path):
    theirs = script(student_folder(), tmp_path / "out")
    told = []
    for name, code in {"theirs": theirs, "ours": _changed(theirs, CHANGES)}.items():
        file = tmp_path / f"{name}.py"
        file.write_text(code)
        done = run(published, tmp_path / f"home-{name}", [sys.executable, str(file)])
        assert done.returncode == 0, done.stderr[-3000:]
        told.append(json.loads(done.stdout.splitlines()[-1]))
    plain, ours = told
    assert not plain["ours"] and ours["ours"] and plain["rows"] == ours["rows"] == ["id", "prompt", "completion"]
    assert all(sum("loss" in step for step in one["log"]) == 2 for one in told)
    assert not any("prefix/nll" in step for step in plain["log"])
    first = ours["log"][0]
    assert first["prefix/num_tokens"] > 0 and first["continuation/num_tokens"] > 0
