"""Resolution of graders: by name, as an object, as the user's own code, and errors for anything else."""

import asyncio
import pickle
import shlex
import sys
from pathlib import Path

import pytest

from palign_hf.cli import main
from palign_hf.config.resolve import Uncalled, uncalled
from palign_hf.errors import UserError
from palign_hf.evaluation.grade import GradeConfig, grade_file
from palign_hf.generation.settings import SamplingSettings
from palign_hf.grading import GRADERS, ChoiceGrader, ExactGrader, Grade, GraderPool, MathGrader, OwnGrader, make_grader
from palign_hf.grading.graders import version_of


OWN = """
from palign_hf.grading import Grade

def half(output, gold):
    return output == gold
half.version = 3

def graded(output, gold):
    return Grade(False, True, "x")

def fails(output, gold):
    raise KeyError("no such thing")

def silent(output, gold):
    pass

class Kind:
    name, version = "kind", 2
    def __init__(self, mark="-"):
        self.mark = mark
    def grade(self, output, gold):
        return Grade(True, True, self.mark)

ready = Kind("!")
class Bare: pass
class Plain:
    name = "plain"
    def grade(self, output, gold):
        return output == gold
class Quick(Plain):
    def quick(self, output, gold):
        return None if "?" in output else output == gold
class loud:
    def __init__(self): raise AssertionError("was called")
def alone(output): pass
number = 5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_graders.py").write_text(OWN)
    (tmp_path / "leaves_at_once.py").write_text("raise SystemExit(0)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)


def test_ours_by_name_with_parameters_and_as_they_are():
    assert {name: type(make_grader(name)) for name in GRADERS} == {
        "math": MathGrader,
        "choice": ChoiceGrader,
        "exact": ExactGrader,
    }
    assert make_grader({"name": "choice", "letters": "AB"}).name == "choice(AB)"
    grader = ExactGrader()
    assert make_grader(grader) is grader and make_grader().name == "math"
    assert all(make_grader(name).version >= 1 for name in GRADERS)


@pytest.mark.usefixtures("own")
def test_ones_own_function():
    grader = make_grader("own_graders:half")
    assert (grader.name, grader.version) == ("own_graders:half", 3)
    assert grader.grade("5", "5") == Grade(True, True, None)
    assert grader.grade("\\boxed{4}", "5") == Grade(False, False, "4")
    assert make_grader("own_graders:graded").grade("", "") == Grade(False, True, "x")
    copy = pickle.loads(pickle.dumps(grader))
    assert isinstance(copy, OwnGrader) and copy.grade("5", "5").strict


@pytest.mark.usefixtures("own")
def test_ones_own_function_that_fails_is_a_wrong_answer_with_a_reason():
    grade = make_grader("own_graders:fails").grade("\\boxed{5}", "5")
    assert grade == Grade(False, False, "5", "own_graders:fails: KeyError: 'no such thing'")
    silent = make_grader("own_graders:silent").grade("5", "5")
    assert not silent.strict and silent.error and "None" in silent.error


@pytest.mark.usefixtures("own")
def test_ones_own_class_and_object():
    assert make_grader("own_graders:Kind").grade("", "").answer == "-"
    assert make_grader({"name": "own_graders:Kind", "mark": "+"}).grade("", "").answer == "+"
    assert make_grader("own_graders:ready").grade("", "").answer == "!"


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("name", ["own_graders:Plain", "own_graders:Quick"])
def test_a_class_without_version_that_returns_a_bool_grades_everywhere(name):
    grader = make_grader(name)
    assert version_of(grader) == 1 and SamplingSettings("student", grader=name).grader == name
    with GraderPool(name, workers=1) as pool:
        assert (pool.name, pool.version) == ("plain", 1)
        assert pool.grade("5", "5") == Grade(True, True, None) == asyncio.run(pool.grade_async("5", "5"))
        wrong = Grade(False, False, "4?")
        assert pool.grade_all([("5", "5"), ("\\boxed{4?}", "5")]) == [Grade(True, True, None), wrong]
    Path("outputs.jsonl").write_text('{"question": "q", "answer": "5", "output": ["5", "4"]}\n')
    assert grade_file(GradeConfig(file="outputs.jsonl", grader=name)).measures.correct["strict"] == 1


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("maths", "nearest match: `math`"),
        ("own_graders:halt", "can't be imported"),
        ("no_such_module:f", "can't be imported"),
        ("a:b:c", "is no grader"),
        ({"name": "choice", "letter": "A"}, "`letter` is no parameter of `choice` (nearest match: `letters`)"),
        ({"letters": "A"}, "is no grader"),
        ({"name": "own_graders:half", "mark": 1}, "takes no `mark`"),
        ("own_graders:Bare", "lacks `name`, `grade`"),
        ("own_graders:number", "can't be called"),
        ("own_graders:alone", "can't be called with `output`, `gold`"),
        ({"name": "subprocess:Popen", "args": ["touch", "TOUCHED"]}, "`grade`, and was not called"),
        ("subprocess:Popen", "`grade`, and was not called"),
        ("os:rename", "is a function of Python itself"),
        ("shutil:move", "is a function of Python itself"),
        ("builtins:exec", "is a function of Python itself"),
        ("own_graders:loud", "`grade`, and was not called"),
        ("leaves_at_once:f", "can't be imported: SystemExit"),
        (5, "is no grader"),
        (None, "is no grader"),
    ],
)
def test_anything_else_is_refused_in_words(spec, message):
    with pytest.raises(UserError, match=".") as refused:
        make_grader(spec)
    assert message in str(refused.value) and not Path("TOUCHED").exists()


@pytest.mark.usefixtures("own")
def test_in_a_dry_run_a_class_is_not_instantiated():
    with uncalled():
        grader = make_grader({"name": "own_graders:Kind", "mark": "+"})
        assert isinstance(grader, Uncalled) and make_grader(grader) is grader
        assert (grader.name, grader.parameters) == ("own_graders:Kind", {"mark": "+"})
        with pytest.raises(UserError, match="was not called"):
            make_grader("subprocess:Popen")
    assert make_grader("own_graders:Kind").name == "kind"


def test_the_graders_of_the_page_grade(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "extending.md").read_text().split("## A grader")[1]
    (tmp_path / "my_graders.py").write_text(page.split("```python\n")[1].split("```")[0])
    (tmp_path / "outputs.jsonl").write_text(
        '{"answer": "5", "output": ["\\\\boxed{5.4}", "It is 5.", "\\\\boxed{x}"]}\n'
    )
    command = page.split("```bash\npalign ")[1].split("\n```")[0]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    within = make_grader({"name": "my_graders:Within", "tolerance": 0.5})
    assert (within.name, version_of(within)) == ("within", 2)
    assert within.grade("\\boxed{5.4}", "5") == Grade(True, True, "5.4")
    assert within.grade("it is 5.4", "5") == Grade(False, True, "5.4")
    assert make_grader("my_graders:ends_with_gold").grade("It is 5.", "5") == Grade(True, True, None)
    assert main(shlex.split(command)) == 1
    shown = capsys.readouterr().out
    assert "within, version 2" in shown and "1 x could not be judged, counted as wrong: no number" in shown
    sys.modules.pop("my_graders")
