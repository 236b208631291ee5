r"""What is boxed in a text: the last `\boxed{}`, the boxes that stand with it, and one that never closed. Pure."""

import re
from dataclasses import dataclass


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
# Between boxes that are one answer: a comma or a conjunction, and what only sets math.
_SPACED = r"(?:[\s$.()\[\]~]|\\q?quad(?![a-z])|\\[,;:! ()\[\]])*"
_TOGETHER = re.compile(
    rf"{_SPACED}(?:,|;)?{_SPACED}(?:(?:\\(?:text|mbox|textrm|mathrm)\s*\{{\s*)?,?\s*(?:and|or)\s*\}}?)?{_SPACED}"
    rf"(?:[A-Za-z](?:_\w|_\{{\w+\}})?\s*=)?{_SPACED}"
)
_APART_MOST = 60
# How an unclosed box ends: the line or the formula is over, and at most so many characters are read.
_OPEN_END = re.compile(r"[\n$]|\\\]|\\\)")
_OPEN_MOST = 400


@dataclass(frozen=True, slots=True)
class Boxes:
    """The last box of a text; all that stand together with it, in order; the content of a later one, never closed."""

    last: str | None
    together: tuple[str, ...]
    unclosed: str | None


def last_boxed(text: str) -> str | None:
    r"""The content of the last non-blank `\boxed{}` or `\fbox{}` of `text`, its braces balanced; else None.

    Linear in the length of the text. `\boxed 5` counts for numbers and single capital letters; a box that is
    never closed does not count.
    """
    return read_boxes(text).last


def read_boxes(text: str) -> Boxes:
    """All that a text boxes at its end, in one pass, linear in its length."""
    last_start, last_end = -1, 0
    together: list[str] = []
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
            between = text[last_end:start] if last_end <= start <= last_end + _APART_MOST else ""
            if not (together and re.search(r"[,;]|and|or", between) and _TOGETHER.fullmatch(between)):
                together = []
            together.append(content)
            last_start, last_end = start, token.end()
    unclosed = None
    if (box := next((box for box in reversed(open_braces) if box), None)) and box[0] > last_start:
        rest = text[box[1] : box[1] + _OPEN_MOST]
        end = _OPEN_END.search(rest, len(rest) - len(rest.lstrip()))
        unclosed = (rest[: end.start()] if end else rest).strip() or None
    return Boxes(together[-1] if together else None, tuple(together), unclosed)
