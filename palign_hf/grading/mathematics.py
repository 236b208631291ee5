r"""The grader of mathematics: numbers, words and equal texts without algebra, other answers by algebra.

`same` decides numbers, which most answers are, and is `None` where only algebra can decide. Layout and units are
ignored: `$`, `\text{}`, `\dfrac`, a thousands comma, a leading zero, `x =`. `50\%` equals both `50` and `0.5`.
"""

from collections.abc import Callable

from palign_hf.grading import symbolic
from palign_hf.grading.answers import Leaf, Relation
from palign_hf.grading.compare import LONGEST, Verdict, compare, letter_for_letter
from palign_hf.grading.extraction import read_boxes, readings
from palign_hf.grading.graders import Grade, as_text, lettered
from palign_hf.grading.normalization import bare, compact
from palign_hf.grading.numerals import same_pieces


# Longest text, in characters, that `quick` grades in the process of the caller.
_LONG_TEXT = 256 * 1024


class PlainJudge:
    """A `ValueJudge` that knows numbers and equal texts; other formulas need algebra."""

    def leaves(self, one: Leaf, other: Leaf) -> Verdict:
        """Compare two numbers or formulas."""
        return same_pieces(one.piece, other.piece)

    def relations(self, one: Relation, other: Relation) -> Verdict:
        """Never decides: equations and inequalities need algebra."""
        return None


PLAIN = PlainJudge()


def same(one: str, other: str) -> Verdict:
    """Compare two answers without algebra. Symmetric; never raises.

    Args:
        one (`str`): An answer.
        other (`str`): Another answer.

    Returns:
        `bool`, *optional*: Whether they are the same; `None` where only algebra can decide.
    """
    return compare(one, other, PLAIN)


class MathGrader:
    r"""Compares the last closed `\boxed{}`, or the boxes of one answer, with the gold answer by value (strict).

    The lenient verdict also accepts a stated answer or the last expression of an output without a closed box. `grade`
    has no time limit, and sympy may take very long: use a `GraderPool`, which calls `quick` first.
    """

    name = "math"
    version = 2

    def grade(self, output: str, gold: str) -> Grade:
        """Grade an output by the value of its answer.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """
        grade = self._grade(output, gold, _fully)
        assert grade is not None
        return grade

    def quick(self, output: str, gold: str) -> Grade | None:
        """Grade an output without algebra.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`, *optional*: What `grade` returns; `None` if that needs algebra, or the output is very long.
        """
        if len(as_text(output)) + len(as_text(gold)) > _LONG_TEXT:
            return None
        return self._grade(output, gold, _quick)

    def prepare(self) -> None:
        """Import sympy and the parsers. A worker calls this before its first answer."""
        symbolic.prepare()

    def _grade(self, output: str, gold: str, verdict: Callable[[str, str], Verdict]) -> Grade | None:
        output, gold = as_text(output), as_text(gold).strip()
        gold = ", ".join(read_boxes(gold).together) or gold
        boxes = read_boxes(output)
        if not gold:
            return Grade(False, False, boxes.last, "the gold answer is empty")
        unsure = False
        # Adjacent boxes form one answer: `\boxed{1}` and `\boxed{2}`.
        joined = [", ".join(boxes.together)] if len(boxes.together) > 1 else []
        for boxed in [*joined, *([] if boxes.last is None else [boxes.last])]:
            strict = verdict(boxed, gold)
            if strict:
                return Grade(True, True, boxed)
            unsure |= strict is None
        if unsure:
            return None
        found = boxes.last
        for reading in readings(output, boxes):
            lenient = verdict(reading, gold)
            if lenient:
                return Grade(False, True, reading)
            unsure |= lenient is None
            found = found or reading
        if unsure:
            return None
        error = None
        if found is not None and letter_for_letter(found, gold):
            error = f"longer than {LONGEST} characters: compared letter for letter"
        return Grade(False, False, found, error)


def _quick(answer: str, gold: str) -> Verdict:
    verdict = compare(answer, gold, PLAIN, gold=True)
    if not verdict and (letter := compact(bare(gold))) in tuple("ABCDE"):
        # `(C) 42` for the gold answer `C`.
        return verdict if lettered(answer) is None else lettered(answer) == letter
    return verdict


def _fully(answer: str, gold: str) -> bool:
    verdict = _quick(answer, gold)
    return symbolic.equal(answer, gold) if verdict is None else verdict
