"""Grades, the exact grader and the multiple-choice grader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.grading import ChoiceGrader, ExactGrader, Grade, Grader, last_boxed


class TestExactGrader:
    grader: Grader = ExactGrader()

    @pytest.mark.parametrize(
        ("output", "gold", "grade"),
        [
            ("So \\boxed{5}.", "5", Grade(strict=True, lenient=True, answer="5")),
            ("So \\boxed{ 5 }.", " 5\n", Grade(strict=True, lenient=True, answer="5")),
            (" 5\n", "5", Grade(strict=False, lenient=True, answer=None)),
            ("It is 5.", "5", Grade(strict=False, lenient=False, answer=None)),
            ("\\boxed{5} no, \\boxed{6}", "5", Grade(strict=False, lenient=False, answer="6")),
            ("\\boxed{5.0}", "5", Grade(strict=False, lenient=False, answer="5.0")),
            ("\\boxed{x} y", "x", Grade(strict=True, lenient=True, answer="x")),
            ("\\boxed{5", "5", Grade(strict=False, lenient=False, answer=None)),
            ("", "5", Grade(strict=False, lenient=False, answer=None)),
        ],
    )
    def test_examples(self, output, gold, grade):
        assert self.grader.grade(output, gold) == grade

    @given(st.text(), st.text(min_size=1))
    def test_never_raises_and_strict_is_lenient_too(self, output, gold):
        grade = self.grader.grade(output, gold)
        assert grade.lenient or not grade.strict
        assert grade.answer == last_boxed(output)

    @given(st.text(st.sampled_from("ab1 ,.()"), min_size=1).filter(str.strip))
    def test_what_is_boxed_is_right_by_itself_alone(self, answer):
        assert self.grader.grade(f"so \\boxed{{{answer}}}", answer).strict
        assert not self.grader.grade(f"so \\boxed{{{answer}}}", answer + "1").strict

    def test_name_and_version_identify_it(self):
        assert (self.grader.name, self.grader.version) == ("exact", 1)

    def test_what_is_missing_is_wrong(self):
        assert self.grader.grade(None, "5") == Grade(False, False, None)
        assert self.grader.grade("\\boxed{5}", 5).strict

    def test_a_grade_is_a_value(self):
        assert len({Grade(True, True, "5"), Grade(True, True, "5")}) == 1
        with pytest.raises(AttributeError):
            Grade(True, True, "5").strict = False


class TestChoiceGrader:
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
    def test_examples(self, output, gold, grade):
        assert ChoiceGrader().grade(output, gold) == grade

    def test_a_gold_answer_that_is_no_choice_is_an_error(self):
        grade = ChoiceGrader().grade("\\boxed{C}", "42")
        assert not grade.lenient and grade.error and "`42`" in grade.error and "ABCDE" in grade.error

    def test_other_letters_are_another_grader(self):
        assert ChoiceGrader("ABCDEFGHIJ").grade("\\boxed{J}", "J").strict
        assert not ChoiceGrader().grade("\\boxed{J}", "J").strict
        assert ChoiceGrader().name == "choice" and ChoiceGrader("AB").name == "choice(AB)"

    @pytest.mark.parametrize("letters", ["", "ab", "A1", None, 5])
    def test_invalid_letters_are_refused(self, letters):
        with pytest.raises(UserError, match="capital letters"):
            ChoiceGrader(letters)

    @given(st.text(), st.text())
    def test_never_raises_and_strict_is_lenient_too(self, output, gold):
        grade = ChoiceGrader().grade(f"{output}\\boxed{{{gold}}}", gold)
        assert grade.lenient or not grade.strict
