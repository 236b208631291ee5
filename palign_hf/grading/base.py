"""What a grade and a grader are, and the exact grader. Pure."""

from dataclasses import dataclass
from typing import Protocol

from palign_hf.grading.boxes import last_boxed


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one output: right by its box, right by any reading, and the answer that was read.

    `error` says why an output counts as wrong that couldn't be judged; whatever was judged has none.
    """

    strict: bool
    lenient: bool
    answer: str | None
    error: str | None = None


class Grader(Protocol):
    """A notion of "the same answer"; `name` and `version` go into fingerprints and cards.

    It may have `quick(output, gold) -> Grade | None` too, cheap on any text: a pool asks that first, where it is.
    """

    name: str
    version: int

    def grade(self, output: str, gold: str) -> Grade:
        """Compare what `output` ends with to the gold answer."""


class ExactGrader:
    """The last box, letter for letter: for worlds whose answers are written in one way, such as the toy's."""

    name = "exact"
    version = 1

    def grade(self, output: str, gold: str) -> Grade:
        """Right if the last box holds the gold answer, or if the whole output is that answer (lenient)."""
        output, gold = as_text(output), as_text(gold)
        boxed = last_boxed(output)
        strict = boxed == gold.strip()
        return Grade(strict, strict or output.strip() == gold.strip(), boxed)

    quick = grade


def as_text(value: object) -> str:
    """A cell of a table as a text: golds come as numbers too, and what is missing is empty."""
    return value if isinstance(value, str) else "" if value is None else str(value)
