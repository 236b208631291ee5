"""What a training takes of its pairs: every row is learned, measured, or left out for a reason."""

import pytest
from pair_tables import pair, table
from tiny import byte_level, fast

from palign_hf.errors import UserError
from palign_hf.training.data import read_lessons
from palign_hf.training.settings import PairSettings, TracedSettings, TrainConfig


TOKENIZER = fast(byte_level())


@pytest.fixture
def source(tmp_path):
    rows = [
        pair(f"p{n}", 0, "rejected" if n == 4 else "kept", prefix="" if n == 2 else f"So {n}. ") for n in range(12)
    ]
    table(*rows, pair("p1", 1), pair("p1", 2, "rejected")).to_parquet(tmp_path / "train-00000-of-00001.parquet")
    table(pair("q0"), pair("q1")).to_parquet(tmp_path / "validation-00000-of-00001.parquet")
    table(*rows).map(lambda row: {"trace": f"Let us see. It is {row['id']}. Yes."}).select_columns(
        ["id", "trace"]
    ).to_parquet(tmp_path / "traces.parquet")
    return tmp_path


def lessons(source, **given):
    limit = given.pop("max_samples", None)
    files = {"train": "train-*.parquet", "validation": "validation-*.parquet"}
    folder = source / "pairs"
    if not folder.exists():
        folder.mkdir()
        for pattern in files.values():
            for path in source.glob(pattern):
                path.rename(folder / path.name)
    settings = {"pairs": PairSettings(source=str(folder), max_samples=limit), "student": "tiny"}
    found = read_lessons(TrainConfig(**settings | given), TOKENIZER)
    assert len(found.train) + sum(found.left_out.values()) == found.given
    return found


def test_what_is_kept_is_learned_and_the_rest_is_counted(source):
    found = lessons(source)
    assert (found.given, len(found.train), found.measured) == (14, 11, None)
    assert found.left_out == {"not kept: rejected": 2, "another sample of its problem": 1}
    assert len(lessons(source, per_problem=None).train) == 12
    assert len(lessons(source, max_samples=3).train) == 3


def test_a_share_is_kept_apart_by_problem_whatever_the_order(source):
    found = lessons(source, eval=0.25)
    assert len(found.measured) == 3 and not set(found.measured["id"]) & set(found.train["id"])
    # With all its samples, those too that would not have been learned.
    assert found.left_out["kept for the evaluation"] >= 3
    assert lessons(source, eval=0.25).measured["id"][:] == found.measured["id"][:]
    with pytest.raises(UserError, match="`eval=0.9` of 1 problems with a kept pair would leave nothing to train on"):
        lessons(source, eval=0.9, max_samples=1)


def test_a_split_can_be_measured(source):
    found = lessons(source, eval="validation")
    assert found.measured["id"][:] == ["q0", "q1"] and len(found.train) == 11


def test_baselines_and_budgets_are_counted_too(source):
    found = lessons(source, baseline="prefix")
    assert found.left_out["the target would be empty"] == 1 and set(found.train["prefix"]) == {None}
    assert lessons(source, budget=40).left_out["over the budget of 40 tokens"] > 0
    traces = TracedSettings(source=str(source / "traces.parquet"))
    assert lessons(source, baseline="trace", prefixes=traces).train["continuation"][0] == "Let us see. It is p0. Yes."
    # What isn't asked for isn't read.
    assert len(lessons(source, prefixes=TracedSettings(source="nowhere")).train) == 11
