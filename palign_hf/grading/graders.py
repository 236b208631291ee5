r"""Grades, the `Grader` protocol, and the graders that need no algebra: `exact` and `choice`. Pure.

`strict` counts boxed answers only; `lenient` also counts answers found in the text. Report both: lenient extraction
finds the number in a solution that was cut off in the middle of a loop.
"""

import re
from dataclasses import dataclass
from typing import Protocol

from palign_hf.errors import UserError, shown
from palign_hf.grading.extraction import last_boxed, read_boxes, readings
from palign_hf.grading.normalization import bare, without_fonts


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
    """Compares outputs with gold answers. `name` and `version` enter fingerprints and cards.

    A grader may also have `quick(output, gold) -> Grade | None`, which is cheap on any text and returns `None` where
    only `grade` can decide. A `GraderPool` calls it in its own process before it uses a worker.
    """

    name: str
    version: int

    def grade(self, output: str, gold: str) -> Grade:
        """Grade the answer at the end of an output. Must not raise.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """


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
