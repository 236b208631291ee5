r"""Is an answer right? The interface of graders, the exact one, and the last `\boxed{}` of a text. Pure.

An output is graded twice: *strict* counts only what is boxed, *lenient* whatever the grader finds. A grader never
raises on data: an output without an answer is a wrong one, and says so by `answer=None`.
"""

import re
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one output: right by its box, right by any reading, and the answer that was read."""

    strict: bool
    lenient: bool
    answer: str | None


class Grader(Protocol):
    """A notion of "the same answer"; `name` and `version` go into fingerprints and cards."""

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
        boxed = last_boxed(output)
        strict = boxed == gold.strip()
        return Grade(strict, strict or output.strip() == gold.strip(), boxed)


# One pass over everything that matters to brace matching: a box with the brace or the bare value behind it, an
# escaped character (`\{` is text, not a brace), a brace. `\\boxed` after a LaTeX line break is still a box.
_BOX_TOKENS = re.compile(
    r"""
    \\(?:boxed|fbox)(?![A-Za-z])[\ \t]*
        (?:(?P<open>\{)|(?P<bare>[-+]?\d[^\s\\{}$]*|[A-Z](?![A-Za-z])))?
    |   \\(?!\\(?:boxed|fbox)).
    |   (?P<brace>[{}])
    """,
    re.VERBOSE | re.DOTALL,
)


def last_boxed(text: str) -> str | None:
    r"""The content of the last non-blank `\boxed{}` or `\fbox{}` of `text`, its braces balanced; else None.

    Linear in the length of the text. `\boxed 5` counts for numbers and single capital letters; a box that is
    never closed does not count.
    """
    last_start, answer = -1, None
    open_braces: list[tuple[int, int] | None] = []
    for token in _BOX_TOKENS.finditer(text):
        content = None
        start = token.start()
        if token["open"]:
            open_braces.append((start, token.end()))
        elif token["bare"]:
            content = token["bare"].rstrip(".,;:")
        elif token["brace"] == "{":
            open_braces.append(None)
        elif token["brace"] and open_braces and (box := open_braces.pop()):
            # Boxes close from the inside out: without this test the copies of nested boxes add up to O(n^2).
            start = box[0]
            if start > last_start:
                content = text[box[1] : token.start()].strip()
        if content and start > last_start:
            last_start, answer = start, content
    return answer
