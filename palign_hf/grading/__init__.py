r"""Graders, and a pool that runs them in processes with limits of time and memory.

    with GraderPool("math") as pool:
        pool.grade(r"so x = \boxed{\frac12}", "0.5")     # Grade(strict=True, lenient=True, answer='\\frac12')

`math` may take very long and much memory for some answers, so stages use a `GraderPool` and never a bare grader.
"""

from palign_hf.grading.extraction import last_boxed
from palign_hf.grading.graders import ChoiceGrader, ExactGrader, Grade, Grader, MathGrader
from palign_hf.grading.pool import GraderPool
from palign_hf.grading.registry import GRADERS, OwnGrader, make_grader


__all__ = ["GRADERS", "ChoiceGrader", "ExactGrader", "Grade", "Grader", "GraderPool", "MathGrader", "OwnGrader"]
__all__ += ["last_boxed", "make_grader"]
