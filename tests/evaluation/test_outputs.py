"""Tables of outputs as people have them: lists, objects, rows a sample; and what can't be read says why."""

import gzip
import json
import os
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.evaluation.grade import read_rows
from palign_hf.evaluation.outputs import read_outputs


def read(rows, *given, **settings):
    return read_outputs(rows, *given, **settings).outputs


def texts(rows, *given, **settings):
    found = {}
    for one in read(rows, *given, **settings):
        found.setdefault(one.id, []).append(one.text)
    return found


def test_the_reference_s_layout():
    rows = [
        {"prompt_ori": "2+2?", "answer": "4", "output": ["a", None, ""]},
        {
            "prompt_ori": "2+3?",
            "answer": 5.0,
            "output": [{"text": "b", "finish_reason": "length"}, "c", {"text": None}],
        },
        {"prompt_ori": "2+4?", "answer": 6, "output": None},
        {"prompt_ori": "2+5?", "answer": "7", "output": []},
        {"prompt_ori": "2+6?", "answer": "8"},
    ]
    found = read_outputs(rows, benchmark="sums")
    assert texts(rows) == {"0": ["a", None, ""], "1": ["b", "c", None], **dict.fromkeys("234", [None] * 3)}
    assert [one.gold for one in found.outputs[::3]] == ["4", "5", "6", "7", "8"]
    assert {(one.benchmark, one.question) for one in found.outputs[:3]} == {("sums", "2+2?")}
    assert [one.finish_reason for one in found.outputs[3:6]] == ["length", None, None]
    assert found.rows == 5 and found.notes == {"problems without outputs, counted with 3 empty ones": 3}


@given(st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text()), max_size=4)), min_size=1, max_size=6))
def test_no_output_and_no_problem_goes_missing(lists):
    rows = [{"answer": "1", "output": one} for one in lists]
    found = texts(rows)
    assert len(found) == len(rows)
    for one, outputs in zip(lists, found.values(), strict=True):
        assert len(outputs) == len(one) if one else set(outputs) == {None}


def test_a_row_a_sample_and_columns_by_name():
    rows = [{"uid": f"q{k // 2}", "label": str(k // 2), "response": f"t{k}", "n": k} for k in range(4)]
    columns = {"id": "uid", "gold": "label", "output": "response", "tokens": "n"}
    found = read(rows, columns)
    assert [(one.id, one.sample, one.text, one.gold, one.tokens) for one in found] == [
        ("q0", 0, "t0", "0", 0),
        ("q0", 1, "t1", "0", 1),
        ("q1", 0, "t2", "1", 2),
        ("q1", 1, "t3", "1", 3),
    ]


def test_lists_beside_the_outputs_are_theirs_and_what_is_no_list_is_told():
    rows = [{"answer": "1", "output": ["a", "b"], "tokens": [3, 4], "seed": 7}]
    found = read_outputs(rows)
    assert [one.tokens for one in found.outputs] == [3, 4] and [one.seed for one in found.outputs] == [None, None]
    assert list(found.notes) == ["rows whose `seed` is no list like the outputs: it was not read"]


def test_columns_that_are_carried():
    rows = [{"answer": "1", "output": ["a"], "level": 3, "family": "bags"}]
    assert read(rows, carry=["level", "family"])[0].about == {"level": "3", "family": "bags"}
    with pytest.raises(UserError, match=r"`levle` can't be carried \(nearest match: `level`\)"):
        read(rows, carry=["levle"])


def test_half_a_character_is_replaced_and_told():
    found = read_outputs([{"answer": "1", "output": ["a\ud83d", "\ud83d\ude00"]}])
    assert [one.text for one in found.outputs] == ["a\ufffd", "\U0001f600"] and found.notes.total() == 2


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        ([{"q": 1}], None, "No column is known to hold the output: there are `q`. Name it: `columns={'output': ...}`"),
        ([{"output": ["a"]}], None, "to hold the gold"),
        ([{"answer": "1", "output": ["a"]}], {"gold": "anwser"}, "no column `anwser`.*nearest match: `answer`"),
        ([{"answer": "1", "output": ["a"]}], {"golden": "answer"}, "`golden` is not a column role.*`gold`"),
        ([{"answer": "1", "output": ["a"], "text": "b"}], None, "Both `output`, `text` may hold the output"),
        ([{"answer": "1", "output": ["a"]}, {"answer": " ", "output": ["a"]}], None, "Row 2 has no gold answer"),
        ([{"answer": ["1"], "output": ["a"]}], None, "Row 1: `answer` holds a `list`"),
        ([{"answer": "1", "output": ["a"]}, {"answer": "1", "output": "b"}], None, "Row 2: `output` holds a `str`"),
        ([{"answer": "1", "output": [7]}], None, "holds a `int` .*but text, or an object with `text` is needed"),
        ([{"answer": "1", "output": [{"txt": "a"}]}], None, "holds a `dict`.*an object with one of `text`"),
        ([{"answer": "1", "output": [{"text": "a", "tokens": "7"}]}], None, "`tokens` holds a `str`"),
        ([{"id": 3, "answer": "1", "output": ["a"]}] * 2, None, "The problem `3` has the rows 1 and 2"),
        ([{"question": "q", "answer": "1", "output": "a"}] * 2, None, "Rows 1 and 2 .*`columns={'id': 'question'}`"),
        ([{"id": "a", "answer": "1", "output": "a"}, {"id": "a", "answer": "2", "output": "b"}], None, "several gold"),
        ([{"id": None, "answer": "1", "output": "a"}], None, "Row 1 has no id"),
        ([{"id": "a", "sample": "x", "answer": "1", "output": "a"}], None, "`sample` holds a `str`"),
    ],
)
def test_what_can_not_be_read_says_why(rows, columns, words):
    with pytest.raises(UserError, match=words):
        read_outputs(rows, columns)


ROWS = [{"answer": "1", "output": ["a\u2028b", None]}, {"answer": "2", "output": None}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".parquet"])
def test_files_are_read_alike(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif suffix == ".json":
        path.write_text("\ufeff" + json.dumps(ROWS, indent=1))
    else:
        path.write_bytes(gzip.compress(LINES.encode()) if suffix.endswith("gz") else ("\n" + LINES).encode())
    assert read_rows(path) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.jsonl", b'{"a": 1}\n{"a": \n', "line 2: "),
        ("x.jsonl", b"7\n", "line 1, is no row but `7`"),
        ("x.jsonl", b'{"a": 1}\n' + b"[" * 200_000, "line 2: it is nested more than 200 levels deep"),
        ("x.jsonl", b'{"a": ' + b"[" * 9000 + b"]" * 9000 + b"}", "line 1: it is nested more than 200 levels deep"),
        ("x.json", b"[" * 200_000, "can't be read: it is nested more than 200 levels deep"),
        ("x.jsonl", b"\n", "holds no rows"),
        ("x.jsonl", b"\xff\n", "UTF-8"),
        ("x.jsonl.gz", b"no", "can't be read"),
        ("x.parquet", b"no", "can't be read as parquet"),
        ("x.csv", b"a,b", "the suffix `.csv`"),
        ("other.jsonl", None, r"does not exist \(nearest match"),
    ],
)
def test_files_that_can_not_be_read_say_why(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    else:
        (tmp_path / "others.jsonl").touch()
    with pytest.raises(UserError, match=words):
        read_rows(tmp_path / name)


@pytest.mark.parametrize("number", ["12345678901234567890123", "7" * 5000, "3.14159265358979323846", "1e400"])
def test_gold_answers_keep_their_digits(tmp_path, number):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"answer": {number}, "output": ["a"]}}\n{{"answer": 5.0, "output": ["a"]}}')
    assert [one.gold for one in read_outputs(read_rows(path)).outputs] == [number, "5"]


def test_gold_answers_of_decimals_keep_their_digits(tmp_path):
    golds = pa.array([Decimal("12345678901234567890123.00")], pa.decimal128(38, 2))
    pq.write_table(pa.table({"answer": golds, "output": pa.array([["a"]])}), tmp_path / "x.parquet")
    assert [one.gold for one in read_outputs(read_rows(tmp_path / "x.parquet")).outputs] == ["12345678901234567890123"]


def test_a_pipe_is_no_file_of_outputs(tmp_path):
    os.mkfifo(tmp_path / "x.jsonl")
    with pytest.raises(UserError, match="is a pipe or a device, and no file"):
        read_rows(tmp_path / "x.jsonl")


@pytest.mark.parametrize("number", ["1" + "0" * 30, str(2**31), "1" + "0" * 5000, "1e30"])
@pytest.mark.parametrize("name", ["tokens", "sample", "seed"])
def test_numbers_that_no_table_holds_are_refused_in_words(tmp_path, number, name):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"id": "a", "answer": "5", "output": "a", "{name}": {number}}}')
    if (name, number) == ("seed", str(2**31)):
        assert read_outputs(read_rows(path)).outputs[0].seed == 2**31
    else:
        with pytest.raises(UserError, match=f"`{name}` holds a `(int|str|float)`"):
            read_outputs(read_rows(path))


def test_a_folder_without_samples_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a folder without `samples\.parquet`"):
        read_rows(tmp_path)
