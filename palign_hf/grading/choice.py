r"""Multiple choice: the letter that was chosen, and nothing else of the answer. Pure."""

import re

from palign_hf.errors import UserError, shown
from palign_hf.grading.base import Grade, as_text
from palign_hf.grading.boxes import read_boxes
from palign_hf.grading.dress import bare, without_fonts
from palign_hf.grading.reading import readings


_MOST = 200
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


class ChoiceGrader:
    """One of some letters, boxed (strict) or else stated, or standing by itself as the last one (lenient)."""

    version = 1

    def __init__(self, letters: str = "ABCDE") -> None:
        if not isinstance(letters, str) or not (letters.isascii() and letters.isalpha() and letters.isupper()):
            raise UserError(f"`letters={shown(letters)}` are no choices. Give capital letters, as in `letters=ABCDE`.")
        self.letters = letters
        self.name = "choice" if letters == "ABCDE" else f"choice({letters})"

    def grade(self, output: str, gold: str) -> Grade:
        """Compare the letters; a text behind a letter doesn't count."""
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
    """The capital letter that an answer begins with and chooses; None for every other answer."""
    found = _CHOSEN.match(without_fonts(bare(answer[:_MOST])))
    return (found["inside"] or found["alone"]).upper() if found else None
