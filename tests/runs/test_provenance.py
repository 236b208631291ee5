"""What made an artifact: the same rows are the same input, whatever holds them; a changed value is another."""

import sys

import pytest
from datasets import Dataset, concatenate_datasets
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from palign_hf import __version__
from palign_hf.runs.report import Timings, command, commit_of, content_of, versions


COLUMNS = ("id", "answer")
SHA = "0123456789abcdef0123456789abcdef01234567"
texts = st.text(max_size=6).filter(lambda text: text.isprintable() or text == "\0") | st.just("\0")
tables = st.lists(st.fixed_dictionaries({"id": texts, "answer": st.none() | texts}), min_size=1, max_size=6)


def table(rows):
    return Dataset.from_dict({name: [row[name] for row in rows] for name in COLUMNS})


def test_the_same_rows_of_any_file_in_any_chunks_are_the_same_input(tmp_path):
    rows = [{"id": f"r{at}", "answer": None if at % 3 else str(at)} for at in range(2500)]
    whole = table(rows)
    whole.to_parquet(tmp_path / "a.parquet")
    whole.to_json(tmp_path / "a.jsonl")
    others = [
        concatenate_datasets([table(rows[:7]), table(rows[7:1200]), table(rows[1200:])]),
        Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "p")),
        Dataset.from_json(str(tmp_path / "a.jsonl"), cache_dir=str(tmp_path / "j")),
        whole.add_column("more", ["x"] * len(rows)).select_columns(["more", "answer", "id"]),
        whole.with_format("numpy"),
        table(rows[::-1]).select(range(len(rows) - 1, -1, -1)),
    ]
    assert {content_of(other, COLUMNS) for other in others} == {content_of(whole, COLUMNS)}


@settings(max_examples=60)
@given(tables, st.data())
def test_any_changed_value_is_another_input(rows, data):
    at, name = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(COLUMNS))
    value = data.draw(texts if name == "id" else st.none() | texts)
    assume(rows[at][name] != value)
    changed = [row | {name: value} if row is rows[at] else row for row in map(dict, rows)]
    changed = [dict(row) for row in rows]
    changed[at][name] = value
    assert content_of(table(changed), COLUMNS) != content_of(table(rows), COLUMNS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([{"id": "ab", "answer": "c"}], [{"id": "a", "answer": "bc"}]),
        ([{"id": "a", "answer": None}], [{"id": "a", "answer": "\0"}]),
        ([{"id": "a", "answer": ""}], [{"id": "a", "answer": None}]),
        ([{"id": "a", "answer": "b"}], [{"id": "b", "answer": "a"}]),
        ([{"id": "a", "answer": "b"}] * 2, [{"id": "a", "answer": "b"}]),
    ],
)
def test_where_a_value_stands_belongs_to_it(one, other):
    assert content_of(table(one), COLUMNS) != content_of(table(other), COLUMNS)


@pytest.mark.parametrize(
    ("urls", "files", "commit"),
    [
        ([f"hf://datasets/me/traces@{SHA}/a.parquet", f"hf://datasets/me/traces@{SHA}/b.parquet"], [], SHA),
        ([f"hf://datasets/me/traces@{SHA}/a", f"hf://datasets/me/more@{SHA[::-1]}/b"], [], None),
        (["/home/me/a.parquet"], [], None),
        (None, [f"/c/me___traces/default/0.0.0/{SHA}/traces-train.arrow", f"/c/me/0.0.0/{SHA}/cache-1.arrow"], SHA),
        (None, [f"/c/me___traces/default/0.0.0/{SHA}/a.arrow", f"/c/me___more/0.0.0/{SHA[::-1]}/b.arrow"], None),
        (None, [f"/c/parquet/default-1/0.0.0/{SHA}{SHA[:24]}/a.arrow", f"/c/{SHA}/runs/a.arrow"], None),
        (None, [], None),
    ],
)
def test_the_commit_of_a_hub_dataset(urls, files, commit, monkeypatch):
    rows = table([{"id": "a", "answer": "b"}])
    rows.info.download_checksums = None if urls is None else {url: {} for url in urls}
    monkeypatch.setattr(type(rows), "cache_files", [{"filename": file} for file in files])
    assert commit_of(rows) == commit


def test_a_command_can_be_typed_again_and_names_no_folder_of_the_program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/opt/venv/bin/palign", "truncate", "--student", "a b", "--audit", "0.1"])
    assert command() == "palign truncate --student 'a b' --audit 0.1"
    monkeypatch.setattr(sys, "argv", [])
    assert command() == "''"


@pytest.mark.parametrize(
    "given",
    [
        "{headers: {Authorization: Bearer s3cr3t-t0ken}}",
        "{headers: {x-api-key: s3cr3t-t0ken}}",
        "hf_s3cr3tT0ken99",
        "sk-s3cr3tT0ken99",
    ],
)
def test_a_command_keeps_no_key(monkeypatch, given):
    monkeypatch.setattr(sys, "argv", ["palign", "truncate", "--engine-options", given, "--student", "me/tokenizer-8b"])
    assert "s3cr3t" not in command() and "[key]" in command() and "--student me/tokenizer-8b" in command()


def test_versions_and_laps(monkeypatch):
    assert versions()["palign-hf"] == __version__ and {"python", "datasets", "torch"} <= versions().keys()
    clock = iter([0.0, 1.26, 2.0, 5.0])
    monkeypatch.setattr("palign_hf.runs.report.time.monotonic", lambda: next(clock))
    timings = Timings()
    for name in ("reading", "asking", "reading"):
        timings.lap(name)
    assert timings.as_dict() == {"reading": 4.3, "asking": 0.7}
