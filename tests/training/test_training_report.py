"""What a training's report says and what it warns of."""

import json
import math

import pytest

from palign_hf.training.report import TrainingReport


def report(**given) -> TrainingReport:
    figures = {"loss": 2.0, "prefix/nll": 2.5, "continuation/nll": 1.0, "close_tag/probability": 0.1}
    usual = {
        "rows": 100,
        "statuses": {"learned": 90, "left out": 10},
        "reasons": {"not kept: rejected": 10},
        "tokens": {"prompt": 10, "prefix": 20, "close_tag": 3, "continuation": 40},
        "steps": 12,
        "epochs": 3.0,
        "first": figures,
        "last": figures | {"loss": 1.0},
        "measured": {},
        "measured_rows": 0,
        "weights": {"trained": 10, "all": 1000},
        "settings": {"student": "me/student", "baseline": "p-align", "training": {"learning_rate": 5e-05}},
    }
    return TrainingReport(**usual | given)


def test_the_figures_are_told_from_first_to_last():
    told = dict(report(measured={"loss": 1.5}, seconds=61.2, peak_memory=2**31).lines())
    assert told["rows learned"] == "90" and told["rows left out"] == "10" and told["steps"] == "12 (3 epochs)"
    assert told["loss"] == "2.0000 -> 1.0000" and told["loss of the prefix"] == "2.5000 -> 2.5000"
    assert told["tokens an epoch"] == "73" and told["weights trained"] == "10 of 1,000"
    assert told["evaluation: loss"] == "1.5000" and told["seconds of training"] == "61"
    assert told["peak memory of the first GPU"] == "2.0 GiB"
    assert "accuracy of the prefix" not in told  # it wasn't measured


@pytest.mark.parametrize(
    ("given", "warning"),
    [
        ({"last": {"loss": math.nan}}, "The loss is not a number: lower `training.learning_rate`"),
        ({"reasons": {"longer than `max_length`": 9}}, "9 of 100 rows are longer than `max_length`"),
        ({"stops": (8, 5, 8, 8)}, "3 of 8 replies don't stop within 64 tokens"),
        ({"stops": (8, 8, 8, 6)}, "2 of 8 drafts are never closed: raise `training.close_tag_loss_weight`"),
        ({"stops": (8, 8, 2, 2)}, "6 of 8 replies don't begin with a draft"),
    ],
)
def test_what_went_wrong_is_warned_of_with_what_to_do(given, warning):
    if "stops" in given:
        names = ("replies", "stopped", "opened", "closed")
        given = {"stops": dict(zip(names, given["stops"], strict=True)) | {"tokens": 9.0, "limit": 64}}
    (said,) = report(**given).warnings()
    assert warning in said and warning in report(**given).text()


def test_a_good_training_is_not_warned_of_nor_is_one_without_tags():
    fine = {"replies": 8, "stopped": 8, "opened": 8, "closed": 8, "tokens": 9.0, "limit": 64}
    assert report(stops=fine).warnings() == []
    plain = fine | {"opened": 0, "closed": 0}
    for settings in ({"baseline": "label"}, {"baseline": "p-align", "training": {"tag_style": "none"}}):
        assert report(stops=plain, settings=settings).warnings() == []


def test_the_page_has_the_run_its_settings_and_what_words_mean():
    page = report().page()
    assert page.startswith("# Training of me/student\n") and "| learning\\_rate | 5e-05 |" in page
    assert "- 10 rows: not kept: rejected" in page and "## Terms" in page


def test_a_training_that_diverged_says_so_everywhere_and_its_json_has_no_nan():
    """The loss alone tells nothing: transformers logs 0 where it is NaN."""
    last = {"loss": math.nan, "prefix/nll": math.nan, "grad_norm": math.inf}
    made = report(last=last, diverged=["3 of 9 trained weights hold NaN or infinite numbers"])
    (warning,) = made.warnings()
    for told in (warning, made.text(), made.page()):
        assert "The training diverged, and no student was saved: 3 of 9 trained weights" in told
    assert dict(made.lines())["student"] == "none: the training diverged"
    assert dict(made.lines())["loss"] == "2.0000 -> nan"
    read = json.loads(made.json(), parse_constant=pytest.fail)
    assert read["last"] == dict.fromkeys(last) and read["diverged"]
