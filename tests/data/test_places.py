"""Where traces are read from: files, globs, folders, loaded datasets, the Hub; and what is said when they can't be."""

import csv
import gzip
import io
import json
from pathlib import Path

import datasets
import httpx2
import pytest
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import HfHubHTTPError

from palign_hf.data.traces import load_traces, read_traces
from palign_hf.errors import UserError
from palign_hf.redact import redact


DATA = Path(__file__).parents[1] / "fixtures" / "traces"


def rows(**columns: list) -> Dataset:
    return Dataset.from_dict(columns)


def read_error(source: object, **options: object) -> str:
    with pytest.raises(UserError) as error:
        list(load_traces(source, **options))
    return str(error.value)


class TestPlaces:
    def limo(self) -> Dataset:
        return Dataset.from_json(str(DATA / "limo.jsonl"))

    @pytest.mark.parametrize("suffix", ["parquet", "jsonl", "json", "csv", "arrow"])
    def test_file(self, tmp_path, suffix):
        path = tmp_path / f"some.{suffix}"
        if suffix == "arrow":
            self.limo().save_to_disk(str(tmp_path / "saved"))
            next((tmp_path / "saved").glob("*.arrow")).rename(path)
        else:
            getattr(self.limo(), {"jsonl": "to_json"}.get(suffix, f"to_{suffix}"))(str(path))
        dataset = load_traces(path)
        assert dataset["answer"][:] == ["7", "8"]
        assert dataset["source"][:] == [f"some.{suffix}"] * 2
        assert list(load_traces(str(path), streaming=True)) == list(dataset)

    def test_folder_of_one_format(self, tmp_path):
        half = self.limo()
        for row in range(2):
            half.select([row]).to_json(str(tmp_path / f"part-{row}.jsonl"))
        (tmp_path / "README.md").write_text("# About")
        dataset = load_traces(tmp_path, source_name="both")
        assert sorted(dataset["answer"][:]) == ["7", "8"]
        assert set(dataset["source"][:]) == {"both"}

    def test_folder_with_configs(self, tmp_path):
        for config in ("first", "second"):
            self.limo().to_parquet(str(tmp_path / config / "train-00000-of-00001.parquet"))
        configs = "".join(f"- config_name: {c}\n  data_files: {c}/train-*\n" for c in ("first", "second"))
        (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
        assert len(load_traces(tmp_path, config="second")) == 2
        assert "can't be loaded: BuilderConfig 'third' not found" in read_error(tmp_path, config="third")

    def test_folder_of_a_run_has_its_report_beside_the_data(self, tmp_path):
        for split in ("train", "rejected"):
            self.limo().to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
        (tmp_path / "report.json").write_text('{"rows": 2}')
        assert len(load_traces(tmp_path, split="train")) == 2
        assert "has the splits `train`, `rejected`: one must be chosen" in read_error(tmp_path)

    def test_saved_to_disk(self, tmp_path):
        self.limo().save_to_disk(str(tmp_path / "one"))
        DatasetDict(train=self.limo(), test=self.limo()).save_to_disk(str(tmp_path / "two"))
        assert load_traces(tmp_path / "one")["source"][:] == ["one", "one"]
        assert len(load_traces(tmp_path / "two", split="test")) == 2
        assert len(list(load_traces(tmp_path / "two", split="test", streaming=True))) == 2
        assert "`two` has the splits `train`, `test`: one must be chosen" in read_error(tmp_path / "two")
        assert "`split='test'` can't be taken from `one`" in read_error(tmp_path / "one", split="test")

    def test_datasets_already_loaded(self):
        limo = self.limo()
        expected = list(load_traces(limo))
        assert [row["source"] for row in expected] == [None, None]
        assert list(load_traces(limo, streaming=True)) == expected
        assert list(load_traces(limo.to_iterable_dataset())) == expected
        assert list(load_traces(limo.with_format("numpy"))) == expected
        assert list(load_traces(limo.to_iterable_dataset().map(dict))) == expected

    def test_dataset_dict_names_its_splits(self):
        both = DatasetDict(train=self.limo(), test=self.limo())
        assert read_error(both) == (
            "`DatasetDict` has the splits `train`, `test`: one must be chosen. Pass `split='train'`."
        )
        assert "`split='dev'` is not one of them" in read_error(both, split="dev")
        assert len(load_traces(both, split="test")) == 2
        assert len(load_traces(DatasetDict(train=self.limo()))) == 2

    def test_the_toy_world_needs_no_file(self):
        found = load_traces("palign-toy", split="test", max_samples=5)
        assert found["id"][:] == [f"toy1-1000-test-{at}" for at in range(5)]
        assert set(found["source"]) == {"palign-toy-1"} and all(found["answer"])
        assert len(load_traces("palign-toy", split="validation")) == 500
        assert read_error("palign-toy").startswith("`palign-toy` has the splits `train`, `validation`, `test`")
        assert "`split='dev'` is not one of them" in read_error("palign-toy", split="dev")
        assert "`revision='main'` has no meaning" in read_error("palign-toy", split="test", revision="main")

    def test_hub(self, monkeypatch):
        asked = []

        def fake(path, **options):
            asked.append((path, options))
            return DatasetDict(train=self.limo())

        monkeypatch.setattr(datasets, "load_dataset", fake)
        dataset = load_traces("GAIR/LIMO", config="default", revision="abc", max_samples=1)
        assert dataset["source"][:] == ["GAIR/LIMO"]
        given = {"name": "default", "split": None, "revision": "abc", "streaming": False}
        assert asked == [("GAIR/LIMO", given | {"token": None})]
        token = "hf_" + "aB3dE5fG7h" * 3
        load_traces("GAIR/LIMO", config="default", revision="abc", token=token)
        assert asked[1] == ("GAIR/LIMO", given | {"token": token})
        assert token not in redact(f"no access with {token}")

    def test_hub_out_of_reach_says_what_was_tried(self, monkeypatch, tmp_path):
        monkeypatch.chdir(tmp_path)  # a folder of a like name nearby would be named as the nearest
        text = read_error("simplescaling/s1K-1.1")
        assert text.startswith("`simplescaling/s1K-1.1` is no local path, so the Hub was asked")
        assert "`hf download --repo-type dataset simplescaling/s1K-1.1" in text

    def test_hub_without_the_dataset(self, monkeypatch):
        def fake(*args, **options):
            raise datasets.exceptions.DatasetNotFoundError("doesn't exist on the Hub")

        monkeypatch.setattr(datasets, "load_dataset", fake)
        assert "nor a dataset on the Hub that you can read" in read_error("me/nothing")

    @pytest.mark.parametrize("error", ["refused", "reset"])
    def test_a_hub_that_fails_is_one_line_without_a_key(self, error, monkeypatch):
        token = "hf_" + "x" * 34
        request = httpx2.Request("GET", "https://hub", headers={"Authorization": f"Bearer {token}"})
        raised = {
            "refused": HfHubHTTPError(f"503, {token}", response=httpx2.Response(503, request=request)),
            "reset": httpx2.ReadError("", request=request),
        }[error]

        def fake(*args, **options):
            raise raised

        monkeypatch.setattr(datasets, "load_dataset", fake)
        text = read_error("me/rows")
        assert text.startswith("`me/rows` can't be read from the Hub: ") and token not in text
        assert text.endswith("Try again.") and ("503" in text) == (error == "refused")

    def test_missing_path_names_the_nearest(self):
        text = read_error(DATA / "lino.jsonl")
        assert "lino.jsonl` does not exist (nearest in `" in text and "`limo.jsonl`)" in text
        assert "(nearest in `" in read_error(DATA.parent / "trace" / "limo.jsonl")

    def test_unsupported_suffix(self, tmp_path):
        (tmp_path / "a.xlsx").write_text("")
        text = read_error(tmp_path / "a.xlsx")
        assert "the suffix `.xlsx`" in text and "`.jsonl`, `.json`, `.ndjson`, `.csv`, `.tsv` (all but" in text

    def test_folder_without_data(self, tmp_path):
        assert "holds no data files" in read_error(tmp_path)

    def test_folder_of_several_formats(self):
        assert "mixes formats (1 `.csv`, 1 `.json`, " in read_error(DATA)

    def test_folder_mostly_of_other_files(self, tmp_path):
        self.limo().to_json(str(tmp_path / "limo.jsonl"))
        for name in ("LICENSE.txt", "NOTICE.txt"):
            (tmp_path / name).write_text("text")
        assert "was read as `text`" in read_error(tmp_path)

    @pytest.mark.parametrize("streaming", [False, True])
    def test_broken_and_empty_files(self, tmp_path, streaming):
        (tmp_path / "broken.jsonl").write_text('{"question": "q"}\n{"question": \n')
        (tmp_path / "empty.jsonl").write_text("")
        assert "`broken.jsonl` can't be read: JSON parse error" in read_error(
            tmp_path / "broken.jsonl", streaming=streaming
        )
        assert "`empty.jsonl` is empty" in read_error(tmp_path / "empty.jsonl", streaming=streaming)

    def test_dataset_without_rows(self):
        assert "`Dataset` is empty: it holds no rows" in read_error(rows(question=[], trace=[]))

    def test_wrong_source_type(self):
        assert read_error([{"question": "q"}]).startswith("`source` is a `list`")

    @pytest.mark.parametrize("option", ["config", "revision"])
    def test_options_without_meaning(self, option):
        assert f"`{option}='x'` has no meaning for `limo.jsonl`" in read_error(DATA / "limo.jsonl", **{option: "x"})
        assert f"`{option}='x'` has no meaning for `Dataset`" in read_error(self.limo(), **{option: "x"})

    def test_limit(self):
        for streaming in (False, True):
            dataset, report = read_traces(DATA / "s1k-1.1.jsonl", max_samples=2, streaming=streaming)
            assert len(list(dataset)) == report.rows_in == 2
        assert len(load_traces(DATA / "limo.jsonl", max_samples=99)) == 2
        assert read_error(DATA / "limo.jsonl", max_samples=0).startswith("`max_samples=0` must be at least 1")


LINES = [{"question": f"q{n}", "trace": f"One,\tand {n}.", "answer": str(n)} for n in range(3)]
ROWS = [(row["question"], row["trace"], row["answer"]) for row in LINES]


def write(path: Path, lines: list[dict[str, str]] = LINES) -> Path:
    """A file in the format that its suffix names, packed if it ends in .gz."""
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind in ("csv", "tsv"):
        text = io.StringIO()
        table = csv.DictWriter(text, lines[0], delimiter="\t" if kind == "tsv" else ",")
        table.writeheader()
        table.writerows(lines)
        content = text.getvalue()
    else:
        content = json.dumps(lines) if kind == "json" else "".join(json.dumps(line) + "\n" for line in lines)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content.encode()) if path.suffix == ".gz" else content.encode())
    return path


def read(source: object, streaming: bool) -> list[tuple[str, str, str]]:
    return [(row["question"], row["trace"], row["answer"]) for row in load_traces(source, streaming=streaming)]


@pytest.mark.parametrize("streaming", [False, True])
class TestFormats:
    @pytest.mark.parametrize("kind", ["jsonl", "json", "ndjson", "csv", "tsv"])
    @pytest.mark.parametrize("packed", ["", ".gz"])
    def test_text_files_plain_and_packed(self, tmp_path, kind, packed, streaming):
        assert read(write(tmp_path / f"some.v1.{kind}{packed}"), streaming) == ROWS

    @pytest.mark.parametrize("kind", ["tsv", "jsonl.gz", "csv.gz", "tsv.gz"])
    def test_folders_of_them(self, tmp_path, kind, streaming):
        for part in (0, 1):
            write(tmp_path / f"part-{part}.{kind}", LINES[part : part + 1])
        assert sorted(read(tmp_path, streaming)) == ROWS[:2]

    def test_a_name_with_brackets_or_stars_is_a_name(self, tmp_path, streaming):
        write(tmp_path / "b1.jsonl", LINES[:1])
        assert read(write(tmp_path / "b[1].jsonl"), streaming) == ROWS
        assert read(write(tmp_path / "b*.jsonl"), streaming) == ROWS

    def test_a_capital_suffix(self, tmp_path, streaming):
        assert read(write(tmp_path / "some.jsonl").rename(tmp_path / "SOME.JSONL"), streaming) == ROWS

    def test_packed_files_that_are_cut_off_or_not_packed(self, tmp_path, streaming):
        whole = write(tmp_path / "cut.jsonl.gz")
        whole.write_bytes(whole.read_bytes()[:-12])
        (tmp_path / "plain.jsonl.gz").write_text('{"question": "q"}')
        for name in ("cut", "plain"):
            text = read_error(tmp_path / f"{name}.jsonl.gz", streaming=streaming)
            assert text.startswith(f"`{name}.jsonl.gz` can't be read: ") and "Check that it is whole" in text


@pytest.mark.parametrize("streaming", [False, True])
class TestGlobs:
    @pytest.fixture
    def parts(self, tmp_path) -> Path:
        for part in (2, 0, 1):
            write(tmp_path / "data" / f"traces-{part}.jsonl.gz", LINES[part : part + 1])
        (tmp_path / "data" / "README.md").write_text("# About")
        return tmp_path

    @pytest.mark.parametrize("pattern", ["data/*.gz", "data/traces-?.jsonl.gz", "*/traces-[012].*", "**/traces-*"])
    def test_files_in_the_order_of_their_names(self, parts, pattern, streaming):
        assert read(f"{parts}/{pattern}", streaming) == ROWS
        assert read(parts / pattern, streaming) == ROWS

    def test_parquet_and_its_name_in_the_source_column(self, parts, streaming):
        for part in (0, 1):
            Dataset.from_list(LINES[part : part + 1]).to_parquet(str(parts / "data" / f"{part}.parquet"))
        found = list(load_traces(parts / "data" / "*.parquet", streaming=streaming))
        assert [row["answer"] for row in found] == ["0", "1"]
        assert {row["source"] for row in found} == {"data/*.parquet"}

    def test_plain_and_packed_files_of_one_format(self, parts, streaming):
        write(parts / "data" / "traces-3.jsonl", LINES[:1])
        assert read(parts / "data" / "traces-*", streaming) == [*ROWS, ROWS[0]]

    def test_relative_to_where_one_is(self, parts, streaming, monkeypatch):
        monkeypatch.chdir(parts / "data")
        assert read("traces-*.jsonl.gz", streaming) == ROWS

    def test_no_match_names_the_nearest(self, parts, streaming):
        text = read_error(parts / "data" / "trces-0*.jsonl.gz", streaming=streaming)
        assert "trces-0*.jsonl.gz` matches nothing (nearest in `" in text and "`traces-0.jsonl.gz`)" in text
        assert f"(nearest in `{parts}`: `data`)" in read_error(parts / "dta" / "*.gz", streaming=streaming)

    def test_mixed_formats(self, parts, streaming):
        write(parts / "data" / "traces-3.tsv")
        text = read_error(f"{parts}/data/traces-*", streaming=streaming)
        assert "mixes formats (3 `.jsonl.gz`, 1 `.tsv`)" in text and "a pattern that matches only one" in text

    def test_files_of_no_known_format(self, parts, streaming):
        text = read_error(f"{parts}/data/*", streaming=streaming)
        assert "matches `README.md`, which has the suffix `.md`, which can't be read" in text

    def test_folders_only(self, parts, streaming):
        text = read_error(f"{parts}/d*", streaming=streaming)
        assert f"matches only folders, as `{parts}/data`" in text and f"`{parts}/d*/*.parquet`" in text

    def test_options_of_the_hub_have_no_meaning(self, parts, streaming):
        text = read_error(f"{parts}/data/*.gz", streaming=streaming, revision="main")
        assert text.startswith("`revision='main'` has no meaning for")
