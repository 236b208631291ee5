"""The build of a toy student: the same bytes from the same plan, refusals, and a small one that really learns."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from examples.toy.student import build
from examples.toy.student.build import main, train
from examples.toy.student.exam import Exam, judge_curves, student_card
from examples.toy.student.lessons import LessonPlan, curriculum
from palign_hf.errors import UserError
from palign_hf.toy import student_folder
from palign_hf.toy.world.problems import JudgeSkill, judge_skill, problems


TINY = LessonPlan(
    steps=3, judging=1, finishing=1, solving=2, sums=3, layers=1, width=32, inner=48, texts=300, vocabulary=1000
)


def digest(model) -> str:
    total = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        total.update(name.encode() + weight.detach().numpy().tobytes())
    return total.hexdigest()


def test_the_same_plan_gives_the_same_weights(tokenizer, tmp_path, one_thread):
    made = digest(train(TINY, tokenizer, tmp_path / "once"))
    assert digest(train(TINY, tokenizer, tmp_path / "again")) == made
    assert digest(train(replace(TINY, seed=1), tokenizer, tmp_path / "other")) != made


def interrupted_before(last: int):
    """Lessons that end like Ctrl-C before the step `last`."""

    def lessons(plan, tokenizer, first=0):
        for step, groups in enumerate(curriculum(plan, tokenizer, first), first):
            if step == last:
                raise KeyboardInterrupt
            yield groups

    return lessons


def test_an_interrupted_build_goes_on_and_ends_with_the_same_weights(tokenizer, tmp_path, monkeypatch, one_thread):
    plan = replace(TINY, steps=5)
    whole = digest(train(plan, tokenizer, tmp_path / "whole"))
    monkeypatch.setattr(build, "_KEEP_EVERY", 2)
    monkeypatch.setattr(build, "curriculum", interrupted_before(3))
    with pytest.raises(KeyboardInterrupt):
        train(plan, tokenizer, tmp_path / "state")
    begun = []
    monkeypatch.setattr(build, "curriculum", lambda *given: begun.append(given[2]) or curriculum(*given))
    assert digest(train(plan, tokenizer, tmp_path / "state")) == whole
    # Two steps were kept of the three; once through, nothing is left to do.
    assert digest(train(plan, tokenizer, tmp_path / "state")) == whole and begun == [2, 5]
    with pytest.raises(UserError, match="state of a build with another plan"):
        train(replace(plan, seed=1), tokenizer, tmp_path / "state")


def test_an_interrupt_is_one_line_that_says_how_to_go_on(tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.setattr(build, "_KEEP_EVERY", 1)
    monkeypatch.setattr(build, "curriculum", interrupted_before(1))
    given = [word for name, value in asdict(TINY).items() for word in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["--output-dir", str(tmp_path), *given]) == 130
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("build: interrupted.") and "run the same command again" in told
    assert [path.name for path in tmp_path.iterdir()] == [".unfinished.pt"]


def test_plans_that_make_no_student_are_refused_in_one_line(tmp_path, capsys):
    assert main(["--output-dir", str(tmp_path), "--width", "100"]) == 2
    assert "`--width 100`" in capsys.readouterr().err
    assert main(["--output-dir", str(tmp_path), "--steps", "0"]) == 2
    assert "`--steps 0`" in capsys.readouterr().err
    assert main(["--output-dir", str(tmp_path), "--seed", "250"]) == 2
    assert "`--seed 250`" in capsys.readouterr().err
    assert main(["--output-dir", str(tmp_path), "--exam-rows", "5"]) == 2
    assert "`--exam-rows 5`" in capsys.readouterr().err
    nothing = [word for name in ("judging", "finishing", "solving", "sums") for word in (f"--{name}", "0")]
    assert main(["--output-dir", str(tmp_path), *nothing]) == 2
    assert "teaches nothing" in capsys.readouterr().err


def test_folders_that_hold_no_student_or_can_not_be_made_are_refused_in_one_line(tmp_path, capsys):
    assert main(["--output-dir", str(tmp_path / "typo"), "--exam-only"]) == 2
    assert "typo` holds no student" in capsys.readouterr().err
    assert main(["--output-dir", str(student_folder())]) == 2
    assert "holds a student already" in capsys.readouterr().err
    (tmp_path / "file").write_text("mine")
    assert main(["--output-dir", str(tmp_path / "file" / "student")]) == 2
    assert "can't be written to" in capsys.readouterr().err


def test_a_card_says_with_what_the_weights_were_made_whoever_examines_them():
    exam = Exam(20, 15, JudgeSkill(900, 0.9, 0.95, 0.9, 160, 0.8, 0.85, 0.6), {"1": 0.8}, {"nothing": 0.1})
    card = student_card(asdict(LessonPlan(steps=7)), "torch 1.0 on 64 cores", exam, 1_000_000)
    assert "Made with torch 1.0 on 64 cores;" in card and "--steps 7" in card


@pytest.mark.integration
def test_a_small_one_learns_to_judge_and_loads_everywhere(tmp_path, one_thread):
    """The command itself, a minute instead of many and ended once on its way: better than prefix length alone.

    Slow since it really trains, and then solves: with far fewer steps the judge is no better than length.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    plan = {"steps": 90, "judging": 2, "finishing": 0, "solving": 1, "sums": 5, "layers": 3, "width": 96}
    plan |= {"inner": 192, "texts": 300, "warm-up": 20}
    given = [word for name, value in plan.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "examples.toy.student.build", "--output-dir", str(tmp_path), "--exam-rows", "20"]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen([*command, *given], stderr=subprocess.PIPE, text=True, env=alone)
    while begun.poll() is None and not (tmp_path / ".unfinished.pt").exists():
        time.sleep(0.1)
    begun.send_signal(signal.SIGTERM)
    assert "build: ended by SIGTERM." in begun.communicate()[1] and begun.returncode == 143
    done = subprocess.run([*command, *given], capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not list(tmp_path.glob(".unfinished*"))
    assert f"wrote {tmp_path}" in done.stderr

    card = (tmp_path / "README.md").read_text()
    figures = figures_of(tmp_path)
    model, words = AutoModelForCausalLM.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    skill = judge_skill(judge_curves(model, words, problems("test", 20)))
    print(f"small student: {skill}")
    assert skill.auroc == pytest.approx(figures["AUROC of the judge, every cut"], abs=1e-3)
    assert skill.near_auroc > skill.near_auroc_of_length + 0.05
    assert "--steps 90" in card and "--width 96" in card
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["toy_made"] in card and config["dtype"] == "bfloat16"
    assert len(words) == model.vocab_size


def figures_of(folder: Path) -> dict[str, float]:
    """The figures in a card's metadata, as the Hub reads them."""
    from huggingface_hub import ModelCard

    results = ModelCard.load(folder / "README.md").data.eval_results
    return {result.metric_name: result.metric_value for result in results}
