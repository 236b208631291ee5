"""`palign train` takes every layout that `PAlignTrainer` takes; what it reports of each is what was read."""

import json

import pytest
from datasets import Dataset, DatasetDict
from pair_tables import pair, table
from tiny import byte_level, fast

from palign_hf.config import build
from palign_hf.errors import UserError
from palign_hf.prompts import tag_style
from palign_hf.training.data import read_lessons
from palign_hf.training.settings import PairSettings, TrainConfig
from palign_hf.training.stage import TRAIN


TOKENIZER = fast(byte_level())
WRAPPED = tag_style("prefix").wrap("Add 1. ", "So 2.")


def user(n):
    return {"role": "user", "content": f"What is {n}?"}


def reply(text):
    return {"role": "assistant", "content": text}


LAYOUTS = {
    "question": (
        lambda n: {"question": f"What is {n}?", "prefix": "Add 1. ", "continuation": "So 2."},
        "question, prefix, continuation",
    ),
    "prompt": (
        lambda n: {"prompt": [user(n)], "prefix": "Add 1. ", "continuation": "So 2."},
        "prompt, prefix, continuation",
    ),
    "completion": (lambda n: {"prompt": [user(n)], "completion": [reply(WRAPPED)]}, "completion with tags"),
    "tokens": (
        lambda n: {"input_ids": [5 + n, 7, 8, 9], "segment_ids": [0, 1, 2, 3], "labels": [-100, 7, 8, 9]},
        "tokens with segments",
    ),
    "messages": (lambda n: {"messages": [user(n), reply("So 2.")]}, "plain data"),
    "conversations": (
        lambda n: {"conversations": [{"from": "user", "value": f"{n}?"}, {"from": "assistant", "value": "2."}]},
        "plain data",
    ),
    "prompt and completion": (lambda n: {"prompt": f"What is {n}? ", "completion": "So 2."}, "plain data"),
    "text": (lambda n: {"text": f"What is {n}? So 2."}, "plain data"),
    "input_ids": (lambda n: {"input_ids": [5 + n, 7, 8, 9]}, "plain data"),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def rows(layout, count=6):
    return Dataset.from_list([LAYOUTS[layout][0](n) for n in range(count)])


@pytest.fixture
def read(tmp_path):
    def lessons(dataset, name="rows.parquet", **given):
        path = tmp_path / name
        if not path.exists():
            dataset.to_parquet(str(path))
        limit = given.pop("limit", None)
        config = TrainConfig(pairs=PairSettings(source=str(path), max_samples=limit), student="tiny", **given)
        found = read_lessons(config, TOKENIZER)
        assert len(found.train) + sum(found.left_out.values()) == found.given
        return found

    return lessons


@every_layout
def test_every_row_of_a_layout_is_read_and_counted(read, layout):
    found = read(rows(layout))
    assert (found.given, len(found.train), found.measured, found.pairs) == (6, 6, None, False)
    assert found.layout_name == LAYOUTS[layout][1] and set(found.read) == set(rows(layout).column_names)
    assert found.train[:] == rows(layout)[:] and not found.left_out
    assert read(rows(layout), limit=2).given == 2


@every_layout
def test_a_share_is_held_out_by_problem_whatever_the_order(read, layout):
    found = read(rows(layout), eval=0.34)
    assert (len(found.measured), found.left_out) == (2, {"kept for the evaluation": 2})
    again = read(rows(layout).select(range(5, -1, -1)), "backwards.parquet", eval=0.34)
    assert sorted(map(str, again.measured)) == sorted(map(str, found.measured))


def test_rows_of_one_problem_are_held_out_together(read):
    doubled = Dataset.from_list([LAYOUTS["messages"][0](n % 3) | {"id": f"p{n % 3}"} for n in range(6)])
    found = read(doubled, eval=0.34)
    assert len(found.measured) == 2 and not set(found.measured["id"]) & set(found.train["id"])


def test_a_file_a_folder_and_a_saved_dataset_are_read_alike(tmp_path):
    plain = rows("messages")
    plain.to_json(str(tmp_path / "rows.jsonl"))
    plain.save_to_disk(str(tmp_path / "saved"))
    DatasetDict(train=plain, test=plain.select([0])).save_to_disk(str(tmp_path / "splits"))
    (tmp_path / "folder").mkdir()
    plain.to_parquet(str(tmp_path / "folder" / "train-00000-of-00001.parquet"))
    for name in ("rows.jsonl", "saved", "splits", "folder"):
        config = TrainConfig(pairs=PairSettings(source=str(tmp_path / name)), student="tiny")
        assert len(read_lessons(config, TOKENIZER).train) == 6
    config = TrainConfig(pairs=PairSettings(source=str(tmp_path / "splits")), student="tiny", eval="test")
    assert len(read_lessons(config, TOKENIZER).measured) == 1


def test_rows_with_a_status_are_those_to_train_on(read):
    kept = [LAYOUTS["question"][0](n) | {"status": "rejected" if n == 1 else "kept"} for n in range(4)]
    found = read(Dataset.from_list(kept))
    assert len(found.train) == 3 and found.left_out == {"not kept: rejected": 1}
    with pytest.raises(UserError, match="None of the 1 rows has a `status` that is trained on"):
        read(Dataset.from_list(kept[1:2]), "rejected.parquet")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"baseline": "label"}, "`baseline=label` needs PAIRS, and .* is another table"),
        ({"budget": 100}, "`budget=100` needs PAIRS"),
        ({"per_problem": 2}, "`per_problem=2` needs PAIRS"),
    ],
)
def test_settings_that_only_pairs_have_are_refused(read, given, message):
    with pytest.raises(UserError, match=message):
        read(rows("messages"), **given)


def test_other_tables_are_refused_with_what_to_do(read, tmp_path):
    with pytest.raises(UserError, match="`.*odd.parquet` can't be trained on: A dataset with the columns `odd`"):
        read(Dataset.from_list([{"odd": "x"}]), "odd.parquet")
    with pytest.raises(UserError, match="the column `image`, and `palign train` trains on text"):
        read(Dataset.from_list([{"image": "x", "text": "y"}]), "image.parquet")
    from palign_hf.schema import PREFIXES

    empty = Dataset.from_dict({name: [None] for name in PREFIXES.columns}, features=PREFIXES.features)
    with pytest.raises(UserError, match="a table of PREFIXES, which has no continuations.*`palign align`"):
        read(empty, "prefixes.parquet")
    DatasetDict(train=rows("text"), test=rows("question")).save_to_disk(str(tmp_path / "mixed"))
    mixed = PairSettings(source=str(tmp_path / "mixed"))
    with pytest.raises(UserError, match="`eval='test'` is a split of another layout than `train`"):
        read_lessons(TrainConfig(pairs=mixed, student="tiny", eval="test"), TOKENIZER)


def test_pairs_are_pairs_still(read):
    found = read(table(pair("a"), pair("a", 1), pair("b", 0, "rejected")))
    assert found.pairs and found.layout == "question" and found.layout_name == "PAIRS"
    assert found.left_out == {"not kept: rejected": 1, "another sample of its problem": 1}


@every_layout
def test_the_dry_run_counts_rows_and_tokens(layout, tiny_student, tmp_path):
    rows(layout).to_parquet(str(tmp_path / "rows.parquet"))
    given = {"student": str(tiny_student), "pairs": {"source": str(tmp_path / "rows.parquet")}}
    given |= {"output_dir": str(tmp_path / "out"), "training": {"max_length": 256}}
    said = str(TRAIN.forecast(build(TrainConfig, given, "a recipe")))
    assert f"learned    {LAYOUTS[layout][1]}: 6 of 6 rows" in said
    assert ("of them prefix" in said) == (LAYOUTS[layout][1] != "plain data")
    assert " 0 an epoch" not in said and "longest row" in said


def test_other_columns_and_other_rows_are_another_run(tiny_student, tmp_path):
    def identity(dataset, name):
        dataset.to_parquet(str(tmp_path / name))
        given = {"student": str(tiny_student), "pairs": {"source": str(tmp_path / name)}}
        given |= {"output_dir": str(tmp_path / "out"), "training": {"use_cpu": True, "bf16": False}}
        with TRAIN.open(build(TrainConfig, given, "a recipe")) as run:
            return json.loads(json.dumps(run.identity()))

    one = identity(rows("text"), "text.parquet")
    assert one == identity(rows("text"), "same.parquet") and one["layout"] == "plain data"
    assert one != identity(rows("messages"), "messages.parquet") and one != identity(rows("text", 5), "fewer.parquet")
    assert "layout" not in identity(table(pair("a")), "pairs.parquet")
