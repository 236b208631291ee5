"""The card of a repository of evaluations: a part for each, people's edits left alone."""

import pytest
from finished_runs import evaluation_run
from huggingface_hub import DatasetCard

from palign_hf.hub.cards import parts
from palign_hf.hub.eval_results import read_evaluation
from palign_hf.hub.model_card import render_results, updated_results


REPO = "me/results"


@pytest.fixture
def evaluation(tmp_path):
    return read_evaluation(evaluation_run(tmp_path / "evaluation"))


def test_it_tells_how_to_load_what_was_measured_and_what_it_means(evaluation):
    card = render_results(evaluation, REPO, "small", ("samples",), None)
    assert list(parts(card)) == ["about", "config:small"]
    for words in (
        "# results",
        'samples = load_dataset("me/results", "small", split="samples")',
        r"| pass@1, strict | 0.200 \[0.100, 0.300\] |",
        "resampling problems",
    ):
        assert words in card
    data = DatasetCard(card).data.to_dict()
    assert data["configs"] == [
        {"config_name": "small", "data_files": [{"split": "samples", "path": "small/samples-*"}]}
    ]
    assert data["tags"] == ["palign-hf", "evaluation", "reasoning"]


def test_the_same_again_changes_nothing_and_another_student_gets_a_part(evaluation):
    once = render_results(evaluation, REPO, "small", ("samples",), None)
    assert updated_results(evaluation, REPO, "small", ("samples",), once) == (once, [])
    both = render_results(evaluation, REPO, "large", ("samples",), once)
    assert list(parts(both)) == ["about", "config:small", "config:large"]
    assert parts(both)["config:small"] == parts(once)["config:small"]
    assert [one["config_name"] for one in DatasetCard(both).data.to_dict()["configs"]] == ["small", "large"]


def test_what_people_write_stays(evaluation):
    card = render_results(evaluation, REPO, "small", ("samples",), None)
    edited = card.replace("# results", "# My results").replace("Samples that failed", "Those that failed")
    kept, notes = updated_results(evaluation, REPO, "small", ("samples",), edited)
    assert kept == edited and notes == ["part `about` of the card was edited, and stays as it is"]


def test_a_card_that_somebody_wrote_keeps_its_words(evaluation):
    card = render_results(evaluation, REPO, "small", ("samples",), "---\nlicense: mit\n---\nMine.\n")
    assert card.startswith("---\nlicense: mit\n") and "\nMine.\n" in card and "config:small" in parts(card)
