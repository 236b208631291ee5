"""Rows of benchmarks as problems: gold answers as text, ids that tell them apart, and the prompt of training."""

import json

import pytest

from palign_hf.data.benchmarks import BENCHMARKS
from palign_hf.errors import UserError
from palign_hf.evaluation.tasks import TASKS, open_task, problem_of, problem_table, task_names


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
    assert task_names(["palign"]) == TASKS
    with pytest.raises(UserError, match=r"`palign:amc` is not a task \(nearest match: `amc12`\)"):
        task_names(["palign:amc"])


def test_the_real_benchmarks_have_all_their_problems(shared_data):
    counts = {name: len(open_task(name, shared_data / "hub").problems) for name in TASKS}
    assert counts == {"math_500": 500, "aime24": 30, "aime25": 30, "amc12": 83, "gsm8k": 1319, "toy": 500}
