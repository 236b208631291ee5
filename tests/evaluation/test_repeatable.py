"""What a report says about what comes again: a sentence for each engine that drew, with the seed."""

import json

import pytest

from palign_hf.evaluation.report import ENGINES, repeatable
from palign_hf.evaluation.stage import EVALUATE, EvaluateConfig
from palign_hf.runs.launch import run_here


def test_each_engine_that_drew_has_its_sentence_and_no_other():
    told = repeatable(["vllm 0.32.0 (bfloat16)", "vllm 0.33.0 (bfloat16)"], 7, 2.5)
    assert list(told) == ["seed", "vllm", "ledger", "grades", "intervals"]
    assert told["vllm"] == ENGINES["vllm"] and "rounding depends on the rest of its batch" in told["vllm"]
    assert told["seed"].startswith("The seed is 7;") and "longer than 2.5 s" in told["grades"]
    both = repeatable(["server 1 (auto)", "transformers 5 (float32)"], 0, 5)
    assert "on a CPU the same seed gives the same samples" in both["transformers"]
    assert "depends on the server" in both["server"]
    assert all(sentence.endswith(".") and ". " not in sentence for sentence in both.values())
    assert "is unknown" in repeatable(["mine 1 (int8)"], 0, 5)["mine"]


@pytest.mark.parametrize("again", [False, True])
def test_a_report_says_who_drew_the_samples_also_those_of_an_earlier_run(again, pupil, speaker, tmp_path):
    config = {
        "student": str(pupil),
        "tasks": ["toy"],
        "max_samples": 2,
        "grader": "exact",
        "progress": False,
        "seed": 3,
    }
    config |= {"ledger": str(tmp_path / "ledger"), "output_dir": str(tmp_path / "out"), "engine": "transformers"}
    for _ in range(1 + again):
        assert run_here(EVALUATE, EvaluateConfig(**config)) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["drawn_by"] == {"fake 1 (float64)": 6} and len(speaker.asked) == 6
    assert set(report["repeatable"]) == {"seed", "fake", "ledger", "grades", "intervals"}
    page = (tmp_path / "out" / "report.md").read_text()
    assert "## Reproducibility" in page and "| drawn by | fake 1 (float64): 6 samples |" in page
    assert all(sentence in page for sentence in report["repeatable"].values()) and "The seed is 3;" in page
