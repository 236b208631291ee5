"""The card of a published student: of its training, of its evaluation, and of people."""

import re

import pytest
import yaml
from finished_runs import evaluation_run
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load

from palign_hf.errors import UserError
from palign_hf.hub.cards import parts
from palign_hf.hub.model_card import PLOT, model_facts, render, updated
from palign_hf.training.config import PAlignConfig
from palign_hf.training.report import model_card


REPO = "me/student"


@pytest.fixture
def student(tmp_path):
    """The folder of a training, with its card."""

    def make(name: str = "student", loss: float = 1.5, **given):
        folder = tmp_path / name
        (folder / "merged").mkdir(parents=True)
        card = model_card(
            PAlignConfig(str(folder), use_cpu=True, bf16=False, report_to="none", **given),
            model_name=name,
            base="me/base",
            dataset_name="me/pairs",
            hub_model_id=None,
            tags=["palign-hf"],
            accounts=[],
            history=[{"prefix/nll": loss, "prefix/token_accuracy": 0.5}],
            aligned=True,
            peft=True,
        )
        card.save(folder / "README.md")
        return folder

    return make


@pytest.fixture
def evaluation(tmp_path):
    return evaluation_run(tmp_path / "evaluation")


def test_it_tells_training_evaluation_and_study(student, evaluation, tmp_path):
    facts = model_facts(student(), repo_id=REPO, evaluation=evaluation, plot=True)
    card = render(facts, None)
    assert list(parts(card)) == ["student", "training", "evaluation", "study", "citation"]
    for line in (
        f'name = "{REPO}"',
        "| prefix | 1.5000 | 50.0% |",
        "| measure | aime25 | gsm8k | toy |",
        r"| pass@1, strict | 0.200 \[0.100, 0.300\] |",
        r"| pass@3, strict | 0.400 \[0.250, 0.600\] |",
        r"| tokens | 300 \[250, 350\] |",
        "| cut | 0.125 | 0.125 | 0.125 |",
        "| evaluated as | small |",
        "| command | palign evaluate --student small |",
        f"]({PLOT})",
    ):
        assert line in card, line
    assert "/data/" not in card and str(tmp_path) not in card
    assert updated(facts, card) == (card, [])


def test_its_yaml_is_read_by_the_hub(student, evaluation, tmp_path):
    card = ModelCard(render(model_facts(student(), repo_id=REPO, evaluation=evaluation), None))
    card.save(tmp_path / "README.md")
    data = metadata_load(tmp_path / "README.md")
    assert data["base_model"] == "me/base" and data["datasets"] == "me/pairs" and data["library_name"] == "peft"
    found = {(one.dataset_type, one.metric_type): one for one in card.data.eval_results}
    assert {key: one.metric_value for key, one in found.items()} == {
        ("yentinglin/aime_2025", "pass@1"): 20.0,
        ("yentinglin/aime_2025", "pass@3"): 40.0,
        ("openai/gsm8k", "pass@1"): 20.0,
        ("openai/gsm8k", "pass@3"): 40.0,
    }
    assert found["yentinglin/aime_2025", "pass@1"].dataset_revision == "6f71d77b0b89b9dabe07ab466c51df33f514df7f"
    assert found["openai/gsm8k", "pass@1"].dataset_revision is None


def test_a_new_training_is_told_and_edits_survive(student, evaluation):
    first = render(model_facts(student(), repo_id=REPO, evaluation=evaluation), None)
    edited = (
        first.replace("# student\n", "# The student\n\nOurs.\n")
        .replace("- palign-hf\n", "- palign-hf\n- by-hand\n")
        .replace("pipeline_tag: text-generation\n", "pipeline_tag: text-generation\nlicense: mit # asked\n")
        .replace("## Evaluation\n", "## How good it is\n")
    )
    again = model_facts(student("again", loss=0.5), repo_id=REPO, evaluation=evaluation)
    told, notes = updated(again, edited)
    for kept in ("# The student\n\nOurs.\n", "- by-hand\n", "license: mit # asked\n", "## How good it is\n"):
        assert kept in told
    assert "| prefix | 0.5000 |" in told and "| prefix | 1.5000 |" not in told
    assert notes == ["part `evaluation` of the card was edited, and stays as it is"]
    assert updated(again, told)[0] == told


def test_a_deleted_part_stays_out_and_an_evaluation_comes_later(student, evaluation):
    folder = student()
    first = render(model_facts(folder, repo_id=REPO), None)
    end = "<!-- palign:end citation -->"
    deleted = first[: first.index("<!-- palign:begin citation")] + first[first.index(end) + len(end) :]
    told, notes = updated(model_facts(folder, repo_id=REPO, evaluation=evaluation), deleted)
    assert list(parts(told)) == ["student", "training", "evaluation"]
    assert notes == ["part `citation` of the card was deleted, and stays out"]


def test_an_evaluation_that_was_deleted_stays_out(student, evaluation):
    facts = model_facts(student(), repo_id=REPO, evaluation=evaluation)
    card = render(facts, None)
    end = "<!-- palign:end evaluation -->"
    deleted = card[: card.index("<!-- palign:begin evaluation")] + card[card.index(end) + len(end) :]
    assert updated(facts, deleted) == (deleted, ["part `evaluation` of the card was deleted, and stays out"])


def test_figures_of_an_earlier_training_are_told(student, evaluation):
    card = render(model_facts(student(), repo_id=REPO, evaluation=evaluation), None)
    told, notes = updated(model_facts(student("again", loss=0.5), repo_id=REPO), card)
    assert parts(told)["evaluation"] == parts(card)["evaluation"] and "of an earlier training" in notes[0]
    assert updated(model_facts(student("same"), repo_id=REPO), card)[1] == []


def test_results_of_others_stay_in_the_model_index(student, evaluation):
    facts = model_facts(student(), repo_id=REPO, evaluation=evaluation)
    card = render(facts, None)
    data = yaml.safe_load(card.split("---\n")[1])
    theirs = {
        "task": {"type": "text-generation"},
        "dataset": {"name": "Other", "type": "o/o"},
        "metrics": [{"type": "f1", "value": 1}],
    }
    data["model-index"][0]["results"].append(theirs)
    body = card.split("---\n", 2)[2]
    told = render(facts, f"---\n{yaml.safe_dump(data)}---\n{body}")
    results = ModelCard(told).data.eval_results
    assert len(results) == 5 and [one.dataset_type for one in results].count("o/o") == 1


def test_a_merged_student_is_no_adapter(student):
    folder = student()
    data = ModelCard(render(model_facts(folder / "merged", repo_id=REPO), None)).data
    assert (data.library_name, data.base_model_relation) == ("transformers", "finetune")
    assert ModelCard(render(model_facts(folder, repo_id=REPO), None)).data.library_name == "peft"


def test_names_out_of_an_evaluation_stay_text(student, tmp_path):
    hostile = "a|b`<script>\u202e**x**"
    told = evaluation_run(tmp_path / "hostile", settings={"student_name": hostile, "grader": {"name": hostile}})
    card = render(model_facts(student(), repo_id=REPO, evaluation=told), None)
    text = re.sub(r"\\.", "", parts(card)["evaluation"].text)
    assert "<" not in text and "`" not in text and "\u202e" not in card and "**" not in text
    assert all(line.count("|") == 3 for line in text.splitlines() if line.startswith("| grader"))


def test_what_is_no_student_is_refused_in_words(tmp_path, student):
    with pytest.raises(UserError, match="which a training writes at its end"):
        model_facts(tmp_path, repo_id=REPO)
    with pytest.raises(UserError, match=r"has no `report.json` of an evaluation"):
        model_facts(student(), repo_id=REPO, evaluation=tmp_path)
