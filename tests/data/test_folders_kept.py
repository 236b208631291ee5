"""Sources are never written to, and their cards and states send nobody to files elsewhere."""

import json
import os
import pickle
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from pair_tables import pair, table

from palign_hf.data.balance import balance
from palign_hf.data.baselines import baseline
from palign_hf.data.exact import cached_apart
from palign_hf.data.pairs import load_pairs
from palign_hf.data.published import load_prefixes
from palign_hf.data.sources import open_source
from palign_hf.data.traces import load_traces
from palign_hf.data.views import to_sft
from palign_hf.errors import UserError
from palign_hf.schema import PREFIXES


ROWS = [{"question": f"What is {at}?", "trace": f"It is {at}. So {at}.", "answer": str(at)} for at in range(5)]
PAIRS = table(*(pair(f"p{at}", answer=str(at), source="one") for at in range(5)))
PREFIX = [dict.fromkeys(PREFIXES.columns) | row | {"id": str(at), "status": "fixed"} for at, row in enumerate(ROWS)]


def bytes_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def saved(folder: Path, rows: Dataset) -> Path:
    rows.save_to_disk(str(folder))
    return folder


def prefixes() -> Dataset:
    texts = {name: [row[name] for row in PREFIX] for name in PREFIXES.columns}
    return Dataset.from_dict(texts, features=PREFIXES.features)


USES = {
    "load_traces": lambda folder: load_traces(folder),
    "load_traces, streaming": lambda folder: list(load_traces(folder, streaming=True)),
    "load_traces of a loaded dataset": lambda folder: load_traces(load_from_disk(str(folder))),
    "load_traces of a shuffled dataset": lambda folder: load_traces(
        load_from_disk(str(folder)).shuffle(seed=0, keep_in_memory=True)
    ),
    "a filter and a map later on": lambda folder: (
        open_source(folder, split=None, config=None, revision=None, streaming=False)[0]
        .filter(lambda row: row["answer"] != "3")
        .map(lambda row: {"more": row["question"]})
        .sort("more")
        .shuffle(seed=1)
        .flatten_indices()
    ),
}


class TestNeverWrittenTo:
    @pytest.mark.parametrize("use", USES)
    def test_a_source_of_save_to_disk(self, tmp_path, use):
        folder = saved(tmp_path / "source", Dataset.from_list(ROWS))
        before = bytes_of(folder)
        USES[use](folder)
        assert bytes_of(folder) == before

    def test_several_splits_and_files(self, tmp_path):
        rows = Dataset.from_list(ROWS)
        DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "both"), num_shards={"train": 2, "test": 3})
        before = bytes_of(tmp_path)
        assert len(load_traces(tmp_path / "both", split="test")) == 5
        assert len(load_traces(load_from_disk(str(tmp_path / "both")), split="train")) == 5
        assert bytes_of(tmp_path) == before

    def test_pairs_and_what_is_made_of_them(self, tmp_path):
        folder = saved(tmp_path / "pairs", PAIRS)
        before = bytes_of(folder)
        for pairs in (load_pairs(folder), load_pairs(load_from_disk(str(folder))), load_from_disk(str(folder))):
            to_sft(pairs)
            balance(pairs, per="source", cap=2)
            baseline(pairs, "label")
            load_prefixes(pairs)
        assert bytes_of(folder) == before

    def test_prefixes(self, tmp_path):
        folder = saved(tmp_path / "prefixes", prefixes())
        before = bytes_of(folder)
        assert load_prefixes(folder)["probes"][:] == [[]] * 5
        assert bytes_of(folder) == before

    @pytest.mark.parametrize("kind", ["parquet", "json", "csv", "arrow"])
    def test_files_and_folders_of_them(self, tmp_path, kind):
        rows = Dataset.from_list(ROWS)
        if kind == "arrow":
            next(saved(tmp_path / "x", rows).glob("*.arrow")).rename(tmp_path / "rows.arrow")
            for file in (tmp_path / "x").iterdir():
                file.unlink()
            (tmp_path / "x").rmdir()
        else:
            getattr(rows, f"to_{kind}")(str(tmp_path / f"rows.{kind}"))
        before = bytes_of(tmp_path)
        assert len(load_traces(tmp_path)) == len(load_traces(tmp_path / f"rows.{kind}")) == 5
        assert bytes_of(tmp_path) == before

    def test_what_was_made_is_found_again_in_the_cache(self, tmp_path):
        folder = saved(tmp_path / "source", Dataset.from_list(ROWS))
        first, second = load_traces(folder), load_traces(folder)
        home = datasets.config.HF_DATASETS_CACHE
        files = [file["filename"] for file in first.cache_files]
        assert files and all(Path(file).is_relative_to(home) for file in files)
        assert files == [file["filename"] for file in second.cache_files] and first._fingerprint == second._fingerprint

    def test_the_rows_and_their_order_stay(self, tmp_path):
        rows = Dataset.from_list(ROWS)
        folder = saved(tmp_path / "source", rows)
        loaded = load_from_disk(str(folder))
        for one in (
            loaded,
            loaded.select([3, 1]),
            datasets.concatenate_datasets([loaded, rows]),
            loaded.with_format("numpy"),
        ):
            apart = cached_apart(one)
            assert list(apart.with_format(None)) == list(one.with_format(None)) and apart.format == one.format
            assert list(pickle.loads(pickle.dumps(apart)).with_format(None)) == list(one.with_format(None))
        assert cached_apart(rows) is rows

    def test_a_cache_without_links_is_a_temporary_one(self, tmp_path, monkeypatch):
        def refuse(*given):
            raise OSError("no links here")

        monkeypatch.setattr(os, "symlink", refuse)
        folder = saved(tmp_path / "source", Dataset.from_list(ROWS))
        before = bytes_of(folder)
        assert len(load_traces(folder).map(lambda row: {"more": 1})) == 5
        assert bytes_of(folder) == before


def read_error(source: object, **options: object) -> str:
    with pytest.raises(UserError) as error:
        list(load_traces(source, **options))
    assert "\n" not in str(error.value) and len(str(error.value)) < 1500
    return str(error.value)


@pytest.fixture
def source(tmp_path) -> Path:
    """A folder with data, beside one with a secret."""
    for folder in ("source", "secret"):
        (tmp_path / folder).mkdir()
        Dataset.from_list(ROWS).to_json(str(tmp_path / folder / "rows.jsonl"))
    return tmp_path / "source"


def card(folder: Path, yaml: str, name: str = "README.md") -> Path:
    (folder / name).write_text(f"---\n{yaml}\n---\n" if name == "README.md" else yaml)
    return folder


@pytest.mark.parametrize("name", ["README.md", ".huggingface.yaml"])
class TestCards:
    @pytest.mark.parametrize(
        "path",
        [
            "../secret/rows.jsonl",
            "data/../../secret/*.jsonl",
            "{secret}/rows.jsonl",
            "~/rows.jsonl",
            "http://127.0.0.1:9/rows.jsonl",
            "hf://datasets/a/b/rows.jsonl",
            "file:///etc/rows.jsonl",
            "zip://*.jsonl::../secret.zip",
            "..\\secret\\rows.jsonl",
        ],
    )
    @pytest.mark.parametrize("shape", ["{}", "[{}]", "{{train: {}}}", "[{{split: train, path: {}}}]"])
    def test_data_elsewhere_are_refused(self, source, name, path, shape):
        place = json.dumps(path.format(secret=source.parent / "secret"))
        card(source, f"configs:\n- config_name: default\n  data_files: {shape.format(place)}", name)
        text = read_error(source)
        assert f"The card `source/{name}` names `" in text and "no path within the folder" in text

    def test_a_data_folder_elsewhere_is_refused(self, source, name):
        card(source, "configs:\n- config_name: default\n  data_dir: ../secret", name)
        assert "names `../secret` as data" in read_error(source)

    def test_data_within_are_read(self, source, name):
        card(
            source,
            "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: './rows*.jsonl'",
            name,
        )
        assert len(load_traces(source)) == 5

    def test_a_card_that_is_no_yaml_is_said_in_words(self, source, name):
        card(source, "configs: [", name)
        assert f"The YAML of the card `source/{name}` can't be read: while parsing" in read_error(source)

    def test_a_bomb_of_aliases_is_refused(self, source, name, capfd):
        bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
            f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 10)}]\n" for at in range(1, 9)
        )
        card(source, f"{bomb}configs: *a8", name)
        assert "aliases (`*name`) add more than 10000 values" in read_error(source)
        assert len(capfd.readouterr().err) < 10_000


class TestOddFolders:
    @pytest.mark.parametrize(
        "yaml",
        [
            "configs: 5",
            "configs: [5]",
            "configs: [{data_files: 5}]",
            "configs: [{config_name: 5, data_files: [[1]]}]",
            "configs: [{config_name: a/b, data_files: rows.jsonl}]",
            "configs: [{config_name: a, data_files: nothing.jsonl}]",
            "dataset_info: 5",
            "dataset_info: [5]",
            "dataset_info: {features: 5}",
            "dataset_info: {features: [{name: question}]}",
            "dataset_info: {features: [{name: question, dtype: nonsense}]}",
            "dataset_info: {features: [{name: question, dtype: {list: {a: 1}}}]}",
            "dataset_info: {splits: 5}",
            "dataset_info: {config_name: [1]}",
        ],
    )
    def test_an_odd_card_ends_in_words_or_is_read(self, source, yaml):
        card(source, yaml)
        try:
            assert len(load_traces(source)) == 5
        except UserError as error:
            assert "`source`" in str(error) and len(str(error)) < 1500

    @pytest.mark.parametrize("text", ["[]", "{", '{"default": 5}', '{"default": {"features": 5}}'])
    def test_odd_infos_end_in_words_or_are_read(self, source, text):
        (source / "dataset_infos.json").write_text(text)
        try:
            assert len(load_traces(source)) == 5
        except UserError as error:
            assert "`source`" in str(error)

    def test_a_folder_with_a_script_of_its_own_runs_nothing(self, source):
        (source / "source.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
        try:
            assert len(load_traces(source)) == 5
        except UserError as error:
            assert "`source`" in str(error)
        assert not (source / "ran").exists() and not Path("ran").exists()

    def test_a_script_alone(self, tmp_path):
        (tmp_path / f"{tmp_path.name}.py").write_text("raise SystemExit(3)")
        assert "holds no data files" in read_error(tmp_path)

    def test_a_pipe_is_no_source(self, tmp_path):
        os.mkfifo(tmp_path / "rows.jsonl")
        assert "is neither a file nor a folder, but a pipe or a device" in read_error(tmp_path / "rows.jsonl")

    def test_links_out_of_the_folder_are_refused(self, source):
        (source / "more.jsonl").symlink_to(source.parent / "secret" / "rows.jsonl")
        assert "outside of the folder `source`" in read_error(source)

    def test_links_within_the_folder_are_followed(self, source):
        (source / "data").mkdir()
        (source / "rows.jsonl").rename(source / "data" / "one.txt")
        (source / "rows.jsonl").symlink_to(source / "data" / "one.txt")
        assert len(load_traces(source)) == 5

    def test_links_of_the_hub_s_own_cache_are_followed(self, source):
        home = source.parent / "datasets--me--rows"
        (home / "blobs").mkdir(parents=True)
        (home / "snapshots" / "abc").mkdir(parents=True)
        (source / "rows.jsonl").rename(home / "blobs" / "123")
        (home / "snapshots" / "abc" / "rows.jsonl").symlink_to("../../blobs/123")
        assert len(load_traces(home / "snapshots" / "abc")) == 5


class TestBrokenStates:
    @pytest.fixture
    def one(self, tmp_path) -> Path:
        return saved(tmp_path / "one", Dataset.from_list(ROWS))

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "`state.json` can't be read"),
            ("[" * 100_000, "`state.json` can't be read: it is nested more than 200 levels"),
            ("[]", "`state.json` holds no `_data_files`"),
            ("{}", "`state.json` holds no `_data_files`"),
            ('{"_data_files": [5]}', "names the data file `5`"),
            ('{"_data_files": [{"filename": "../secret.arrow"}]}', "`state.json` names the data file"),
            ('{"_data_files": [{"filename": "/etc/passwd"}]}', "`state.json` names the data file"),
            ('{"_data_files": [{"filename": "gone.arrow"}]}', "its data file `gone.arrow` is missing"),
        ],
    )
    def test_a_state_that_is_broken_is_said_in_words(self, one, text, said):
        (one / "state.json").write_text(text)
        found = read_error(one)
        assert "was written by `save_to_disk`, but " in found and said in found

    @pytest.mark.parametrize("name", ["dataset_info.json", "data-00000-of-00001.arrow"])
    @pytest.mark.parametrize("content", [None, b"", b"5", b'{"features": 5}', b"\xff\xfe"])
    def test_what_lies_beside_it(self, one, name, content):
        if content is None:
            (one / name).unlink()
        else:
            (one / name).write_bytes(content)
        assert "`one`" in read_error(one)

    def test_a_state_without_its_other_keys(self, one):
        state = json.loads((one / "state.json").read_text())
        (one / "state.json").write_text(json.dumps({"_data_files": state["_data_files"]}))
        assert "`one` can't be loaded: `datasets` fails on it with KeyError" in read_error(one)

    def test_a_link_to_data_elsewhere_is_refused(self, one, tmp_path):
        file = next(one.glob("*.arrow"))
        file.rename(tmp_path / "secret.arrow")
        file.symlink_to(tmp_path / "secret.arrow")
        assert "outside of the folder `one`" in read_error(one)

    @pytest.mark.parametrize("splits", ["5", '["../one"]', '["gone"]', '[".."]', "[5]"])
    def test_splits_that_are_none(self, tmp_path, splits):
        DatasetDict(train=Dataset.from_list(ROWS)).save_to_disk(str(tmp_path / "both"))
        saved(tmp_path / "one", Dataset.from_list(ROWS))
        (tmp_path / "both" / "dataset_dict.json").write_text(f'{{"splits": {splits}}}')
        assert "`both` was written by `save_to_disk`, but " in read_error(tmp_path / "both")
