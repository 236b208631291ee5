"""Resolution of graders: by name, as an object, as the user's own code, and errors for anything else."""

import pickle
from pathlib import Path

import pytest

from palign_hf.config.resolve import Uncalled, uncalled
from palign_hf.errors import UserError
from palign_hf.grading import GRADERS, ChoiceGrader, ExactGrader, Grade, MathGrader, OwnGrader, make_grader


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
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("maths", "nearest match: `math`"),
        ("own_graders:halt", "can't be imported"),
        ("no_such_module:f", "can't be imported"),
        ("a:b:c", "is no grader"),
        ({"name": "choice", "letter": "A"}, "can't be made"),
        ({"letters": "A"}, "is no grader"),
        ({"name": "own_graders:half", "mark": 1}, "takes no `mark`"),
        ("own_graders:Bare", "lacks `name`, `version`, `grade`"),
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
