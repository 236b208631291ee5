r"""Is an answer right? Graders, how to choose one, and a pool that grades in processes under a time limit.

An output is graded twice: *strict* counts only what is boxed, *lenient* whatever the grader finds. Report both: a
lenient reader finds the number in a loop that was cut off. A grader never raises on data: an output without an answer
is a wrong one and says so by `answer=None`, and one that couldn't be judged says why in `error`.

    with GraderPool("math") as pool:
        pool.grade(r"so x = \boxed{\frac12}", "0.5")     # Grade(strict=True, lenient=True, answer='\\frac12')

`math` compares answers kind by kind (`compare.py`): numbers, words and equal texts at once, formulas by their values.
What has no value by itself (a sum, an integral) goes to math-verify's parser and sympy, which may take for ever over
it. So in a run let a `GraderPool` do it, and not the grader itself: it ends what takes too long. `choice` compares
letters, `exact` is letter for letter, and `module:name` is a function of one's own. `make_grader` knows them all.
"""

from palign_hf.grading.base import ExactGrader, Grade, Grader
from palign_hf.grading.boxes import last_boxed
from palign_hf.grading.choice import ChoiceGrader
from palign_hf.grading.choose import GRADERS, OwnGrader, make_grader
from palign_hf.grading.maths import MathGrader
from palign_hf.grading.pool import GraderPool


__all__ = ["GRADERS", "ChoiceGrader", "ExactGrader", "Grade", "Grader", "GraderPool", "MathGrader", "OwnGrader"]
__all__ += ["last_boxed", "make_grader"]
