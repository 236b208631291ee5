"""The exact grader, and what every grade is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.grading import ExactGrader, Grade, Grader, last_boxed


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
