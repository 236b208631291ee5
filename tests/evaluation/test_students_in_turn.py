"""Several students in one call: each in a folder of its own, one after the other, compared at the end."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from speaker import Speaker

from palign_hf.cli import main
from palign_hf.config import ConfigError, load_config
from palign_hf.engines.base import EngineUnavailable
from palign_hf.errors import UserError
from palign_hf.evaluation.grade import read_samples
from palign_hf.evaluation.stage import EVALUATE, EvaluateConfig
from palign_hf.evaluation.students import named
from palign_hf.evaluation.tasks import open_task
from palign_hf.runs.launch import run_here
from palign_hf.runs.shards import Shard


@pytest.fixture
def students(pupil, tmp_path):
    """Two folders of students with different weights, as far as anybody can tell from outside."""
    for name in ("before", "after"):
        shutil.copytree(pupil, tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps(config | {"name": name}))
    return [str(tmp_path / "before"), str(tmp_path / "after")]


@pytest.fixture
def usual(speaker, students, tmp_path):
    golds = {one.question: one.gold for one in open_task("toy", max_samples=40).problems}
    right = set(list(golds)[:3])

    def say(prompt, seed):
        (question,) = (question for question in golds if question in prompt)
        return rf"\boxed{{{golds[question] if question in right else -1}}}"

    speaker.text = say
    values = {"students": students, "engine": "transformers", "output_dir": str(tmp_path / "out"), "grader": "exact"}
    return values | {"ledger": str(tmp_path / "ledger"), "tasks": ["toy"], "max_samples": 6, "progress": False}


@dataclass
class Engines:
    """Makes each student an engine that speaks as the one speaker does; `broken` ones don't start."""

    speaker: Speaker
    started: list[str] = field(default_factory=list)
    up: list[str] = field(default_factory=list)
    most: int = 0
    broken: set[str] = field(default_factory=set)

    def make(self, name, where, **options):
        student = Path(where).name
        if student in self.broken:
            raise EngineUnavailable("no memory is left for it. Give it more.")
        self.started.append(student)
        self.up.append(student)
        self.most = max(self.most, len(self.up))
        return Own(self.speaker.tokenizer, self.speaker.text, self.speaker.asked, up=self.up)


@dataclass
class Own(Speaker):
    """An engine that is seen to be closed."""

    up: list[str] = field(default_factory=list)

    async def close(self):
        self.up.clear()


@pytest.fixture
def engines(speaker, monkeypatch):
    made = Engines(speaker)
    monkeypatch.setattr("palign_hf.generation.runner.make_engine", made.make)
    return made


def test_each_has_a_folder_and_one_engine_is_up_at_a_time(usual, speaker, engines, tmp_path, capsys):
    assert run_here(EVALUATE, EvaluateConfig(**usual)) == 0
    assert engines.started == ["before", "after"] and engines.most == 1 and len(speaker.asked) == 36
    told = capsys.readouterr().out
    assert told.index("== before") < told.index("== after") < told.index("== side by side") < told.index("wrote")
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "before", "after", "comparison.md", "comparison.json", "comparison.png",
    }  # fmt: skip
    for name in ("before", "after"):
        assert len(read_samples(out / name)) == 18 and (out / name / "report.md").is_file()
    figures = json.loads((out / "comparison.json").read_text())
    assert figures["models"] == ["before", "after"] and figures["figures"]["strict pass@1"]["after"]["value"] == 0.5
    # The same command again has nothing left to ask.
    assert run_here(EVALUATE, EvaluateConfig(**usual)) == 0
    assert len(speaker.asked) == 36 and engines.started == ["before", "after"]


def test_a_student_that_fails_does_not_lose_the_others(usual, students, speaker, engines, tmp_path, capsys):
    third = shutil.copytree(students[0], tmp_path / "third")
    config = json.loads((third / "config.json").read_text())
    (third / "config.json").write_text(json.dumps(config | {"name": "third"}))
    usual["students"] = [*students, str(third)]
    engines.broken.add("before")
    assert run_here(EVALUATE, EvaluateConfig(**usual)) == 1
    told = capsys.readouterr()
    assert "evaluate: before: no memory is left for it. Give it more." in told.err
    assert "1 of 3 students failed, for the reasons above: `before`" in told.out
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["models"] == ["after", "third"]
    assert not (tmp_path / "out" / "before" / "samples.parquet").exists() and len(speaker.asked) == 36
    engines.broken.clear()
    assert run_here(EVALUATE, EvaluateConfig(**usual)) == 0
    assert len(speaker.asked) == 54
    models = json.loads((tmp_path / "out" / "comparison.json").read_text())["models"]
    assert models == ["before", "after", "third"]


def test_what_is_no_users_doing_has_its_traceback_and_loses_nobody(usual, speaker, engines, capsys):
    say, left = speaker.text, [5]

    def breaks(prompt, seed):
        left[0] -= 1
        if left[0] == 0:
            raise MemoryError("the machine is full")
        return say(prompt, seed)

    speaker.text = breaks
    assert run_here(EVALUATE, EvaluateConfig(**usual, max_concurrency=1)) == 1
    told = capsys.readouterr()
    assert "Traceback" in told.err and "evaluate: before: the machine is full" in told.err
    assert "Fewer than two students were evaluated" in told.out and "== after" in told.out


def test_several_processes_share_each_students_problems(usual, speaker, engines, tmp_path, capsys):
    config = EvaluateConfig(**usual)
    for index in range(2):
        with EVALUATE.open(config, shown=False) as one:
            one.work(Shard(index, 2), one.agree())
    with EVALUATE.open(config, shown=False) as one:
        assert one.finish(2).failed == 0
    assert len(speaker.asked) == 36 and "== after" in capsys.readouterr().out
    assert (tmp_path / "out" / "comparison.png").is_file()


@pytest.mark.parametrize("given", [["before", "after"], ["untrained=before", "trained=after"]])
def test_from_a_command_line_and_a_recipe(given, usual, engines, students, monkeypatch, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    del usual["students"]
    recipe.write_text(json.dumps(usual))
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", "--config", str(recipe), "--max-samples", "2", "--students", *given]) == 0
    names = [one.partition("=")[0] for one in given]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["models"] == names
    students = dict(zip(names, students, strict=True)) if "=" in given[0] else students
    recipe.write_text(json.dumps(usual | {"students": students}))
    assert list(load_config(EvaluateConfig, recipe).each()) == names


def test_a_dry_run_tells_of_each(usual, speaker):
    told = str(EVALUATE.forecast(EvaluateConfig(**usual)))
    assert told.count("6 problems, from this package") == 2 and "== before" in told and not speaker.asked


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"students": ["me/one"]}, "`students=['me/one']` is one alone. Give two or more"),
        ({"students": ["me/one", "me/one"]}, "`me/one` is listed twice in `students`"),
        (
            {"students": ["me/One", "you/one"]},
            "`me/One` and `you/one` would both be written to the folder `one`",
        ),
        ({"students": {"a": "me/x", "A": "me/y"}}, "`me/x` and `me/y` would both be written to the folder `A`"),
        ({"students": {"a/b": "me/x", "c": "me/y"}}, "`a/b` can't be the folder of `me/x`"),
        ({"students": {"..": "me/x", "c": "me/y"}}, "`..` can't be the folder of `me/x`"),
        ({"student": "me/x", "students": ["me/y", "me/z"]}, "`student=me/x` beside `students`"),
        ({"students": ["me/y", "me/z"], "revision": "v1"}, "`revision=v1` with several students"),
        ({"students": []}, "No student is named. Give `student=...`, or several in `students=[..., ...]`"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_loaded(given, message):
    with pytest.raises(UserError) as refused:
        EvaluateConfig(**given)
    assert str(refused.value).startswith(message)


def test_one_folder_under_two_names_is_one_student(students, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is listed twice"):
        named({"a": students[0], "b": "before"})
    assert named(["before", "me/Model"]) == {"before": "before", "model": "me/Model"}


def test_a_student_that_is_not_there_is_refused_before_the_first_is_asked(usual, speaker, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        EVALUATE.open(EvaluateConfig(**usual | {"students": [usual["students"][0], str(tmp_path / "nowhere")]}))
    assert not speaker.asked


def test_options_name_whom_to_give(capsys):
    assert main(["evaluate"]) == 2
    assert "Give `--student" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="gives `a` twice"):
        from palign_hf.config import Parser, add_options, read_options

        parser = Parser()
        add_options(parser, EvaluateConfig)
        read_options(parser.parse_args(["--students", "a=x", "a=y"]), EvaluateConfig)
