"""`palign train` on data without prefixes: two steps, and a report and a card with the figures of these rows alone."""

import json

import pytest
from datasets import Dataset

from palign_hf.cli import main
from palign_hf.toy import NAME


pytestmark = pytest.mark.integration

SETTINGS = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "max_length": 128}
SETTINGS |= {"use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "'no'"}


def conversation(n: int) -> dict:
    return {
        "messages": [
            {"role": "user", "content": f"What is {n} + 1?"},
            {"role": "assistant", "content": f"That is {n + 1}." * (60 if n == 3 else 1)},
        ]
    }


def test_a_plain_layout_trains_two_steps_and_is_reported_as_such(tmp_path, capsys):
    Dataset.from_list([conversation(n) for n in range(12)]).to_json(str(tmp_path / "plain.jsonl"))
    out = tmp_path / "student"
    settings = [f"training.{name}={value}" for name, value in SETTINGS.items()]
    settings += [f"pairs.source={tmp_path / 'plain.jsonl'}", f"student={NAME}", f"output_dir={out}", "eval=0.25"]
    settings += ["stops=2", "stops_tokens=8"]
    command = ["train", *(word for one in settings for word in ("--set", one))]
    assert main([*command, "--dry-run"]) == 0
    assert "learned    plain data: 9 of 12 rows" in capsys.readouterr().out
    assert main(command) == 0
    printed = capsys.readouterr().out
    report = json.loads((out / "report.json").read_text())
    assert report["statuses"] == {"learned": 9, "left out": 3} and report["rows"] == 12
    assert report["reasons"] == {"kept for the evaluation": 3}
    assert report["steps"] == 2 and report["measured_rows"] == 3 and report["measured"]["loss"] > 0
    assert report["full"] <= 1 and report["settings"]["input"]["layout"] == "plain data"
    assert set(report["tokens"]) == {"prompt", "target"} and report["tokens"]["target"] > 0
    assert "baseline" not in report["settings"] and report["stops"]["replies"] == 2
    assert not any(name.startswith(("prefix", "close_tag", "continuation")) for name in report["first"])
    page, card = (out / "report.md").read_text(), (out / "README.md").read_text()
    assert "| layout of the rows | plain data |" in page and "baseline" not in page and "draft, as" not in printed
    assert "on data without prefixes" in card and "prefix_loss_weight" not in card and "Begin_of_Prefix" not in card
    # The same command does nothing more.
    assert main(command) == 0 and "This training is finished" in capsys.readouterr().out
