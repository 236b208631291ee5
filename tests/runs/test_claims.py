"""Whose files a folder holds: own ones are written over and removed, foreign ones and links never."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows_worker import SCHEMA

from palign_hf.errors import UserError
from palign_hf.runs.claims import EVALUATION, STUDENT, TABLES, WRITTEN, Claim, refuse_read
from palign_hf.runs.shards import REPORT, OutputFolder, Shard, load_code


IDENTITY = {"fingerprint": "f", "rows": 3}
OTHER = IDENTITY | {"fingerprint": "g"}


def ended(folder: Path, identity=IDENTITY, numbers=(1, 2, 3)) -> OutputFolder:
    output = OutputFolder(folder, identity)
    part = output.shard(Shard(), SCHEMA, lambda row: False, 2)
    part.write({"number": number} for number in list(numbers)[part.done :])
    output.publish(1)
    output.end({"rows": len(numbers)}, "# The page\n")
    return output


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every file with its bytes, every link with its target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = os.readlink(path)
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def test_a_report_names_every_file_of_its_run(tmp_path):
    ended(tmp_path / "out")
    told = json.loads((tmp_path / "out" / REPORT).read_text())
    assert told[WRITTEN] == sorted(tree(tmp_path / "out"))


def test_what_another_run_has_written_goes_with_it_and_what_lies_beside_it_stays(tmp_path):
    out = tmp_path / "out"
    ended(out)
    (out / "samples.parquet").write_text("of a run of another kind")
    told = json.loads((out / REPORT).read_text())
    (out / REPORT).write_text(json.dumps(told | {WRITTEN: [*told[WRITTEN], "samples.parquet"]}))
    (out / "notes.txt").write_text("mine")
    (out / "data" / "notes.txt").write_text("mine, too")
    OutputFolder(out, OTHER).claim(overwrite=True)
    ended(out, OTHER, (7,))
    left = tree(out)
    assert sorted(left) == [
        "data/notes.txt", "data/train-00000-of-00001.parquet", "notes.txt", "report.json", "report.md",
    ]  # fmt: skip
    assert left["notes.txt"] == b"mine" and left["data/notes.txt"] == b"mine, too"


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["notes.txt", "sub/notes.txt", "README.md", "data/train-00000-of-00001.parquet"])
def test_a_folder_that_no_run_has_claimed_is_refused(tmp_path, name, overwrite):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds `{name}`, which no run of this package has written. Give a new or"):
        OutputFolder(tmp_path, IDENTITY).claim(overwrite)
    assert tree(tmp_path) == {name: b"mine"}


def test_hidden_files_keep_no_run_out(tmp_path):
    (tmp_path / ".gitkeep").write_text("")
    OutputFolder(tmp_path, IDENTITY).claim()
    ended(tmp_path)
    assert (tmp_path / ".gitkeep").exists()


@pytest.mark.parametrize(
    "name", ["README.md", "tokenizer.json", "merged/config.json", "checkpoint-3/notes.txt", "runs/x"]
)
def test_what_stands_where_a_training_writes_is_refused_in_a_claimed_folder(tmp_path, name):
    ended(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds `{name.split('/x')[0]}"):
        OutputFolder(tmp_path, OTHER, STUDENT).claim(overwrite=True)
    OutputFolder(tmp_path, OTHER).claim(overwrite=True)  # tables are in nobody's way


@pytest.mark.parametrize("name", ["report.md", "samples.parquet", "data/train-00000-of-00002.parquet"])
def test_a_folder_in_place_of_a_file_is_refused(tmp_path, name):
    ended(tmp_path)
    (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=f"holds `{name}`"):
        OutputFolder(tmp_path, IDENTITY, EVALUATION).claim()


@pytest.mark.parametrize("name", ["data", "lighteval", ".run"])
def test_a_file_in_place_of_a_folder_is_refused(tmp_path, name):
    ended(tmp_path)
    shutil.rmtree(tmp_path / name, ignore_errors=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds `{name}`"):
        OutputFolder(tmp_path, IDENTITY, EVALUATION).claim()


LINKS = ["data", "data/train-00000-of-00001.parquet", ".run", ".run/train-00000-of-00001", ".run/elsewhere"]
LINKS += ["lighteval", "merged", "checkpoint-3", "report.md", "samples.parquet"]


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", LINKS)
def test_a_link_is_refused_and_what_it_points_to_stays(tmp_path, name, overwrite):
    ended(tmp_path / "out")
    (tmp_path / "mine").mkdir()
    for one in ("000000.parquet", "run.json", "train-00000-of-00001.parquet", "config.json"):
        (tmp_path / "mine" / one).write_text("mine")
    path = tmp_path / "out" / name
    if path.is_dir():
        shutil.rmtree(path)
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(tmp_path / "mine")
    before = tree(tmp_path)
    with pytest.raises(UserError, match=f"holds `{name}`, a link, and links are not followed"):
        OutputFolder(tmp_path / "out", IDENTITY, (*EVALUATION, *STUDENT)).claim(overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", [".run", ".run/train-00000-of-00001", ".run/train-00000-of-00001/lock"])
def test_a_link_that_comes_after_the_look_is_not_followed_either(tmp_path, name):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "000000.parquet").write_text("mine")
    (tmp_path / "out" / name).parent.mkdir(parents=True)
    (tmp_path / "out" / name).symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="is a link, and links are not followed"):
        ended(tmp_path / "out")
    assert tree(tmp_path / "mine") == {"000000.parquet": b"mine"}


def test_a_link_that_lies_among_what_is_cleared_stays_and_so_does_its_target(tmp_path):
    output = ended(tmp_path / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x.parquet").write_text("mine")
    for name in ("data/train-00000-of-00001.parquet", "report.md"):
        (tmp_path / "out" / name).unlink()
        (tmp_path / "out" / name).symlink_to(tmp_path / "mine" / "x.parquet")
    output.files.remove([*json.loads((tmp_path / "out" / REPORT).read_text())[WRITTEN], "elsewhere/x"])
    assert sorted(tree(tmp_path / "out")) == ["data/train-00000-of-00001.parquet", "report.md"]
    assert tree(tmp_path / "mine") == {"x.parquet": b"mine"}


def test_a_foreign_file_in_the_working_folder_stays(tmp_path):
    part = OutputFolder(tmp_path, IDENTITY).shard(Shard(), SCHEMA, lambda row: False, 2)
    part.write([{"number": 1}])
    for name in (".run/notes.txt", ".run/train-00000-of-00001/notes.parquet", ".run/train-00000-of-00001/1.parquet"):
        (tmp_path / name).write_text("mine")
    ended(tmp_path, OTHER)
    assert [name for name, data in tree(tmp_path).items() if data == b"mine"] == [
        ".run/notes.txt", ".run/train-00000-of-00001/1.parquet", ".run/train-00000-of-00001/notes.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [["../mine"], ["/etc/passwd"], ["a/../../mine"], [""], ["x\0y"], [3, None], [".run/lock"], {"a": 1}, "mine"],
)
def test_a_record_that_somebody_has_changed_reaches_no_file_outside(tmp_path, names):
    (tmp_path / "mine").write_text("mine")
    ended(tmp_path / "out")
    told = json.loads((tmp_path / "out" / REPORT).read_text())
    (tmp_path / "out" / REPORT).write_text(json.dumps(told | {WRITTEN: names}))
    files = Claim(tmp_path / "out", TABLES)
    files.remove(files.own())
    assert (tmp_path / "mine").read_text() == "mine"


KINDS = {
    "tables": ({"statuses": {}}, TABLES, ["data/train-00000-of-00001.parquet", "report.md"]),
    "evaluation": (
        {"samples": 3, "benchmarks": {}},
        EVALUATION,
        [
            "samples.parquet",
            "report.md",
            "lighteval/results/me/student/results_2025-01-01.json",
            "lighteval/details/student/2025-01-01/details_palign:toy|0_2025.parquet",
        ],
    ),
    "student": (
        {"steps": 3, "weights": {}},
        STUDENT,
        ["README.md", "model.safetensors", "tokenizer.json", "merged/config.json", "checkpoint-3/optimizer.pt"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_a_release_that_named_no_files_is_known_by_what_its_kind_writes(tmp_path, kind):
    told, writes, names = KINDS[kind]
    for name in [*names, "notes.txt", "data/notes.txt", "lighteval/notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / REPORT).write_text(json.dumps(told | {"run": IDENTITY}))
    output = OutputFolder(tmp_path, IDENTITY, writes)
    output.claim()
    with pytest.raises(UserError, match="the result of another run: fingerprint `f` instead of `g`"):
        OutputFolder(tmp_path, OTHER, writes).claim()
    assert output.files.own() == {*names, REPORT}
    output.files.remove(output.files.own())
    assert sorted(tree(tmp_path)) == ["data/notes.txt", "lighteval/notes.txt", "notes.txt"]


def test_a_run_of_that_release_goes_on_also_where_it_ended_between_its_files_and_its_report(tmp_path):
    output = OutputFolder(tmp_path, IDENTITY)
    part = output.shard(Shard(), SCHEMA, lambda row: False, 2)
    part.write({"number": number} for number in (1, 2, 3))
    (tmp_path / ".run" / "files.json").unlink()
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"number": [1, 2, 3]}), tmp_path / "data" / Shard().file_name)
    again = OutputFolder(tmp_path, IDENTITY)
    again.claim()
    ended(tmp_path)
    with pytest.raises(UserError, match="another run"):
        OutputFolder(tmp_path, OTHER).claim()


# The folder for the result is `out`; the input lies in `in`.
def equal(root: Path) -> str:
    return f"{root}/out/"


def spelt_otherwise(root: Path) -> str:
    return f"{root}/in/../out"


def a_file_in_it(root: Path) -> str:
    return f"{root}/out/data/train-00000-of-00001.parquet"


def a_link_to_it(root: Path) -> str:
    (root / "link").symlink_to(root / "out")
    return f"{root}/link"


def a_link_to_a_file_in_it(root: Path) -> str:
    (root / "in" / "t.parquet").symlink_to(root / "out" / "data" / "train-00000-of-00001.parquet")
    return f"{root}/in/t.parquet"


def a_folder_with_a_link_into_it(root: Path) -> str:
    a_link_to_a_file_in_it(root)
    return f"{root}/in"


def a_glob(root: Path) -> str:
    return f"{root}/o*/data/*.parquet"


@pytest.mark.parametrize(
    "source",
    [equal, spelt_otherwise, a_file_in_it, a_link_to_it, a_link_to_a_file_in_it, a_folder_with_a_link_into_it, a_glob],
)
def test_a_folder_for_the_result_that_holds_what_is_read_is_refused(tmp_path, source):
    (tmp_path / "in").mkdir()
    ended(tmp_path / "out")
    with pytest.raises(UserError, match="which this run reads. Give another folder.$"):
        refuse_read(tmp_path / "out", [None, "me/hub", source(tmp_path)])


def test_a_link_as_the_folder_for_the_result_is_compared_by_what_it_points_to(tmp_path):
    ended(tmp_path / "in")
    (tmp_path / "out").symlink_to(tmp_path / "in")
    with pytest.raises(UserError, match="which this run reads"):
        refuse_read(tmp_path / "out", [str(tmp_path / "in")])


def test_what_is_read_elsewhere_is_in_nobodys_way(tmp_path):
    ended(tmp_path / "in" / "out")
    refuse_read(tmp_path / "in" / "out", ["me/pairs", str(tmp_path), str(tmp_path / "nowhere"), "x\0y", "~nobody/x"])
    refuse_read(tmp_path / "new", [str(tmp_path / "new" / "x"), str(tmp_path / "newer"), "me/new"])


def test_a_name_of_the_hub_that_would_be_the_result_the_next_time_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="`output_dir=me/pairs` holds `me/pairs`, which this run reads"):
        refuse_read(Path("me/pairs"), ["me/pairs"])


def test_a_folder_with_brackets_in_its_name_is_read_by_the_code_that_is_printed(tmp_path):
    from datasets import load_dataset

    for name, numbers in (("x1", range(5)), ("x[1]", (7, 8))):
        ended(tmp_path / name, IDENTITY, numbers)
    found = eval(load_code(tmp_path / "x[1]", "train"), {"load_dataset": load_dataset})
    assert found["number"][:] == [7, 8]


NAMES = [
    "notes.txt",
    "report.md",
    "README.md",
    "data/train-00000-of-00001.parquet",
    "data/x.parquet",
    "samples.parquet",
]
NAMES += ["merged/config.json", "checkpoint-1/x", "sub/deep/x", "lighteval/x", "config.json", "x.py", ".hidden"]


@given(
    st.sets(st.sampled_from(NAMES)),
    st.sampled_from([None, "f", "g"]),
    st.booleans(),
    st.sampled_from([TABLES, EVALUATION, STUDENT]),
)
def test_foreign_files_outlive_any_claim_and_any_clearing(tmp_path_factory, planted, before, overwrite, writes):
    root = tmp_path_factory.mktemp("claims")
    if before:
        ended(root, IDENTITY | {"fingerprint": before})
    own = {*tree(root)}
    for name in planted - own:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")
    foreign = {name: data for name, data in tree(root).items() if name not in own}
    output = OutputFolder(root, IDENTITY, writes)
    try:
        output.claim(overwrite)
    except UserError:
        assert {**tree(root)}.keys() == {*own, *foreign}
    else:
        ended(root)
        output.files.remove(output.files.own())
        assert tree(root) == foreign
