"""A stage of ten lines: once registered it has a command, settings in the docs, and `palign publish`."""

import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from datasets import Dataset

from palign_hf.cli import main
from palign_hf.config import setting
from palign_hf.errors import UserError
from palign_hf.hub.artifacts import TableArtifact
from palign_hf.hub.folders import read_folder
from palign_hf.hub.publish import PushedStage, publish
from palign_hf.runs import stages
from palign_hf.runs.launch import Ending
from palign_hf.schema import Table


PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
LENGTHS = Table("LENGTHS", 1, {"id": "string", "length": "int64"}, unique=("id",), required=("id",))


@dataclass(frozen=True, kw_only=True)
class LengthSettings:
    """Everything a recipe of lengths may say."""

    output_dir: str = setting(help="folder for the lengths")
    rows: int = setting(default=3, least=1, help="rows to measure")


class LengthRun:
    """Measures rows that need no student."""

    def __init__(self, settings):
        self.settings, self.folder = settings, Path(settings.output_dir)

    def agree(self):
        return None

    def work(self, shard, agreed):
        rows = [{"id": str(at), "length": at} for at in range(self.settings.rows)]
        Dataset.from_list(rows).to_parquet(str(self.folder / "data" / "train-00000-of-00001.parquet"))

    def finish(self, count):
        about = {"student": "me/small", "output_dir": self.settings.output_dir}
        report = {
            "stage": "measure",
            "settings": about,
            "run": {"rows": self.settings.rows},
            "lines": [["longest", "2"]],
        }
        (self.folder / "report.json").write_text(json.dumps(report))
        return Ending("measured", failed=0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class MeasureStage(PushedStage):
    """The ten lines."""

    name = "measure"
    help = "measure the length of each row"
    settings = LengthSettings
    writes = LENGTHS
    artifact = TableArtifact(kind="lengths", title="Lengths", about="Lengths of rows.", table=LENGTHS)

    def open(self, settings, shown=True):
        return LengthRun(settings)

    def ready(self, settings):
        pass

    def forecast(self, settings):
        return f"rows {settings.rows}"

    def follow(self, settings, ending):
        return None


@pytest.fixture
def registered():
    """The stage in the list, for one test."""
    before = dict(stages.STAGES)
    stages.register(MeasureStage())
    yield
    stages.STAGES.clear()
    stages.STAGES.update(before)


def test_a_registered_stage_has_a_command_settings_and_a_place_on_the_hub(registered, hub, online, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search("^ +measure +measure the length of each row$", capsys.readouterr().out, re.MULTILINE)
    page = runpy.run_path(str(Path(__file__).parents[2] / "docs" / "settings.py"))["page"]()
    assert "## `palign measure`\n\nMeasure the length of each row. It writes LENGTHS.\n" in page
    assert "| `rows` | rows to measure | a whole number, at least 1 | `3` |" in page
    (tmp_path / "out" / "data").mkdir(parents=True)
    assert main(["measure", "--output-dir", str(tmp_path / "out"), "--rows", "2"]) == 0
    assert capsys.readouterr().out == "measured\n"

    done = publish(tmp_path / "out", "tester/lengths", dry_run=True, api=hub.api())
    assert done.text().startswith("would push: 3 files") and (done.config, done.repo_type) == (
        "small-lengths",
        "dataset",
    )
    assert not hub.state.repositories
    publish(tmp_path / "out", "tester/lengths", api=hub.api())
    files = hub.files("dataset", "tester/lengths")
    assert {"small-lengths/train-00000-of-00001.parquet", "reports/small-lengths/report.json"} < {*files}
    card = files["README.md"].decode()
    assert "Lengths of rows." in card and "| longest | 2 |" in card and "config_name: small-lengths" in card
    assert str(tmp_path) not in card + files["reports/small-lengths/report.json"].decode()


def test_the_list_repeats_what_the_stages_say():
    """The list has the names and help lines, so that `palign --help` imports no stage."""
    for name, entry in stages.STAGES.items():
        stage = entry.load()
        assert (stage.name, stage.help) == (name, entry.help) and stage.artifact.kind and stage.artifact.title


def test_a_name_is_registered_once_and_an_unknown_one_is_refused(registered):
    with pytest.raises(UserError, match="`measure` is registered already"):
        stages.register(MeasureStage())
    with pytest.raises(UserError, match="`lengthen` is not registered; known are"):
        stages.find_stage("lengthen")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "grade"}, "`palign grade` is a command of this package. Give the stage another `name`."),
        ({"forecast": 3}, "The stage `measure` has `forecast` as data. Make each a method"),
        ({"settings": dict}, "The stage `measure` has `settings=<class 'dict'>`, which is no dataclass."),
    ],
)
def test_what_can_not_be_a_stage_is_refused(changes, message):
    stage = type("Changed", (MeasureStage,), changes)()
    with pytest.raises(UserError, match=re.escape(message)):
        stages.register(stage)
    assert {*stages.STAGES} == {"truncate", "align", "train", "evaluate"}


def test_a_class_and_an_object_without_the_methods_are_refused():
    class Half:
        name, help, settings = "half", "half a stage", LengthSettings

        def open(self, settings, shown=True):
            return LengthRun(settings)

    with pytest.raises(UserError, match="`Half` is a class, and a stage is an object. Give `Half\\(\\)`."):
        stages.register(Half)
    with pytest.raises(UserError, match="lacks `ready`, `forecast`, `follow`, `reads`, `writes`, `together`. Write"):
        stages.register(Half())


def installed(folder: Path, **points: str) -> None:
    """A distribution with entry points, as pip would install it."""
    place = folder / "lengths-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in points.items())
    (place / "entry_points.txt").write_text(f"[palign_hf.stages]\n{lines}")


def test_a_stage_of_an_installed_package_has_a_command(tmp_path):
    home = Path(__file__).parents[2]
    example = re.search(r"^```python\n# lengths.py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "lengths.py").write_text(example)
    installed(tmp_path, measure="lengths:MEASURE", broken="no_such_module:STAGE", other="lengths:Lengths")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{home}"}

    def palign(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "palign_hf.cli", *words]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    listed = palign("--help")
    assert re.search("^ +measure +a stage of the package `lengths`$", listed.stdout, re.MULTILINE)
    assert "broken" in listed.stdout and listed.returncode == 0 and listed.stderr == ""
    done = palign("measure", "--output-dir", "out", "--texts", "one", "three")
    assert (done.returncode, done.stdout) == (0, "measured 2 texts\n"), done.stderr
    assert json.loads((tmp_path / "out" / "report.json").read_text())["run"] == {"longest": 5}
    assert palign("measure", "--output-dir", "out", "--texts", "a", "--dry-run").stdout == "would measure 1 texts\n"
    for name, why in (("broken", "ModuleNotFoundError: No module named 'no_such_module'"), ("other", "`Lengths` is")):
        refused = palign(name, "--output-dir", "out")
        assert refused.returncode == 2 and refused.stderr.count("\n") == 1
        assert f"The stage `{name}` of the package `lengths` can't be used: {why}" in refused.stderr


def test_a_broken_stage_of_another_package_is_one_line_and_a_taken_name_too(tmp_path, monkeypatch, capsys):
    installed(tmp_path, broken="no_such_module:STAGE", train="lengths:MEASURE")
    monkeypatch.syspath_prepend(tmp_path)
    stages._installed.cache_clear()
    try:
        assert [stage.name for stage in stages.all_stages()] == ["truncate", "align", "train", "evaluate"]
    finally:
        stages._installed.cache_clear()
    taken, broken = capsys.readouterr().err.splitlines()
    assert taken == "palign: the package `lengths` has a stage `train`, a command that is there already"
    assert broken.startswith("palign: The stage `broken` of the package `lengths` can't be used: ModuleNotFoundError")


def test_a_report_of_a_stage_that_is_not_registered_says_so(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps({"stage": "measure", "settings": {}, "run": {}}))
    with pytest.raises(UserError, match="`measure` is not registered"):
        read_folder(tmp_path)


def test_the_hub_names_no_stage():
    """Commands and kinds of results are the stages' own."""
    names = {*stages.STAGES} | {stage.artifact.kind for stage in stages.all_stages()}
    hub = Path(__file__).parents[2] / "palign_hf" / "hub"
    for file in hub.glob("*.py"):
        text = file.read_text()
        for name in names:
            assert not re.search(rf"\bkind [!=]= .{name}\b", text) and f"palign {name}" not in text, file.name
