r"""Whether two answers are the same, as far as that needs no algebra: numbers, words, letters, lists of them. Pure.

Most answers are numbers. `same` says yes or no where it is sure, and None where only algebra can tell. How an answer
is dressed doesn't count: `$`, `\text{}`, `\dfrac`, a thousands comma, a leading zero, a final stop, `x =` before it.
Units don't either, nor a percent sign: `50\%` is the same as both `50` and `0.5`.
"""

from palign_hf.grading.answers import Leaf, Relation
from palign_hf.grading.compare import LONGEST, compare
from palign_hf.grading.numerals import read_number, same_pieces


__all__ = ["LONGEST", "PLAIN", "read_number", "same"]


class PlainJudge:
    """Knows numbers and equal texts; everything else takes algebra."""

    def leaves(self, one: Leaf, other: Leaf) -> bool | None:
        """Whether two numbers or formulas are the same."""
        return same_pieces(one.piece, other.piece)

    def relations(self, one: Relation, other: Relation) -> bool | None:
        """Whether two equations or inequalities say the same."""
        return None


PLAIN = PlainJudge()


def same(one: str, other: str) -> bool | None:
    """Whether two answers are the same: yes, no, or None where only algebra can tell. Symmetric; never raises."""
    return compare(one, other, PLAIN)
