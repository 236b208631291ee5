"""Gold answers come in with all their digits, from every format; files that would end the process are refused."""

import gzip
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from pair_tables import pair, table

from palign_hf.data import exact, source_folders
from palign_hf.data.published import load_prefixes
from palign_hf.data.sources import open_source
from palign_hf.data.traces import load_traces
from palign_hf.errors import UserError
from palign_hf.schema import PAIRS, PREFIXES


# As it is written in a file -> as it is read.
NUMBERS = {
    "12345678901234567890123": "12345678901234567890123",
    "9007199254740993": "9007199254740993",
    "7" * 5000: "7" * 5000,
    "-" + "7" * 300: "-" + "7" * 300,
    "3.14159265358979323846": "3.14159265358979323846",
    "1e400": "1e400",
    "5": "5",
    "5.0": "5",
    "0.25": "0.25",
}


def write(path: Path, text: str) -> Path:
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def lines(numbers: list[str], question: str = "q") -> list[str]:
    return [f'{{"question": "{question}{at}", "trace": "t", "answer": {one}}}' for at, one in enumerate(numbers)]


@pytest.mark.parametrize("streaming", [False, True])
class TestDigits:
    def answers(self, source: object, streaming: bool, **options: object) -> list[str]:
        return [row["answer"] for row in load_traces(source, streaming=streaming, **options)]

    @pytest.mark.parametrize("number", NUMBERS)
    @pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.json", "rows.ndjson"])
    def test_of_json(self, tmp_path, number, name, streaming):
        rows = lines([number, "5.0"])
        text = f"[{', '.join(rows)}]" if name == "rows.json" else "\n".join(rows)
        assert self.answers(write(tmp_path / name, text), streaming) == [NUMBERS[number], "5"]

    def test_of_json_over_several_lines(self, tmp_path, streaming):
        rows = json.loads(f"[{', '.join(lines(['5', '6']))}]")
        text = json.dumps(rows, indent=1).replace('"answer": 5', '"answer": 12345678901234567890123')
        assert self.answers(write(tmp_path / "rows.json", text), streaming) == ["12345678901234567890123", "6"]

    def test_all_kinds_of_answers_in_one_column(self, tmp_path, streaming):
        written = ['"x+1"', "null", *NUMBERS]
        assert self.answers(write(tmp_path / "rows.jsonl", "\n".join(lines(written))), streaming) == [
            "x+1", None, *NUMBERS.values()
        ]  # fmt: skip

    def test_of_a_folder_of_json(self, tmp_path, streaming):
        for part, number in enumerate(("12345678901234567890123", "5")):
            write(tmp_path / f"part-{part}.jsonl", "\n".join(lines([number], f"q{part}")))
        assert self.answers(tmp_path, streaming) == ["12345678901234567890123", "5"]

    @pytest.mark.parametrize("name", ["rows.csv", "rows.tsv.gz"])
    def test_of_csv_that_holds_nothing_but_numbers(self, tmp_path, name, streaming):
        rows = ["question,trace,answer", "q1,t,0101", "q2,t,12345678901234567890123", "q3,t,1.50"]
        text = "\n".join(rows).replace(",", "," if name == "rows.csv" else "\t")
        assert self.answers(write(tmp_path / name, text), streaming) == ["0101", "12345678901234567890123", "1.50"]

    @pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.csv.gz", "rows.tsv.gz"])
    def test_of_csv(self, tmp_path, name, streaming):
        written = ["0101", "12345678901234567890123", "1.50", "007", "1e400", "", "None", "NA", "True", "x, y"]
        comma = "\t" if ".tsv" in name else ","
        rows = [f"q{at}{comma}t{comma}{json.dumps(one)}" for at, one in enumerate(written)]
        source = write(tmp_path / name, "\n".join([f"question{comma}trace{comma}answer", *rows]))
        expected = [one or None for one in written]
        assert self.answers(source, streaming) == self.answers(tmp_path, streaming) == expected

    def test_of_csv_in_a_folder_with_a_card(self, tmp_path, streaming):
        write(tmp_path / "rows.csv", "question,trace,answer\nq,t,0101")
        configs = "configs:\n- config_name: one\n  data_files: rows.csv"
        (tmp_path / "README.md").write_text(f"---\n{configs}\n---\n")
        assert self.answers(tmp_path, streaming, config="one") == ["0101"]

    def test_of_decimals_in_parquet(self, tmp_path, streaming):
        values = [Decimal("12345678901234567890123.00"), Decimal("0.25"), None]
        rows = {"question": ["a", "b", "c"], "trace": ["t"] * 3, "answer": pa.array(values, pa.decimal128(38, 2))}
        pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
        assert self.answers(tmp_path / "rows.parquet", streaming) == ["12345678901234567890123", "0.25", None]

    def test_of_whole_numbers_in_parquet(self, tmp_path, streaming):
        rows = {"question": ["a", "b"], "trace": ["t"] * 2, "answer": pa.array([2**64 - 1, 5], pa.uint64())}
        pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
        assert self.answers(tmp_path / "rows.parquet", streaming) == [str(2**64 - 1), "5"]


def test_digits_of_json_whose_texts_are_broken_too(tmp_path):
    text = "\n".join([*lines(["12345678901234567890123"]), '{"question": "\\ud800", "trace": "t", "answer": 5}'])
    assert load_traces(write(tmp_path / "rows.jsonl", text))["answer"][:] == ["12345678901234567890123", "5"]


def test_a_file_whose_numbers_are_safe_is_read_itself(tmp_path):
    text = "\n".join(lines(["5", "0.5", '"the 12345678901234567890123rd"', "[1, 2]"]))
    assert exact.exact_json(file := write(tmp_path / "rows.jsonl", text)) == file


def test_a_copy_is_made_once_and_anew_when_the_file_changes(tmp_path):
    file = write(tmp_path / "rows.jsonl", "\n".join(lines(["12345678901234567890123"])))
    copy = exact.exact_json(file)
    assert exact.exact_json(file) == copy != file and sorted(tmp_path.iterdir()) == [file]
    write(file, "\n".join(lines(["123456789012345678901234"])))
    assert exact.exact_json(file) != copy


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(10**25), 10**25),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def digits(value: object) -> object:
    if isinstance(value, list):
        return [digits(one) for one in value]
    if isinstance(value, dict):
        return {name: digits(one) for name, one in value.items()}
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


@given(st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, min_size=1), min_size=1, max_size=4))
def test_a_copy_differs_only_in_numbers_as_text(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    read = [json.loads(line) for line in exact.exact_json(file).read_text().splitlines()]
    assert digits(read) == digits(rows)
    assert all(abs(one) <= 2**53 for one in whole_numbers(read))


def whole_numbers(value: object) -> list[int]:
    if isinstance(value, list | dict):
        return [n for one in (value.values() if isinstance(value, dict) else value) for n in whole_numbers(one)]
    return [value] if isinstance(value, int) and not isinstance(value, bool) else []


class TestTablesAsText:
    def test_a_csv_has_the_types_of_its_table_and_other_columns_as_text(self, tmp_path):
        pairs = table(*(pair(f"p{at}", at, answer="0101", strict=True, lenient=False) for at in range(3)))
        pairs = pairs.remove_columns("flags")  # a list, which no CSV holds
        frame = pd.DataFrame({name: pairs[name][:] for name in pairs.column_names} | {"level": [5, 6, 7]})
        frame.to_csv(tmp_path / "pairs.csv", index=False)
        opened, _ = open_source(tmp_path / "pairs.csv", split="train", config=None, revision=None, streaming=False)
        read = exact.typed(opened, PAIRS)
        assert read["level"][:] == ["5", "6", "7"]
        assert read.remove_columns("level").features == pairs.features
        assert read.remove_columns("level").to_list() == pairs.to_list()

    def test_text_that_spells_no_number_stays_for_the_check_to_name(self):
        odd = Dataset.from_dict({"sample": ["1", "two"], "strict": ["True", "false"]})
        read = exact.typed(odd, PAIRS)
        assert read.to_dict() == {"sample": ["1", "two"], "strict": [True, False]}

    def test_prefixes_of_json_lines_have_their_types(self, tmp_path):
        row = dict.fromkeys(PREFIXES.columns) | {
            "id": 2**60,
            "question": "q",
            "trace": "t",
            "prefix": "t",
            "prefix_end": 1,
        }
        row |= {"status": "fixed", "answer": 12345678901234567890123, "probes": []}
        (tmp_path / "rows.jsonl").write_text(json.dumps(row))
        read = load_prefixes(tmp_path / "rows.jsonl")
        assert (read["id"][0], read["answer"][0], read["prefix_end"][0]) == (str(2**60), "12345678901234567890123", 1)


DEEP = {
    "rows.jsonl": '{"question": "q", "trace": "t", "answer": "5"}\n' + "[" * 200_000,
    "whole.jsonl": '{"question": "q", "trace": "t", "answer": "5"}\n{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "objects.jsonl": '\n{"a": ' * 1 + '{"a": ' * 50_000 + "1" + "}" * 50_001,
    "rows.jsonl.gz": '\n{"a": ' + "[" * 100_000,
}


@pytest.mark.parametrize("name", DEEP)
def test_deep_json_is_refused_with_its_line_and_the_process_lives(tmp_path, name):
    file = write(tmp_path / name, DEEP[name])
    code = "import sys\nfrom palign_hf.data.traces import load_traces\ntry:\n    load_traces(sys.argv[1])\n"
    code += "except ValueError as error:\n    print(error)"
    ended = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, env=os.environ)
    assert ended.returncode != -signal.SIGSEGV and ended.returncode == 0, ended.stderr[-500:]
    assert ended.stdout.startswith(f"`{name}` can't be read: line 2: it is nested more than 200 levels deep")


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("text", ["[" * 100_000, "[\n" * 100_000, '[{"a": ' + "[" * 1000 + "]" * 1000 + "}]"])
def test_deep_json_of_one_array_is_refused(tmp_path, text, streaming):
    (tmp_path / "rows.json").write_text(text)
    for source in (tmp_path, tmp_path / "rows.json"):
        with pytest.raises(UserError, match=r"`rows.json` can't be read: .*it is nested more than 200 levels deep"):
            load_traces(source, streaming=streaming)


def repeated(file: Path, rows: int, size: int, kind: str = "dictionary") -> Path:
    """A parquet file with one long text in all its rows."""
    same = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * size]))
    if kind == "text":
        same = same.cast(pa.string())
    if kind == "turns":
        same = pa.StructArray.from_arrays(
            [pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), same)], ["a"]
        )
    pq.write_table(pa.table({"question": [f"q{at}" for at in range(rows)], "trace": same}), file)
    return file


class TestParquetThatUnpacksToFarMore:
    @pytest.mark.parametrize("kind", ["dictionary", "text", "turns"])
    def test_it_is_refused_before_it_is_written_out(self, tmp_path, monkeypatch, kind):
        monkeypatch.setattr(source_folders, "MOST_DECODED", 2**20)
        file = repeated(tmp_path / "rows.parquet", rows=2000, size=20_000, kind=kind)
        assert file.stat().st_size * 100 < 2000 * 20_000
        for source in (file, tmp_path, f"{tmp_path}/*.parquet"):
            with pytest.raises(UserError, match=r"`rows.parquet` has .* MiB, but its rows take more than .* GiB once"):
                load_traces(source)

    @pytest.mark.parametrize("rows", [0, 1, 50])
    def test_what_is_repeated_within_reason_is_read(self, tmp_path, monkeypatch, rows):
        monkeypatch.setattr(source_folders, "MOST_DECODED", 2**20)
        source_folders.check_decoded([repeated(tmp_path / "rows.parquet", rows, size=20_000)])

    def test_a_small_file_of_today_is_not_counted(self, tmp_path, monkeypatch):
        monkeypatch.setattr(source_folders, "_decoded", lambda *given: pytest.fail("it was decoded"))
        rows = [{"question": f"q{at}", "trace": f"t{at}" * 100, "answer": "5"} for at in range(100)]
        Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
        assert len(load_traces(tmp_path / "rows.parquet")) == 100

    def test_packed_lines_too(self, tmp_path, monkeypatch):
        monkeypatch.setattr(exact, "MOST_UNPACKED", 2**20)
        text = json.dumps({"question": "q", "trace": "x" * 100_000}) + "\n"
        file = write(tmp_path / "rows.jsonl.gz", text * 30)
        with pytest.raises(UserError, match=r"unpacks to more than 100 times its size"):
            load_traces(file)
