"""The mathematical grader: the table of cases, and what holds for any text."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.grading import ExactGrader, Grade, Grader, MathGrader, last_boxed
from palign_hf.toy.world.problems import problems


CASES = [json.loads(line) for line in (Path(__file__).parents[1] / "fixtures" / "grading_cases.jsonl").open()]
GRADER: Grader = MathGrader()

# What a small student writes when it is lost; without powers and factorials, for algebra alone has no limit.
pieces = [
    "\\boxed{",
    "}",
    "{",
    "$",
    "\\frac",
    "12",
    "-",
    "7",
    "x",
    "=",
    ",",
    "(",
    "]",
    "\\{",
    "\\text{",
    "answer is ",
    ".",
]
pieces += [
    " ",
    "\n",
    "\\\\",
    "\\",
    "%",
    "\\sqrt",
    "\\begin{pmatrix}",
    "&",
    "1/0",
    "√",
    "°",
    "\ud800",
    "and",
    "\\in",
    "_",
]
scraps = st.lists(st.sampled_from(pieces), max_size=12).map("".join)

integers = st.integers(-(10**9), 10**9).map(str)
decimals = st.tuples(st.integers(-999, 999), st.integers(0, 9999)).map(lambda pair: f"{pair[0]}.{pair[1]}")
fractions = st.tuples(st.integers(-99, 99), st.integers(1, 99)).map(lambda pair: f"\\frac{{{pair[0]}}}{{{pair[1]}}}")
numbers = st.one_of(integers, decimals, fractions)
words = st.text(st.sampled_from("abcdefgxyzABC"), min_size=1, max_size=8).map(lambda word: f"\\text{{{word}}}")
brackets = st.sampled_from([("(", ")"), ("[", "]"), ("(", "]"), ("\\{", "\\}"), ("", "")])
lists = st.tuples(brackets, st.lists(numbers, min_size=2, max_size=4)).map(lambda one: ", ".join(one[1]).join(one[0]))
simple = st.one_of(
    numbers, words, lists, integers.map(lambda number: f"x = {number}"), integers.map("{}\\text{{ cm}}".format)
)


def test_the_table_is_large_and_no_case_is_there_twice():
    assert len(CASES) >= 150
    assert len({(case["output"], repr(case["gold"])) for case in CASES}) == len(CASES)
    assert all(case["note"] for case in CASES) and all(case["lenient"] or not case["strict"] for case in CASES)
    assert sum(case["strict"] for case in CASES) > 100 and sum(not case["lenient"] for case in CASES) > 80


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["note"]))
def test_the_table(case):
    grade = GRADER.grade(case["output"], case["gold"])
    assert (grade.strict, grade.lenient) == (case["strict"], case["lenient"])
    assert "answer" not in case or grade.answer == case["answer"]
    assert MathGrader().quick(case["output"], case["gold"]) in (grade, None)


@given(scraps, scraps)
def test_scraps_never_raise_and_strict_is_lenient_too(output, gold):
    grade = GRADER.grade(output, gold)
    assert grade.lenient or not grade.strict
    assert MathGrader().quick(output, gold) in (grade, None)
    assert not grade.strict or last_boxed(output) == grade.answer


@given(st.text(), st.text())
def test_no_text_at_all_raises_on_the_quick_way(output, gold):
    grade = MathGrader().quick(f"{output}\\boxed{{{output}}}", gold)
    assert grade is None or isinstance(grade, Grade)


@given(simple)
def test_an_answer_is_right_by_itself_and_at_once(gold):
    grade = MathGrader().quick(f"so $\\boxed{{{gold}}}$.", gold)
    assert grade == Grade(True, True, gold)


@given(
    st.integers(-(10**6), 10**6),
    st.sampled_from(["{}", "{:,}", "{}.0", "${}$", "{}.", "x = {}", "{}\\%", "{}^\\circ"]),
)
def test_a_dressed_number_is_itself_and_not_its_neighbour(number, dress):
    output = f"\\boxed{{{dress.format(number)}}}"
    grade, other = (MathGrader().quick(output, str(gold)) for gold in (number, number + 1))
    assert grade and grade.strict and other and not other.lenient


@given(integers, st.integers(0, 3))
def test_cut_off_loops_are_lenient_only(number, cut):
    loop = f"so it is {number}. Wait, I check. " * 20
    grade = MathGrader().quick(loop[: -cut or None], number)
    assert grade == Grade(False, True, number)


def test_it_agrees_with_the_oracle_of_the_toy_world():
    oracle, answers = ExactGrader(), [one.answer for one in problems("test", 2_000)]
    right = 0
    for shift in range(5):
        for answer, gold in zip(answers, answers[shift:] + answers[:shift], strict=True):
            output = f"{gold} apples are too many. The answer is \\boxed{{{answer}}}."
            grade, truth = MathGrader().quick(output, gold), oracle.grade(output, gold)
            assert grade is not None and (grade.strict, grade.lenient) == (truth.strict, truth.strict)
            right += truth.strict
    assert 2_000 <= right < 4_000


def test_an_endless_number_is_compared_letter_for_letter():
    digits = "7" * 100_000
    started = time.process_time()
    assert GRADER.grade(f"\\boxed{{{digits}}}", digits).strict
    wrong = GRADER.grade(f"\\boxed{{{digits}}}", "2x")
    assert not wrong.lenient and wrong.error and "2000 characters" in wrong.error
    assert time.process_time() - started < 5


def test_an_empty_gold_answer_is_an_error():
    for gold in ("", " ", None):
        grade = GRADER.grade("\\boxed{5}", gold)
        assert grade == Grade(False, False, "5", "the gold answer is empty")


def test_equations_with_exact_and_inexact_values_are_compared():
    assert GRADER.grade("\\boxed{x^2+y^2=25}", "\\sqrt{x^2+y^2}=25") == Grade(False, False, "x^2+y^2=25")


def test_a_long_text_is_left_to_the_workers():
    output = "so " * 100_000 + "\\boxed{5}"
    assert MathGrader().quick(output, "5") is None and GRADER.grade(output, "5").strict


def test_name_and_version_identify_it():
    assert (GRADER.name, GRADER.version) == ("math", 2)
