"""The student that ships: whole, as its card says, and good enough to make searching mean something."""

import json
import re
from dataclasses import asdict

import pytest
from huggingface_hub import ModelCard

from examples.toy.student.exam import judge_curves
from examples.toy.student.lessons import LessonPlan
from palign_hf.generation.rendering import JudgePrompt
from palign_hf.prompts import JUDGE, LABELS
from palign_hf.toy import student_folder
from palign_hf.toy.world.problems import judge_skill, problems


@pytest.fixture(scope="module")
def loaded(one_thread):
    """Weights and tokenizer, as any user of transformers loads them."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(student_folder()), AutoTokenizer.from_pretrained(student_folder())


@pytest.fixture(scope="module")
def figures():
    results = ModelCard.load(student_folder() / "README.md").data.eval_results
    return {result.metric_name: result.metric_value for result in results}


def test_it_is_small_and_whole():
    names = {path.name for path in student_folder().iterdir()}
    assert names == {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in student_folder().iterdir()) < 8 * 2**20


def test_it_has_between_one_and_five_million_parameters(loaded):
    model, _ = loaded
    assert 1e6 < model.num_parameters() < 5e6


def test_its_card_states_a_judge_that_is_useful_but_not_perfect(figures):
    assert 0.85 <= figures["AUROC of the judge, every cut"] < 1
    assert 0.6 < figures["AUROC of the judge, near the true cut"] < 0.995
    assert 0.8 < figures["accuracy of the judge, every cut"] < 0.995


def test_its_card_says_that_sufficient_is_true_of_it():
    """It finishes from the true cut far more often than from less: else the word would mean nothing of the student."""
    card = (student_folder() / "README.md").read_text()
    share = dict(re.findall(r"^\| ([\w ]+) \| ([\d.]+)% \|$", card, re.MULTILINE))
    assert float(share["the true cut"]) > 5 * float(share["2 segments too few"])
    assert float(share["the true cut"]) > 40 and float(share["1"]) > 85 > 10 > float(share["4"])


def test_the_card_is_true_of_the_weights(loaded, figures):
    """Read again on fewer of the same problems: within what so many cuts can tell."""
    model, tokenizer = loaded
    skill = judge_skill(judge_curves(model, tokenizer, problems("test", 25)))
    assert skill.cuts > 1000
    assert abs(skill.auroc - figures["AUROC of the judge, every cut"]) < 0.03
    assert abs(skill.accuracy - figures["accuracy of the judge, every cut"]) < 0.05
    assert skill.near_auroc > skill.near_auroc_of_length + 0.1


def test_the_card_comes_from_the_plan_of_this_release():
    """The command in the card makes this student: no option of the plan differs from the defaults."""
    card = (student_folder() / "README.md").read_text()
    assert "python -m examples.toy.student.build --output-dir runs/toy/student\n" in card
    assert json.loads((student_folder() / "config.json").read_text())["toy_plan"] == asdict(LessonPlan())


def test_the_judge_prompt_is_exact_in_its_tokens(loaded):
    _, tokenizer = loaded
    prompt = JudgePrompt(tokenizer, JUDGE, LABELS, "palign-toy")
    assert prompt.exact and prompt.suffix_tokens < 12


def test_it_writes_the_labels_out_when_it_is_asked_in_text(loaded):
    """The free-text criterion reads what it generates."""
    model, tokenizer = loaded
    said = []
    for problem in problems("test", 12):
        prompt = JUDGE.render(question=problem.question, prefix=problem.trace)
        batch = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        reply = model.generate(**batch, max_new_tokens=8, do_sample=False)[0, batch["input_ids"].shape[1] :]
        said.append(tokenizer.decode(reply))
    assert sum(text == LABELS[0] + "<|end|>" for text in said) >= 10, said
