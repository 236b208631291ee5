"""Grades, the `Grader` protocol, and the graders `math`, `exact` and `choice`.

`strict` counts boxed answers only; `lenient` also counts answers found in the text. Report both: lenient extraction
finds the number in a solution that was cut off in the middle of a loop.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from palign_hf.errors import UserError, shown
from palign_hf.grading import symbolic
from palign_hf.grading.answers import Leaf, Relation
from palign_hf.grading.compare import LONGEST, Verdict, compare, letter_for_letter
from palign_hf.grading.extraction import last_boxed, read_boxes, readings
from palign_hf.grading.normalization import bare, compact, without_fonts
from palign_hf.grading.numerals import same_pieces


_LONGEST_CHOICE = 200
# `(C)`, `C`, `C.`, `C) 42`, `(C) 42`, `C: 42`, `Option C`, `C because ...`, `C, for ...`.
_CHOSEN = re.compile(
    r"(?:(?:option|choice|answer)\s*:?\s*)?(?:\(\s*(?P<inside>[A-Za-z])\s*\)(?![-+*/^=\\])|"
    r"(?P<alone>[A-Za-z])(?=$|[.):](?:\s|$)|,\s[a-z]{2}|\s(?:because|since|as)\b))",
    re.IGNORECASE,
)
# `(C)`, `**C**`, a line that is `C` or begins with `C.`, `option C`.
_STANDING = re.compile(
    r"\(([A-Z])\)|\*\*([A-Z])[.)]?\*\*|(?:^|\n)[ \t]{0,3}([A-Z])(?=[.):]\s|[.)]?[ \t]{0,3}(?:\n|$))"
    r"|\b(?i:option|choice)\s+\(?([A-Z])\b"
)


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one output.

    Args:
        strict (`bool`): Whether the boxed answer is right.
        lenient (`bool`): Whether the boxed answer, or one found elsewhere in the output, is right.
        answer (`str`, *optional*): The extracted answer; `None` if there is none.
        error (`str`, *optional*): Why the output could not be graded; such an output counts as wrong.
    """

    strict: bool
    lenient: bool
    answer: str | None
    error: str | None = None


class Grader(Protocol):
    """Compares outputs with gold answers. Its `name` and its `version` enter fingerprints and cards.

    `version` may be left out and is 1 then; raise it whenever verdicts change. A grader may also have `quick(output,
    gold) -> Grade | bool | None`, which is cheap on any text and returns `None` where only `grade` can decide. A
    `GraderPool` calls it in its own process before it uses a worker.
    """

    name: str

    def grade(self, output: str, gold: str) -> Grade | bool:
        """Grade the answer at the end of an output.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade` or `bool`: The verdict; a `bool` is both the strict and the lenient one.
        """


def version_of(grader: Grader) -> int:
    """The version of a grader; 1 where it has none."""
    return getattr(grader, "version", 1)


def as_grade(verdict: object, grader: str, output: object) -> Grade:
    """What a grader has returned, as a `Grade`.

    Args:
        verdict (`object`): A `Grade`, or the strict and lenient verdict in one, such as a `bool`.
        grader (`str`): The name of the grader, for the reason where this is no verdict.
        output (`object`): The graded output.

    Returns:
        `Grade`: The verdict; a wrong answer with a reason where `verdict` is none.
    """
    if isinstance(verdict, Grade):
        return verdict
    answer = last_boxed(as_text(output))
    if verdict is None or isinstance(verdict, str):
        return Grade(False, False, answer, f"{grader} returned {shown(verdict)}, which is no verdict")
    return Grade(bool(verdict), bool(verdict), answer)


class ExactGrader:
    """Compares the last box with the gold answer, character by character, for data with one spelling per answer."""

    name = "exact"
    version = 1

    def grade(self, output: str, gold: str) -> Grade:
        """Grade an output: strict by its last box, lenient also if the whole output is the gold answer.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """
        output, gold = as_text(output), as_text(gold)
        boxed = last_boxed(output)
        strict = boxed == gold.strip()
        return Grade(strict, strict or output.strip() == gold.strip(), boxed)

    quick = grade


class ChoiceGrader:
    """Grades multiple choice: a boxed letter is strict; a stated or free-standing letter is lenient.

    Args:
        letters (`str`, defaults to `"ABCDE"`): The choices, as capital letters.
    """

    version = 1

    def __init__(self, letters: str = "ABCDE") -> None:
        if not isinstance(letters, str) or not (letters.isascii() and letters.isalpha() and letters.isupper()):
            raise UserError(f"`letters={shown(letters)}` are no choices. Give capital letters, as in `letters=ABCDE`.")
        self.letters = letters
        self.name = "choice" if letters == "ABCDE" else f"choice({letters})"

    def grade(self, output: str, gold: str) -> Grade:
        """Compare the letters of output and gold answer; text after a letter is ignored.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """
        output, right = as_text(output), self._letter(as_text(gold))
        boxes = read_boxes(output)
        answer = boxes.last and self._letter(boxes.last)
        if right is None:
            return Grade(False, False, answer, f"the gold answer `{shown(as_text(gold))}` is none of {self.letters}")
        if answer == right:
            return Grade(True, True, answer)
        if boxes.last is None:
            stated = [letter for reading in readings(output, boxes) if (letter := self._letter(reading))]
            answer = stated[0] if stated else self._last(output)
        return Grade(False, boxes.last is None and answer == right, answer)

    quick = grade

    def _letter(self, text: str) -> str | None:
        letter = lettered(text)
        return letter if letter and letter in self.letters else None

    def _last(self, text: str) -> str | None:
        last = None
        for found in _STANDING.finditer(text):
            letter = next(group for group in found.groups() if group)
            last = letter if letter in self.letters else last
        return last


def lettered(answer: str) -> str | None:
    """Read the letter that an answer chooses.

    Args:
        answer (`str`): An answer, such as `(C) 42`.

    Returns:
        `str`, *optional*: The capital letter at its beginning; `None` if it chooses none.
    """
    found = _CHOSEN.match(without_fonts(bare(answer[:_LONGEST_CHOICE])))
    return (found["inside"] or found["alone"]).upper() if found else None


def as_text(value: object) -> str:
    """Convert a table cell to text.

    Args:
        value (`object`): The cell; gold answers may be numbers.

    Returns:
        `str`: Its text, which is empty for `None`.
    """
    return value if isinstance(value, str) else "" if value is None else str(value)


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
