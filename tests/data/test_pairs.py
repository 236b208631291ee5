"""PAIRS read back: from every place, in this version and the first one; what is none is refused in words."""

import pytest
from datasets import Dataset, DatasetDict, Features
from pair_tables import pair, table

from palign_hf.data.pairs import load_pairs, split_by_outcome
from palign_hf.errors import UserError
from palign_hf.schema import PAIRS, PREFIXES, SchemaError


KEPT = pair(strict=True, flags=[])
WRONG = pair("a", 1, "rejected", reason="wrong", strict=False, flags=["cut"])
LEFT_OUT = pair("b", 0, "left_out", reason="no gold answer")


class TestPlaces:
    def test_a_loaded_table_is_read_as_it_is_with_its_further_columns(self):
        given = table(KEPT, WRONG, LEFT_OUT).add_column("level", [1, 2, 3])
        read = load_pairs(given)
        assert read.features == given.features and list(read) == list(given)
        assert list(load_pairs(given.with_format("numpy"))) == list(given)

    @pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
    def test_a_file_has_the_types_of_the_table(self, tmp_path, suffix):
        given, path = table(KEPT, WRONG), tmp_path / f"pairs.{suffix}"
        (given.to_parquet if suffix == "parquet" else given.to_json)(str(path))
        read = load_pairs(path)
        assert {name: read.features[name] for name in PAIRS.columns} == dict(PAIRS.features)
        assert list(read.select_columns(list(PAIRS.columns))) == list(given)

    def test_a_folder_of_a_run_gives_what_is_kept_or_what_is_not(self, tmp_path):
        for split, rows in split_by_outcome(table(KEPT, WRONG, LEFT_OUT)).items():
            rows.to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
        (tmp_path / "report.json").write_text("{}")
        assert [row["status"] for row in load_pairs(tmp_path)] == ["kept"]
        assert [row["status"] for row in load_pairs(tmp_path, split="rejected")] == ["rejected", "left_out"]
        with pytest.raises(UserError, match="test"):
            load_pairs(tmp_path, split="test")

    def test_saved_to_disk_with_and_without_splits(self, tmp_path):
        table(KEPT, WRONG).save_to_disk(str(tmp_path / "one"))
        split_by_outcome(table(KEPT, WRONG)).save_to_disk(str(tmp_path / "two"))
        assert len(load_pairs(tmp_path / "one")) == 2
        assert load_pairs(tmp_path / "two", split="rejected")["sample"][:] == [1]
        with pytest.raises(UserError, match="`split='rejected'` can't be taken from `one`"):
            load_pairs(tmp_path / "one", split="rejected")


def test_a_row_may_lack_a_prefix_as_baselines_do_or_the_question_for_which_it_was_skipped():
    skipped = pair("b", status="skipped", question=None, prefix="", continuation="")
    assert load_pairs(table(KEPT | {"prefix": None}, skipped))["prefix"][:] == [None, ""]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (table(KEPT).remove_columns("reason"), "it lacks `reason`, and has `id`"),
        (table(KEPT).rename_column("continuation", "continuaton"), "`continuation` .nearest match: `continuaton`"),
        (Dataset.from_dict({name: [] for name in PREFIXES.columns}, features=PREFIXES.features), "align it first"),
        (Dataset.from_dict({"instruction": ["i"], "output": ["o"]}), "`load_prefixes`"),
        (table(KEPT, KEPT), "must be unique together"),
        (table(KEPT | {"status": "good"}), "`status` of PAIRS holds `good`.*`kept`, `rejected`"),
        (table(KEPT | {"continuation": None}), "`continuation` of PAIRS is null in row 1"),
        (table(KEPT).to_iterable_dataset(), "Load it without streaming"),
    ],
)
def test_what_is_no_table_of_pairs_is_refused_in_words(given, message):
    with pytest.raises(SchemaError, match=message):
        load_pairs(given)


def first_version(*rows: dict) -> Dataset:
    """A table as the first release described it."""
    columns = [*PREFIXES.columns, "continuation", "finish_reason", "answer_found", "correct", "flags", "sample"]
    usual = {"question": "q", "trace": "p and more", "prefix": "p", "prefix_end": 1, "continuation": "c", "probes": []}
    usual |= {"status": "sufficient", "finish_reason": "stop", "flags": ["leak"], "trace_tokens": 5}
    features = Features({**PREFIXES.features, **PAIRS.features, "correct": PAIRS.features["strict"]})
    features = Features({name: features[name] for name in columns})
    return Dataset.from_list([dict.fromkeys(columns) | usual | row for row in rows], features=features)


class TestVersion1:
    def test_becomes_version_2_by_its_one_verdict(self):
        old = first_version(
            {"id": "a", "sample": 0, "correct": True},
            {"id": "a", "sample": 1, "correct": False},
            {"id": "b", "sample": 0, "correct": None},
            {"id": "c", "sample": 0, "correct": None, "status": "skipped", "reason": "too long"},
            {"id": "d", "sample": 0, "correct": False, "status": "error"},
        ).add_column("level", [1, 2, 3, 4, 5])
        read = load_pairs(old)
        assert read.features == PAIRS.features | {"level": old.features["level"]}
        assert read["status"][:] == ["kept", "rejected", "rejected", "skipped", "rejected"]
        assert read["strict"][:] == read["lenient"][:] == [True, False, None, None, False]
        told = [None, "not correct, by version 1 of the table", "not known to be correct, by version 1 of the table"]
        assert read["reason"][:] == [*told, "too long", told[1]]
        row = read[0]
        same = {"id": "a", "prefix": "p", "continuation": "c", "finish_reason": "stop", "flags": ["leak"]}
        assert {name: row[name] for name in same} == same
        assert (row["prefix_end"], row["trace_tokens"], row["level"]) == (1, 5, 1)
        assert {row[name] for name in ("fallback", "mode", "seed", "grading_error", "tokens", "engine")} == {None}

    def test_samples_without_numbers_are_numbered_in_their_order(self):
        old = first_version(*({"id": name, "correct": True} for name in "abaab"))
        assert load_pairs(old)["sample"][:] == [0, 0, 1, 2, 1]
        mixed = first_version({"id": "a", "sample": 1, "correct": True}, {"id": "a", "correct": True})
        with pytest.raises(SchemaError, match="`sample` of PAIRS is null in row 2"):
            load_pairs(mixed)


def test_outcomes_are_split_as_a_run_publishes_them():
    given = table(WRONG, KEPT, LEFT_OUT)
    splits = split_by_outcome(given)
    assert isinstance(splits, DatasetDict) and list(splits) == ["train", "rejected"]
    assert [list(split) for split in splits.values()] == [[given[1]], [given[0], given[2]]]
    assert [len(split) for split in split_by_outcome(table(KEPT)).values()] == [1, 0]
