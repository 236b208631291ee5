r"""What a lenient reader takes for the answer of a text that boxed none, or not to the end. Pure, in linear time.

In the manner of math-verify: a box that never closed, else what "the answer is" says last, else the last formula or
number. It finds the number in loops that were cut off, so it is an upper bound; what is boxed is the honest figure.
"""

import re
from collections import deque
from collections.abc import Iterator

from palign_hf.grading.boxes import Boxes


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
# A sentence around its number: what leads to it, what may follow it, and what makes it no answer.
_WORDED = re.compile(r"[*_]*[A-Za-z]{2,}")
_LEADS = re.compile(r"(?:[A-Za-z]{2,}[,:]?|=|:)[\s*_]*(?:\$|\\\(|\\\[)?\s*-?\$?$")
_ENDS = re.compile(r"(?:\$|\\\)|\\\])?[\s*_.,]*(?:(?!because|since|as|but|and|or)[A-Za-z%]+[\s*_.]*){0,2}")
_CONSEQUENCE = re.compile(r"\b(?:hence|thus|therefore|so)\b", re.IGNORECASE)
_TURNED = re.compile(
    r"\b(?:not|never|cannot|neither|nor|between|least|most|more|less|greater|fewer|because|since)\b|n't\b",
    re.IGNORECASE,
)
_LEADING = re.compile(rf"[*_\s]*(?P<number>{_NUMBER.pattern})(?=$|[*_,;:]|\.(?:\s|$)|\s+(?![-+*/^=<>\\]))")


def readings(text: str, boxes: Boxes) -> Iterator[str]:
    """What may be meant where no complete box says it: an unclosed box, a stated answer, the last expression."""
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
    """What the last "answer is" says: its formula, else its number and all that it says."""
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
    """The number or formula that a sentence ends in, if words lead to it and none turns it round."""
    if not _WORDED.match(phrase) or _TURNED.search(phrase):
        return None
    last = _last_expression(phrase)
    before, _, after = phrase.rpartition(last) if last else ("", "", "")
    return last if last and _LEADS.search(before) and _ENDS.fullmatch(after) else None


def _last_expression(tail: str) -> str | None:
    """The formula or number that ends last; of what ends at the same place, the longer one."""
    found = [(end, formula) for end, formula in _formulas(tail) if any(map(str.isalnum, formula))]
    formula_end, formula = found[-1] if found else (-1, None)
    number = _last(_NUMBER, tail)
    return number[0].rstrip(",") if number and number.end() > formula_end else formula


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return next(iter(deque(pattern.finditer(text), maxlen=1)), None)


def _formulas(text: str) -> Iterator[tuple[int, str]]:
    r"""Where each `$...$`, `$$...$$`, `\(...\)`, `\[...\]` ends, and what is inside; in one pass."""
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
