r"""Extraction of answers from model outputs: the boxes of a text, and lenient readings where none is closed. Pure.

Everything here is linear in the length of the text. Lenient readings follow math-verify: an unclosed box, else what
"the answer is" states last, else the last formula or number. They find numbers in loops that were cut off, so the
lenient score is an upper bound.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass


# One pass over all tokens of brace matching: a box with the brace or the bare value behind it, an
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
# Between boxes that form one answer: a comma or a conjunction, and math delimiters or spaces.
_SPACED = r"(?:[\s$.()\[\]~]|\\q?quad(?![a-z])|\\[,;:! ()\[\]])*"
_TOGETHER = re.compile(
    rf"{_SPACED}(?:,|;)?{_SPACED}(?:(?:\\(?:text|mbox|textrm|mathrm)\s*\{{\s*)?,?\s*(?:and|or)\s*\}}?)?{_SPACED}"
    rf"(?:[A-Za-z](?:_\w|_\{{\w+\}})?\s*=)?{_SPACED}"
)
_APART_MOST = 60
# An unclosed box ends with its line or formula, after at most `_OPEN_MOST` characters.
_OPEN_END = re.compile(r"[\n$]|\\\]|\\\)")
_OPEN_MOST = 400
_STATED = re.compile(
    r"\banswers?\b(?:\s+(?:to|for|of)\s[^.\n:=]{1,80}?)?[\s*_]{0,6}(?::|=|\bis\b|\bare\b|\bwas\b|\bbe\b|####)[\s*_:=]{0,8}"
    r"(?:(?:therefore|thus|simply|just|indeed|given by|equal to|exactly)[\s:]{1,3})?|(?:^|\n)####\s{0,4}",
    re.IGNORECASE,
)
_STATED_MOST, _TAIL = 300, 4_000
_PHRASE_END = re.compile(r"\.(?=\s|$|\*)|\n|[!?;](?:\s|$)")
_FORMULA = re.compile(r"(?P<display>\$\$)|(?P<inline>\$)|\\(?P<open>[(\[])|\\(?P<close>[)\]])|\\.", re.DOTALL)
_NUMBER = re.compile(
    r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:\s?/\s?\d+)?(?:\s?\\?%)?|-?\\[dtc]?frac\s?\{[^{}]*\}\s?\{[^{}]*\}"
)
# A sentence around its number: what precedes it, what may follow it, and what shows that it is no answer.
_WORDED = re.compile(r"[*_]*[A-Za-z]{2,}")
_LEADS = re.compile(r"(?:[A-Za-z]{2,}[,:]?|=|:)[\s*_]*(?:\$|\\\(|\\\[)?\s*-?\$?$")
_ENDS = re.compile(r"(?:\$|\\\)|\\\])?[\s*_.,]*(?:(?!because|since|as|but|and|or)[A-Za-z%]+[\s*_.]*){0,2}")
_CONSEQUENCE = re.compile(r"\b(?:hence|thus|therefore|so)\b", re.IGNORECASE)
_TURNED = re.compile(
    r"\b(?:not|never|cannot|neither|nor|between|least|most|more|less|greater|fewer|because|since)\b|n't\b",
    re.IGNORECASE,
)
_LEADING = re.compile(rf"[*_\s]*(?P<number>{_NUMBER.pattern})(?=$|[*_,;:]|\.(?:\s|$)|\s+(?![-+*/^=<>\\]))")


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes at the end of a text.

    Args:
        last (`str`, *optional*): The content of the last box.
        together (`tuple[str, ...]`): The contents of the boxes that form one answer with the last one, in order.
        unclosed (`str`, *optional*): The content of a later box that is never closed.
    """

    last: str | None
    together: tuple[str, ...]
    unclosed: str | None


def last_boxed(text: str) -> str | None:
    r"""Extract the last non-blank `\boxed{}` or `\fbox{}` of a text.

    Args:
        text (`str`): A text. `\boxed 5` counts for numbers and single capital letters; an unclosed box doesn't count.

    Returns:
        `str`, *optional*: The content of the box, its braces balanced; `None` if there is no box.
    """
    return read_boxes(text).last


def read_boxes(text: str) -> Boxes:
    """Extract the boxes at the end of a text in one pass.

    Args:
        text (`str`): A text.

    Returns:
        `Boxes`: The last box, those that form one answer with it, and an unclosed one.
    """
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


def readings(text: str, boxes: Boxes) -> Iterator[str]:
    """Yield candidate answers of a text without a closed box.

    Args:
        text (`str`): A text.
        boxes (`Boxes`): Its boxes.

    Yields:
        `str`: An unclosed box, else a stated answer, else the last expression; the likeliest candidate first.
    """
    if boxes.unclosed:
        yield boxes.unclosed
        return
    if boxes.last is not None:
        return
    stated = False
    for phrase in _stated(text):
        stated = True
        yield phrase
    if not stated and (last := _last_expression(text[-_TAIL:])):
        yield last


def _stated(text: str) -> Iterator[str]:
    """The formula after the last "answer is", else the number there and the whole phrase."""
    last = _last(_STATED, text)
    rest = text[last.end() : last.end() + _STATED_MOST].lstrip() if last else ""
    if not rest:
        return
    if rest.lstrip("* ").startswith(("$", "\\(", "\\[")) and (formula := next(_formulas(rest), None)):
        yield formula[1]
        end = _PHRASE_END.search(rest)
        phrase = rest[: end.start()] if end else rest
        if (then := _last(_CONSEQUENCE, phrase)) and (tail := _tail(phrase[then.start() :])):
            yield tail
        return
    end = _PHRASE_END.search(rest)
    phrase = (rest[: end.start()] if end else rest).strip("* \t")
    if number := _LEADING.match(rest):
        yield number["number"].rstrip(",")
    elif (tail := _tail(phrase)) and tail != phrase:
        yield tail
    if phrase:
        yield phrase


def _tail(phrase: str) -> str | None:
    """The number or formula at the end of a sentence, unless a word such as "not" or "least" changes its meaning."""
    if not _WORDED.match(phrase) or _TURNED.search(phrase):
        return None
    last = _last_expression(phrase)
    before, _, after = phrase.rpartition(last) if last else ("", "", "")
    return last if last and _LEADS.search(before) and _ENDS.fullmatch(after) else None


def _last_expression(tail: str) -> str | None:
    """The formula or number that ends last; the formula if both end at the same place."""
    found = [(end, formula) for end, formula in _formulas(tail) if any(map(str.isalnum, formula))]
    formula_end, formula = found[-1] if found else (-1, None)
    number = _last(_NUMBER, tail)
    return number[0].rstrip(",") if number and number.end() > formula_end else formula


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _formulas(text: str) -> Iterator[tuple[int, str]]:
    r"""The end and content of each `$...$`, `$$...$$`, `\(...\)` and `\[...\]`, in one pass."""
    opened: tuple[str, int] | None = None
    for token in _FORMULA.finditer(text):
        mark = token["open"] or token["close"] or token["display"] or token["inline"]
        if not mark:
            continue
        if token["open"] or (opened is None and not token["close"]):
            opened = mark, token.end()
        elif opened and mark == {"(": ")", "[": "]"}.get(opened[0], opened[0]):
            yield token.end(), text[opened[1] : token.start()].strip()
            opened = None
