r"""The grader of mathematics: numbers and equal texts at once, everything else by algebra."""

from collections.abc import Callable

from palign_hf.grading import symbolic
from palign_hf.grading.base import Grade, as_text
from palign_hf.grading.boxes import read_boxes
from palign_hf.grading.choice import lettered
from palign_hf.grading.compare import LONGEST, compare, letter_for_letter
from palign_hf.grading.dress import bare, compact
from palign_hf.grading.plain import PLAIN
from palign_hf.grading.reading import readings


# Texts beyond that are read in a worker of the pool, where nobody waits for them.
_LONG_TEXT = 256 * 1024
Verdict = Callable[[str, str], bool | None]


class MathGrader:
    r"""The last complete `\boxed{}`, or those that end a text together, against the gold answer (strict), or what a
    lenient reader finds.

    `grade` takes as long as its formula takes sympy, which may be for ever: a `GraderPool` has a limit, and asks
    `quick` first, which does without sympy.
    """

    name = "math"
    version = 2

    def grade(self, output: str, gold: str) -> Grade:
        """Compare by value."""
        grade = self._grade(output, gold, _fully)
        assert grade is not None
        return grade

    def quick(self, output: str, gold: str) -> Grade | None:
        """The same grade, or None where that takes algebra or a long text."""
        if len(as_text(output)) + len(as_text(gold)) > _LONG_TEXT:
            return None
        return self._grade(output, gold, _quick)

    def prepare(self) -> None:
        """What a worker does before its first answer."""
        symbolic.prepare()

    def _grade(self, output: str, gold: str, verdict: Verdict) -> Grade | None:
        output, gold = as_text(output), as_text(gold).strip()
        gold = ", ".join(read_boxes(gold).together) or gold
        boxes = read_boxes(output)
        if not gold:
            return Grade(False, False, boxes.last, "the gold answer is empty")
        unsure = False
        # Boxes that stand together are one answer: `\boxed{1}` and `\boxed{2}`.
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


def _quick(answer: str, gold: str) -> bool | None:
    verdict = compare(answer, gold, PLAIN, asked=True)
    if not verdict and (letter := compact(bare(gold))) in tuple("ABCDE"):
        # `(C) 42` for the gold answer `C`.
        return verdict if lettered(answer) is None else lettered(answer) == letter
    return verdict


def _fully(answer: str, gold: str) -> bool:
    verdict = _quick(answer, gold)
    return symbolic.equal(answer, gold) if verdict is None else verdict
