"""Rows of benchmarks as problems: gold answers as text, ids that tell them apart, and the prompt of training."""

import json
import sys

import pytest
from datasets import Dataset

from palign_hf.config.resolve import uncalled
from palign_hf.data.benchmarks import BENCHMARKS, Benchmark
from palign_hf.errors import UserError
from palign_hf.evaluation.tasks import known_tasks, open_task, problem_of, problem_table, task_names


def copy(folder, name: str, rows: list[dict]):
    known = BENCHMARKS[name]
    place = folder / known.hub_id / (known.config or "")
    place.mkdir(parents=True)
    (place / f"{known.split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_a_gold_answer_is_text_as_people_write_it():
    assert problem_of("amc12", {"id": 3, "problem": "q", "answer": 142.0}).gold == "142"
    assert problem_of("gsm8k", {"question": "q", "answer": "1 + 1 = <<1+1=2>>2\n#### 1,234"}).gold == "1234"
    assert problem_of("aime24", {"id": 1, "problem": "q", "answer": "045"}).gold == "045"
    one = problem_of("math_500", {"unique_id": "a/1", "problem": "q", "answer": "\\pi", "subject": "S", "level": 2})
    assert (one.id, one.gold, one.about) == ("a/1", "\\pi", {"subject": "S", "level": "2"})


@pytest.mark.parametrize("row", [{"problem": " ", "answer": "1"}, {"problem": "q", "answer": None}, {"answer": "1"}])
def test_a_row_that_can_not_be_asked_or_graded_is_refused(row):
    with pytest.raises(UserError, match="A row of `palign:aime24` has no (question|gold answer)"):
        problem_of("aime24", row)


def test_rows_with_one_name_are_told_apart_and_the_others_keep_theirs(tmp_path):
    rows = [{"id": at % 2, "problem": f"q{at}", "answer": float(at)} for at in range(3)]
    task = open_task("amc12", copy(tmp_path, "AMC12", rows))
    assert [one.id for one in task.problems] == ["0#0", "1", "0#2"]


def test_a_problem_without_a_name_is_called_by_its_question(tmp_path):
    rows = [{"question": f"q{at}", "answer": f"#### {at}"} for at in range(2)]
    first = open_task("gsm8k", copy(tmp_path / "a", "GSM8K", rows)).problems
    again = open_task("gsm8k", copy(tmp_path / "b", "GSM8K", rows[::-1])).problems
    assert {one.id: one.gold for one in first} == {one.id: one.gold for one in again}


def test_the_table_holds_all_problems_and_what_is_known_of_each(tmp_path):
    copy(tmp_path, "AIME24", [{"id": at, "problem": f"q{at}", "answer": "1"} for at in range(9)])
    table = problem_table([open_task("toy", max_samples=4), open_task("aime24", tmp_path, max_samples=2)])
    assert table["benchmark"] == ["toy"] * 4 + ["aime24"] * 2
    assert table["difficulty"][:4] != [None] * 4 and table["difficulty"][4:] == [None, None]
    assert table["id"][4:] == ["0", "1"]


def test_tasks_are_called_as_lighteval_calls_them_or_shorter():
    assert task_names(["palign:toy", "aime24", "toy"]) == ("toy", "aime24")
    assert task_names(["palign"]) == known_tasks()
    with pytest.raises(UserError, match=r"`palign:amc` is not a task \(nearest match: `amc12`\)"):
        task_names(["palign:amc"])


def test_the_real_benchmarks_have_all_their_problems(shared_data):
    counts = {name: len(open_task(name, shared_data / "hub").problems) for name in known_tasks()}
    assert counts == {"math_500": 500, "aime24": 30, "aime25": 30, "amc12": 83, "gsm8k": 1319, "toy": 500}


def test_an_entry_in_the_list_of_benchmarks_is_all_that_a_task_needs(tmp_path, monkeypatch):
    from palign_hf.evaluation import backend

    backend.install(downloads=False)
    from palign_hf.evaluation.tasks import tasks_table

    given = Benchmark("me/sums", "test", "sum", answer="solution", about=("size",), task="sums", hashed=True)
    monkeypatch.setitem(BENCHMARKS, "SUMS", given)
    assert known_tasks()[-2:] == ("sums", "toy") and task_names(["palign:sums"]) == ("sums",)
    folder = copy(tmp_path, "SUMS", [{"id": "a", "sum": "1 + 1?", "solution": "one more #### 2", "size": 2}])
    task = open_task("sums", folder)
    (one,) = task.problems
    assert (one.id, one.benchmark, one.gold, one.about) == ("a", "sums", "2", {"size": "2"}) and task.partial is None
    (config,) = tasks_table(["sums"])
    assert (config.name, config.hf_repo) == ("palign:sums", "me/sums")


OWN = """
from datasets import Dataset

rows = [{"question": "1 + 1?", "gold": 2}, {"id": "b", "question": "1 + 2?", "gold": "3"}]

def made():
    with open("CALLED", "a") as file:
        file.write("x")
    yield from rows

def fails():
    raise KeyError("none")

def takes(one):
    return []

table = Dataset.from_list([{"problem": "1 + 1?", "answer": 2.0}])
lacks = [{"question": "q"}]
twice = [{"question": "q", "gold": "1", "answer": "1"}]
empty = []
number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_problems.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield "own_problems"
    sys.modules.pop("own_problems", None)


def test_problems_of_ones_own_come_from_a_file_or_from_code(own, tmp_path):
    rows = [{"question": "1 + 1?", "answer": 2.0, "tag": ["x"]}, {"question": "1 + 2?", "answer": "3", "tag": []}]
    (tmp_path / "my sums.v2.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Dataset.from_list([row | {"answer": f"{float(row['answer']):g}"} for row in rows]).to_parquet(
        str(tmp_path / "table.parquet")
    )
    for given, name in (
        ("my sums.v2.jsonl", "my_sums"),
        ("table.parquet", "table"),
        (f"{own}:rows", "rows"),
        (f"{own}:made", "made"),
    ):
        task = open_task(given)
        assert [(one.question, one.gold, one.benchmark) for one in task.problems] == [
            ("1 + 1?", "2", name),
            ("1 + 2?", "3", name),
        ]
        assert open_task(given, max_samples=1).partial == "the first 1 of 2 problems"
    assert [one.gold for one in open_task(f"{own}:table").problems] == ["2"]
    assert open_task(f"{own}:rows").problems[1].id == "b"


def test_a_dry_run_calls_no_function_of_ones_own(own, tmp_path):
    with uncalled():
        assert len(open_task(f"{own}:made").rows) == 0
        with pytest.raises(UserError, match="`own_problems:takes` is no task"):
            open_task(f"{own}:takes")
    assert not (tmp_path / "CALLED").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fails", "The task `own_problems:fails` raised KeyError: 'none'. It must return rows with `question` and"),
        ("lacks", "has the columns `question`: no column is known to hold the gold. Name one of them `gold`"),
        ("twice", "`answer`, `gold` may all hold the gold"),
        ("empty", "The task `own_problems:empty` has no problems. Give rows"),
        ("number", "The task `own_problems:number` is no list of rows but a `int`"),
    ],
)
def test_code_that_gives_no_problems_is_refused(own, name, message):
    with pytest.raises(UserError) as refused:
        open_task(f"{own}:{name}")
    assert message in str(refused.value)


def test_two_tasks_with_one_name_are_refused(own, tmp_path):
    (tmp_path / "toy.jsonl").write_text('{"question": "q", "gold": "1"}\n')
    with pytest.raises(UserError, match="`toy` and `toy.jsonl` would both be called `toy` in the report"):
        task_names(["toy", "toy.jsonl"])
    with pytest.raises(UserError, match="`absent.jsonl` is not a task, and no file. Choose from"):
        task_names(["absent.jsonl"])
