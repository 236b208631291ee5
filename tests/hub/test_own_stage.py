"""A stage of ten lines: once registered it has a command, settings in the docs, and `palign publish`."""

import json
import re
import runpy
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
