"""Every stage against folders with foreign files, links and odd names: no byte that isn't the run's own is changed."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from speaker import Speaker

from palign_hf.alignment.stage import ALIGN, AlignConfig, PrefixSettings
from palign_hf.cli import main
from palign_hf.data.sources import open_source
from palign_hf.errors import UserError
from palign_hf.evaluation.stage import EVALUATE, EvaluateConfig
from palign_hf.runs.claims import WRITTEN
from palign_hf.runs.launch import run_here
from palign_hf.runs.shards import REPORT
from palign_hf.schema import PREFIXES
from palign_hf.training.folder import StudentFolder
from palign_hf.training.settings import PairSettings, TrainConfig
from palign_hf.training.stage import TrainRun
from palign_hf.truncation.stage import TRUNCATE, TraceSettings, TruncateConfig


Run = Callable[[Path, bool, str], None]


@pytest.fixture(scope="module")
def patched():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def made(tmp_path_factory, pupil) -> Path:
    """What the stages read."""
    root = tmp_path_factory.mktemp("inputs")
    traces = [{"id": str(at), "question": f"{at}?", "trace": "One step. " * 4, "answer": "4"} for at in range(3)]
    (root / "traces.jsonl").write_text("".join(json.dumps(row | {"source": "s"}) + "\n" for row in traces))
    prefix = {"status": "sufficient", "prefix": "One step. ", "prefix_end": 10, "prefix_segments": 1, "n_segments": 4}
    rows = [dict.fromkeys(PREFIXES.columns) | row | {"source": "s"} | prefix for row in traces]
    pq.write_table(pa.Table.from_pylist(rows, schema=PREFIXES.features.arrow_schema), root / "prefixes.parquet")
    for name in ("one", "two"):
        shutil.copytree(pupil, root / name)
        config = json.loads((root / name / "config.json").read_text())
        (root / name / "config.json").write_text(json.dumps(config | {"name": name}))
    (root / "outputs.jsonl").write_text('{"problem": "1+1", "gold": "2", "output": "\\\\boxed{2}"}\n')
    for name in ("a", "b"):
        assert (
            main(
                [
                    "grade",
                    str(root / "outputs.jsonl"),
                    "--grader",
                    "exact",
                    "--output-file",
                    str(root / f"{name}.jsonl"),
                ]
            )
            == 0
        )
    return root


@pytest.fixture(scope="module")
def stages(made, patched) -> dict[str, Run]:
    """Each stage as one call: with a folder, whether to replace, and which of two settings."""
    engine = Speaker(tiny.fast(tiny.byte_level()))
    patched.setattr("palign_hf.generation.runner.make_engine", lambda *given, **options: engine)
    patched.setattr("palign_hf.evaluation.stage.write_results", lighteval)
    usual = {"engine": "transformers", "ledger": str(made / "ledger"), "progress": False}

    def truncate(out: Path, overwrite: bool, which: str) -> None:
        search = {"one": "none", "two": "full"}[which]
        traces = TraceSettings(source=str(made / "traces.jsonl"))
        student = str(made / "one")
        config = TruncateConfig(
            traces=traces, student=student, search=search, output_dir=str(out), overwrite=overwrite, **usual
        )
        run_here(TRUNCATE, config)

    def align(out: Path, overwrite: bool, which: str) -> None:
        prefixes = PrefixSettings(source=str(made / "prefixes.parquet"))
        given = {"grader": "exact", "n": {"one": 1, "two": 2}[which], **usual}
        config = AlignConfig(
            prefixes=prefixes, student=str(made / "one"), output_dir=str(out), overwrite=overwrite, **given
        )
        run_here(ALIGN, config)

    def evaluate(out: Path, overwrite: bool, which: str, **given) -> None:
        given = given or {"student": str(made / "one")}
        limit = {"one": 1, "two": 2}[which]
        asked = {"tasks": ("toy",), "grader": "exact", "n": 1, "max_samples": limit, **usual}
        run_here(EVALUATE, EvaluateConfig(output_dir=str(out), overwrite=overwrite, **asked, **given))

    def several(out: Path, overwrite: bool, which: str) -> None:
        evaluate(out, overwrite, which, students=(str(made / "one"), str(made / "two")))

    def train(out: Path, overwrite: bool, which: str) -> None:
        """What a training does to its folder, without learning."""
        folder = StudentFolder(out, {"rows": which})
        folder.check(overwrite)
        if folder.finished() and not overwrite:
            return
        folder.begin()
        with folder.saving():
            for name in ("config.json", "model.safetensors", "tokenizer.json", "odd.vocabulary"):
                (out / name).write_text(f"{which} {name}")
        for name in ("README.md", "checkpoint-2/trainer_state.json", "merged/config.json"):
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text(f"{which} {name}")
        folder.end({"steps": 2, "weights": {}}, "# The page\n")
        folder.release()

    def compare(out: Path, overwrite: bool, which: str) -> None:
        files = [str(made / f"{name}.jsonl") for name in ("ab" if which == "one" else "ba")]
        refused(main(["compare", *files, "--output-dir", str(out), *(["--overwrite"] if overwrite else [])]))

    def grade(out: Path, overwrite: bool, which: str) -> None:
        file = str(out / "labels.jsonl")
        out.mkdir(exist_ok=True)
        given = ["grade", str(made / "outputs.jsonl"), "--grader", "exact", "--output-file", file]
        refused(main([*given, *(["--overwrite"] if overwrite else [])]))

    known = {one.__name__: one for one in (truncate, align, evaluate, several, train, compare, grade)}
    return known


def refused(status: int) -> None:
    if status:
        raise UserError("as a command says it")


def lighteval(folder: Path, *given) -> None:
    """Its layout, without its pipeline; the real one is in `tests/evaluation`."""
    for name in ("results/one/results_2025.json", "details/one/2025/details_toy_2025.parquet"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def tree(root: Path) -> dict[str, object]:
    """Everything below: bytes of files, targets of links, and folders."""
    found: dict[str, object] = {}
    for home, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(home, name)
            told = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
            found[path.relative_to(root).as_posix()] = told
    return found


def recorded(root: Path) -> set[str]:
    """What the runs below have reported, and the fixed names of those that have no report."""
    names: set[str] = set()
    for report in root.rglob(REPORT):
        told = json.loads(report.read_text())
        names |= {(report.parent / name).relative_to(root).as_posix() for name in told[WRITTEN]}
    fixed = ("comparison.md", "comparison.json", "comparison.png", "labels.jsonl")
    return names | {path.relative_to(root).as_posix() for path in root.rglob("*") if path.name in fixed}


FILES = ["notes.txt", "report.json", "report.md", "README.md", "config.json", "tokenizer.json", "odd.py", "data"]
FILES += ["data/train-00000-of-00001.parquet", "data/x.parquet", "data/notes.txt", "samples.parquet", "lighteval"]
FILES += ["lighteval/notes.txt", "lighteval/results/one/results_2025.json", "merged", "merged/notes.txt"]
FILES += ["merged/config.json", "checkpoint-1", "checkpoint-1/notes.txt", "comparison.md", "comparison.json"]
FILES += ["comparison.png", "labels.jsonl", ".run", ".run/notes.txt", "one/samples.parquet", "two/lighteval/x", "one"]
FILES += ["report.md/notes.txt", "samples.parquet/notes.txt", "comparison.png/x", ".hidden", "sub/deep/notes.txt"]
LINKS = [*FILES, ".run/train-00000-of-00001", ".run/training", ".run/joined", "one/.run", "two/data", "checkpoint-2"]
FOLDERS = ["plain", "x[1]", "a*b?", "with space", "\u4e2d\u6587", "new\nline", "-dash", "{a,b}"]


def plant(out: Path, name: str, kind: str, elsewhere: Path) -> None:
    """Put a foreign file or link there, unless something is in its way."""
    path = out / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return
        if kind == "file":
            path.write_text(f"mine {name}")
        else:
            path.symlink_to({"to a file": elsewhere / "mine", "to a folder": elsewhere, "to nothing": "nowhere"}[kind])
    except (FileExistsError, NotADirectoryError):
        return


planted = st.one_of(
    st.tuples(st.sampled_from(FILES), st.just("file")),
    st.tuples(st.sampled_from(LINKS), st.sampled_from(["to a file", "to a folder", "to nothing"])),
)


SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.mark.parametrize("stage", ["truncate", "train", "compare", "grade"])
@settings(max_examples=40, suppress_health_check=SUPPRESSED)
@given(data=st.data())
def test_no_stage_changes_a_byte_that_is_not_its_own(stages, made, tmp_path_factory, stage, data):
    unchanged(stages, made, tmp_path_factory.mktemp("foreign"), stage, data)


@pytest.mark.parametrize("stage", ["align", "evaluate", "several"])
@settings(max_examples=8, suppress_health_check=SUPPRESSED)
@given(data=st.data())
def test_no_stage_that_starts_graders_changes_a_byte_that_is_not_its_own(stages, made, tmp_path_factory, stage, data):
    unchanged(stages, made, tmp_path_factory.mktemp("foreign"), stage, data)


def unchanged(stages: dict[str, Run], made: Path, root: Path, stage: str, data: st.DataObject) -> None:
    """Run a stage over a drawn folder, and compare all that was there before."""
    out, elsewhere = root / data.draw(st.sampled_from(FOLDERS), "folder"), root / "elsewhere"
    elsewhere.mkdir()
    for name in (
        "mine",
        "train-00000-of-00001.parquet",
        "000000.parquet",
        "run.json",
        "config.json",
        "results_1.json",
    ):
        (elsewhere / name).write_text(f"mine {name}")
    held = data.draw(st.sampled_from([None, "truncate", stage]), "a run before")
    if held is not None:
        stages[held](out, False, "one")
    own = recorded(root)
    for name, kind in data.draw(st.lists(planted, max_size=4), "planted"):
        plant(out, name, kind, elsewhere)
    before, inputs = tree(root), tree(made)
    try:
        stages[stage](
            out, data.draw(st.booleans(), "overwrite"), data.draw(st.sampled_from(["one", "two"]), "settings")
        )
    except UserError as error:
        assert str(error)
    after = tree(root)
    changed = {name for name, was in before.items() if after.get(name, "gone") != was}
    assert changed <= {*own, *(name for name in changed if before[name] == "folder" and _held(name, own))}
    # Ledgers grow; nothing else that was read has changed.
    assert {name: was for name, was in tree(made).items() if not name.startswith("ledger")} == {
        name: was for name, was in inputs.items() if not name.startswith("ledger")
    }
    assert {name.split("/")[0] for name in after.keys() - before.keys()} <= {out.name}


def _held(folder: str, own: set[str]) -> bool:
    """Whether a folder was there for a run's own files, so that it may go with them."""
    return any(name.startswith(f"{folder}/") for name in own)


@pytest.mark.parametrize("stage", ["truncate", "align", "evaluate", "several", "train", "compare", "grade"])
def test_every_stage_writes_into_what_is_new_and_replaces_its_own_and_only_when_told(stages, tmp_path, stage, capsys):
    """So that the test above isn't passed by refusing everything."""
    out = tmp_path / "x[1]"
    run = stages[stage]
    run(out, False, "one")
    first = tree(out)
    assert len(first) > (stage != "grade")
    if stage == "grade":
        with pytest.raises(UserError):
            run(out, False, "one")
    else:
        run(out, False, "one")
    if stage not in ("evaluate", "several", "truncate", "align"):
        assert tree(out) == first or stage == "grade"
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError):
        run(out, False, "two")
    run(out, True, "two")
    assert (out / "notes.txt").read_text() == "mine" and not (out / ".run").exists()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("stage", ["truncate", "align", "evaluate", "several", "train"])
@pytest.mark.parametrize("how", ["equal", "a link to it", "a file in it", "a link in it"])
def test_a_folder_that_holds_what_is_read_is_refused_and_replace_is_not_suggested(
    made, tmp_path, stage, overwrite, how
):
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    for name in ("one", "two"):
        shutil.copytree(made / name, home / name)
    table = home / "data" / "train-00000-of-00001.parquet"
    shutil.copy(made / "prefixes.parquet", table)
    for file in (made / "one").iterdir():
        shutil.copy(file, home / file.name)
    (home / REPORT).write_text(json.dumps({"run": {"fingerprint": "f"}}))
    output, source, student = home, home, home
    if how == "a link to it":
        (tmp_path / "link").symlink_to(home)
        output = tmp_path / "link"
    elif how == "a file in it":
        source, student = table, home / "one"
    elif how == "a link in it":
        # As the cache of the Hub has it: what is read is a link to a blob, which lies where the result would.
        (tmp_path / "snapshot").mkdir()
        (tmp_path / "snapshot" / "train.parquet").symlink_to(table)
        (tmp_path / "snapshot" / "config.json").symlink_to(home / "one" / "config.json")
        source = student = tmp_path / "snapshot"
    given = {"output_dir": str(output), "overwrite": overwrite, "student": str(student)}
    before = tree(tmp_path)
    with pytest.raises(UserError, match="which this run reads. Give another folder.$") as error:
        if stage == "truncate":
            TruncateConfig(traces=TraceSettings(source=str(source)), **given)
        elif stage == "align":
            AlignConfig(prefixes=PrefixSettings(source=str(source)), **given)
        elif stage == "train":
            TrainRun(TrainConfig(pairs=PairSettings(source=str(source)), **given))
        else:
            students = {"one": str(student), "three": str(made / "two")}
            several = {"students": students, "student": ""} if stage == "several" else {}
            EvaluateConfig(tasks=("toy",), **given | several)
    assert tree(tmp_path) == before and "overwrite" not in str(error.value)


@pytest.mark.parametrize("given", ["equal", "a link to it", "a link from it", "folder"])
def test_labels_never_go_over_the_file_that_is_graded(made, tmp_path, capsys, given):
    file = out = tmp_path / "outputs.jsonl"
    shutil.copy(made / "outputs.jsonl", file)
    if given == "a link to it":
        out = tmp_path / "link.jsonl"
        out.symlink_to(file)
    elif given == "a link from it":
        file = tmp_path / "link.jsonl"
        file.symlink_to(out)
    elif given == "folder":
        assert main(["grade", str(file), "--output-file", str(tmp_path / "samples.parquet"), "--grader", "exact"]) == 0
        file, out = tmp_path, tmp_path / "samples.parquet"
    before = tree(tmp_path)
    assert main(["grade", str(file), "--output-file", str(out), "--overwrite", "--grader", "exact"]) == 2
    assert "is the file that is read. Give another file" in capsys.readouterr().err and tree(tmp_path) == before


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.parquet"])
def test_replace_writes_labels_over_labels_only(made, tmp_path, capsys, name):
    (tmp_path / name).write_text('{"mine": 1}\n')
    assert main(["grade", str(made / "outputs.jsonl"), "--output-file", str(tmp_path / name), "--overwrite"]) == 2
    assert "holds no graded samples, so it is not written over" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == '{"mine": 1}\n'


def test_a_comparison_never_goes_where_what_is_compared_lies(made, tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(made / f"{name}.jsonl", tmp_path / name / "labels.jsonl")
        given = ["grade", str(made / "outputs.jsonl"), "--grader", "exact", "--output-file"]
        assert main([*given, str(tmp_path / name / "samples.parquet")]) == 0
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for out in ("a", "link"):
        assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--output-dir", str(tmp_path / out)]) == 2
        assert "is what is compared. Give another folder" in capsys.readouterr().err
    assert not (tmp_path / "a" / "comparison.json").exists()


NO_FOLDERS = {
    "a::b": "`::` stands between file systems",
    "$HOME/x": "the variable `$HOME` is not expanded here",
    "runs/${RUN}": "the variable `${RUN}` is not expanded here",
    "~nosuchuser/x": "there is no user `nosuchuser` here",
    "s3://bucket/x": "it is an address of `s3://`",
    "http://host/x": "it is an address of `http://`",
    "hf://datasets/me/x": "it is an address of `hf://`",
    "file:///tmp/x": "it is an address of `file://`",
    "FILE://tmp/x": "it is an address of `FILE://`",
    "half \ud800": "it holds half a surrogate pair",
    "nu\0ll": "a name has no null character",
    "dangling": "is a link to nothing",
    "dangling/below": "is a link to nothing",
    "loop": "is a link to nothing",
    "file": "is a file",
    "x" * 300: "File name too long",
}


@pytest.mark.parametrize("kind", [TruncateConfig, AlignConfig, EvaluateConfig, TrainConfig, "compare", "demo"])
@pytest.mark.parametrize("name", NO_FOLDERS)
def test_an_output_that_can_be_no_local_folder_is_refused_at_the_start(kind, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nowhere")
    Path("loop").symlink_to("loop")
    Path("file").write_text("")
    before = tree(tmp_path)
    if isinstance(kind, str):
        given = {
            "compare": ["compare", "a.jsonl", "b.jsonl", "--output-dir", name],
            "demo": ["demo", "--output-dir", name],
        }[kind]
        assert main(given) == 2
        told = capsys.readouterr().err
    else:
        read = {
            TruncateConfig: {"traces": TraceSettings(source="me/x")},
            AlignConfig: {"prefixes": PrefixSettings(source="me/x")},
            EvaluateConfig: {},
            TrainConfig: {"pairs": PairSettings(source="me/x")},
        }[kind]
        with pytest.raises(UserError) as error:
            kind(student="me/x", output_dir=name, **read)
        told = str(error.value)
    assert NO_FOLDERS[name] in told and "can't be a folder" in told and "Give another folder" in told
    assert tree(tmp_path) == before


def test_the_report_of_a_folder_with_brackets_counts_its_own_rows(stages, made, tmp_path):
    """To `datasets` a bracket is a pattern: the rows of `x1` were reported for `x[1]`."""
    stages["truncate"](tmp_path / "x[1]", False, "one")
    (tmp_path / "x1" / "data").mkdir(parents=True)
    table = pq.read_table(tmp_path / "x[1]" / "data" / "train-00000-of-00001.parquet")
    pq.write_table(pa.concat_tables([table] * 5), tmp_path / "x1" / "data" / "train-00000-of-00001.parquet")
    stages["truncate"](tmp_path / "x[1]", True, "two")
    assert json.loads((tmp_path / "x[1]" / REPORT).read_text())["rows"] == 3
    read, name = open_source(str(tmp_path / "x[1]"), split="train", config=None, revision=None, streaming=False)
    assert (len(read), name) == (3, "x[1]")
    stages["align"](tmp_path / "x[2]", False, "one")
    assert json.loads((tmp_path / "x[2]" / REPORT).read_text())["rows"] == 3


def test_a_demo_writes_over_no_report_of_others(tmp_path, capsys):
    (tmp_path / "report.md").write_text("mine")
    assert main(["demo", "--output-dir", str(tmp_path)]) == 2
    assert "holds `report.md`, which no run of this package has written" in capsys.readouterr().err
    assert (tmp_path / "report.md").read_text() == "mine"


def test_students_may_lie_where_they_are_compared(made, tmp_path):
    """Beside the folders that their evaluations go to."""
    shutil.copytree(made / "one", tmp_path / "student")
    students = {"before": str(made / "two"), "after": str(tmp_path / "student")}
    config = EvaluateConfig(students=students, tasks=("toy",), output_dir=str(tmp_path))
    assert [one.folder for one in config.each().values()] == [tmp_path / "before", tmp_path / "after"]


def test_a_source_with_brackets_that_is_no_folder_of_a_run_is_refused_rather_than_another_read(tmp_path):
    for name in ("x1", "x[1]"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "traces.jsonl").write_text('{"question": "q", "trace": "t"}\n')
    with pytest.raises(UserError, match="has a pattern in its name, so `datasets` would read another folder"):
        open_source(str(tmp_path / "x[1]"), split=None, config=None, revision=None, streaming=False)
