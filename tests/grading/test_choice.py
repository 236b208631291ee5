"""Multiple choice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.grading import ChoiceGrader, Grade


@pytest.mark.parametrize(
    ("output", "gold", "grade"),
    [
        ("\\boxed{C}", "C", Grade(True, True, "C")),
        ("\\boxed{(C)}", "\\text{(C)}", Grade(True, True, "C")),
        ("\\boxed{\\text{(C)}}", "(C)", Grade(True, True, "C")),
        ("\\boxed{\\textbf{(C)}\\ 42}", "C", Grade(True, True, "C")),
        ("\\boxed{C) 42}", "C", Grade(True, True, "C")),
        ("\\boxed{c}", "C", Grade(True, True, "C")),
        ("\\boxed{B}", "C", Grade(False, False, "B")),
        ("(C), no, \\boxed{B}", "C", Grade(False, False, "B")),
        ("\\boxed{42}", "C", Grade(False, False, None)),
        ("\\boxed{C", "C", Grade(False, True, "C")),
        ("The answer is (C).", "C", Grade(False, True, "C")),
        ("The correct answer is C, as B is too small", "C", Grade(False, True, "C")),
        ("The answer is C because B is small.", "C", Grade(False, True, "C")),
        ("So we choose (C)", "C", Grade(False, True, "C")),
        ("**C**", "C", Grade(False, True, "C")),
        ("(A) is small, (B) is large", "A", Grade(False, False, "B")),
        ("C. 42", "C", Grade(False, True, "C")),
        ("\\boxed{A, B}", "A", Grade(False, False, None)),
        ("A cat sat.", "A", Grade(False, False, None)),
        ("", "C", Grade(False, False, None)),
        (None, "C", Grade(False, False, None)),
    ],
)
def test_examples(output, gold, grade):
    assert ChoiceGrader().grade(output, gold) == grade


def test_a_gold_answer_that_is_no_choice_is_told():
    grade = ChoiceGrader().grade("\\boxed{C}", "42")
    assert not grade.lenient and grade.error and "`42`" in grade.error and "ABCDE" in grade.error


def test_other_letters_are_another_grader():
    assert ChoiceGrader("ABCDEFGHIJ").grade("\\boxed{J}", "J").strict
    assert not ChoiceGrader().grade("\\boxed{J}", "J").strict
    assert ChoiceGrader().name == "choice" and ChoiceGrader("AB").name == "choice(AB)"


@pytest.mark.parametrize("letters", ["", "ab", "A1", None, 5])
def test_letters_that_are_none_are_refused(letters):
    with pytest.raises(UserError, match="capital letters"):
        ChoiceGrader(letters)


@given(st.text(), st.text())
def test_never_raises_and_strict_is_lenient_too(output, gold):
    grade = ChoiceGrader().grade(f"{output}\\boxed{{{gold}}}", gold)
    assert grade.lenient or not grade.strict
