"""The three tables: what they hold, and what their errors say."""

import pytest
from datasets import Dataset, Features, IterableDataset, List, Value

from palign_hf.evaluation.samples import SAMPLES
from palign_hf.schema import PAIRS, PREFIXES, STATUSES, TRACES, SchemaError, check_columns, check_table


ROW = {"id": "a", "question": "1+1?", "trace": "One. Two.", "answer": "2", "source": "test"}


def table(**changes: list) -> Dataset:
    columns = {name: [value, value] for name, value in ROW.items()} | {"id": ["a", "b"]} | changes
    return Dataset.from_dict(columns)


def test_tables_build_on_each_other():
    assert list(TRACES.columns) == ["id", "question", "trace", "answer", "source"]
    assert list(PREFIXES.columns)[:5] == list(TRACES.columns)
    assert {"trace", "probes"}.isdisjoint(PAIRS.columns)  # not once a sample: they join by id
    assert PREFIXES.features["probes"] == List(
        {"segments": Value("int32"), "margin": Value("float64"), "verdict": Value("string")}
    )
    assert {"sufficient", "full_trace", "skipped", "error"} <= set(STATUSES)


def test_a_good_dataset_passes_with_extra_columns_and_null_answers():
    check_table(table(answer=[None, None], extra=[1, 2]), TRACES)
    check_table(table(answer=[None, "3"]), TRACES)


def test_string_widths_do_not_matter():
    features = Features({name: Value("large_string") for name in TRACES.columns})
    check_table(table().cast(features), TRACES)


def test_missing_column_names_those_present_and_the_nearest():
    with pytest.raises(SchemaError) as error:
        check_table(table().rename_column("question", "questions"), TRACES)
    text = str(error.value)
    assert "`question` (nearest match: `questions`)" in text
    assert "`trace`" in text and "`questions`" in text and "rename_columns" in text


def test_nearest_match_is_never_a_column_that_is_already_used():
    with pytest.raises(SchemaError) as error:
        check_table(table().remove_columns("trace"), TRACES)
    assert "nearest" not in str(error.value)


def test_wrong_type_names_the_row_and_the_value():
    with pytest.raises(SchemaError, match=r"`answer` of TRACES must be `string`.*`int64` \(row 2: 2\)"):
        check_table(table(answer=[None, 2]), TRACES)


def test_wrong_type_inside_probes_is_seen():
    columns = {name: [None] for name in PREFIXES.columns} | {name: [value] for name, value in ROW.items()}
    columns |= {"prefix": [""], "status": ["skipped"]}
    columns |= {"probes": [[{"segments": "x", "margin": 1.0, "verdict": "enough"}]]}
    with pytest.raises(SchemaError, match="`probes`"):
        check_table(Dataset.from_dict(columns), PREFIXES)


def test_null_where_text_is_needed_names_the_rows():
    with pytest.raises(SchemaError, match="`trace` of TRACES is null in row 2"):
        check_table(table(trace=["x", None]), TRACES)


def test_null_rows_are_found_behind_a_selection():
    check_table(table(trace=["x", None]).select([0]), TRACES)
    with pytest.raises(SchemaError, match="null in row 1"):
        check_table(table(trace=["x", None]).select([1]), TRACES)


def test_duplicate_ids_list_the_first_five():
    ids = [f"p{i // 2}" for i in range(14)]
    columns = {name: [value] * 14 for name, value in ROW.items()} | {"id": ids}
    with pytest.raises(SchemaError) as error:
        check_table(Dataset.from_dict(columns), TRACES)
    text = str(error.value)
    assert "7 of its values are repeated: `p0`, `p1`, `p2`, `p3`, `p4`, ..." in text and "`p5`" not in text


def test_streaming_is_checked_by_its_columns():
    check_table(table().to_iterable_dataset(), TRACES)
    with pytest.raises(SchemaError, match="`trace`"):
        check_table(table().remove_columns("trace").to_iterable_dataset(), TRACES)
    with pytest.raises(SchemaError, match="declares no columns"):
        check_table(IterableDataset.from_generator(lambda: iter([ROW])), TRACES)


def test_empty_dataset_passes():
    check_table(Dataset.from_dict({name: [] for name in TRACES.columns}, features=TRACES.features), TRACES)


def pairs(**changes: list) -> Dataset:
    columns = {name: [None, None] for name in PAIRS.columns} | {"id": ["a", "a"], "sample": [0, 1]}
    columns |= {name: ["x", "x"] for name in ("question", "prefix", "continuation", "status")} | changes
    return Dataset.from_dict(columns, features=PAIRS.features)


def test_a_pair_is_named_by_its_problem_and_its_sample():
    check_table(pairs(), PAIRS)
    with pytest.raises(SchemaError, match=r"`id` and `sample` of PAIRS must be unique together.*`a / 1`"):
        check_table(pairs(sample=[1, 1]), PAIRS)


def test_a_stage_that_looks_after_nulls_itself_says_which_columns_have_none():
    check_table(pairs(prefix=[None, "x"]), PAIRS, filled=["id"])
    with pytest.raises(SchemaError, match="`prefix` of PAIRS is null in row 1"):
        check_table(pairs(prefix=[None, "x"]), PAIRS)


@pytest.mark.parametrize(
    ("table", "reader"),
    [
        (TRACES, "load_traces"),
        (PREFIXES, "load_prefixes"),
        (PAIRS, "load_pairs"),
        (SAMPLES, "palign grade --output-file"),
    ],
)
def test_a_missing_column_names_the_reader_of_its_table(table, reader):
    with pytest.raises(SchemaError, match=reader):
        check_columns(["id"], table)
