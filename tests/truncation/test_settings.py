"""Fingerprints: what they depend on, and that they never change by themselves."""

from dataclasses import replace
from pathlib import Path

import pytest

from palign_hf.errors import UserError
from palign_hf.students import Student
from palign_hf.truncation import settings as module
from palign_hf.truncation.criteria import SelfJudge
from palign_hf.truncation.search import Ascend, Binary, Linear
from palign_hf.truncation.settings import Recipe, Runtime, fingerprint


HUB = Student("me/student", commit="c0ffee", content=None)
RECIPE = Recipe(HUB, SelfJudge(), Ascend(), "sentence", None, 0.0)


def test_a_fingerprint_does_not_change_by_itself():
    # Written down: a change of these breaks every cache and ledger that exists.
    assert fingerprint({}) == "44136fa355b3678a"
    assert fingerprint({"b": [1, "caf\u00e9"], "a": None}) == "71e6231273c5004e"


def test_the_order_of_keys_does_not_matter_and_that_of_lists_does():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


@pytest.mark.parametrize(
    "change",
    [
        {"student": Student("me/student", commit="beef", content=None)},
        {"student": Student("you/student", commit="c0ffee", content=None)},
        {"student": Student("me/student", commit=None, content="abc")},
        {"criterion": SelfJudge(verdict="generate")},
        {"granularity": "paragraph"},
        {"context": 4096},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_margin_changes_the_judge_and_the_result(change):
    other = replace(RECIPE, **change)
    assert other.judge_fingerprint != RECIPE.judge_fingerprint
    assert other.fingerprint != RECIPE.fingerprint


@pytest.mark.parametrize("change", [{"search": Linear()}, {"search": Ascend(confirm=3)}, {"audit": 0.5}])
def test_what_changes_only_the_cuts_asked_keeps_the_ledger(change):
    other = replace(RECIPE, **change)
    assert other.judge_fingerprint == RECIPE.judge_fingerprint
    assert other.fingerprint != RECIPE.fingerprint


@pytest.mark.parametrize("constant", ["SCHEMA_VERSION", "TRANSFORM_VERSION"])
def test_a_raised_version_changes_the_result_and_keeps_the_ledger(monkeypatch, constant):
    before = RECIPE.fingerprint, RECIPE.judge_fingerprint
    monkeypatch.setattr(module, constant, 99)
    assert (RECIPE.fingerprint != before[0], RECIPE.judge_fingerprint == before[1]) == (True, True)


def test_a_raised_segmentation_changes_the_judge(monkeypatch):
    before = RECIPE.judge_fingerprint
    monkeypatch.setattr(module.segmentation, "VERSION", 99)
    assert RECIPE.judge_fingerprint != before


def test_a_folder_is_its_content_and_a_hub_student_its_commit():
    here, there = (Student(name, commit=None, content="abc") for name in ("here", "there"))
    assert replace(RECIPE, student=here).fingerprint == replace(RECIPE, student=there).fingerprint


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"granularity": "sentances"}, r"`granularity='sentances'` is unknown \(nearest match: `sentence`\)"),
        ({"audit": -0.1}, "`audit=-0.1` is no share"),
        ({"audit": 1.1}, "`audit=1.1` is no share"),
        ({"audit": float("nan")}, "`audit=nan` is no share"),
        ({"context": 0}, "`context=0` is no number of tokens"),
    ],
)
def test_a_recipe_that_can_not_be_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        replace(RECIPE, **change)


def test_ledgers_lie_where_they_are_told_to(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("PALIGN_HOME", raising=False)
    assert Runtime().ledger_folder == Path("/home/me/.cache/palign/ledgers")
    monkeypatch.setenv("PALIGN_HOME", "~/palign")
    assert Runtime().ledger_folder == Path("/home/me/palign/ledgers")
    assert Runtime(ledger="~/here").ledger_folder == Path("/home/me/here")
    assert Runtime(ledger="there").ledger_folder == Path("there")


def test_a_search_that_asks_other_cuts_is_another_result():
    assert len({replace(RECIPE, search=search).fingerprint for search in (Ascend(), Binary(), Linear())}) == 3
