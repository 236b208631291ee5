r"""The kinds of answers: values, words, lists, sets, intervals, matrices, equations, ... Pure.

Each kind is a type of its own, so that `1<x<2`, `\{1,2\}` and `1, 2` never compare as the same answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fractions import Fraction
from typing import Any

from palign_hf.grading.normalization import compact
from palign_hf.grading.numerals import number_of
from palign_hf.grading.units import Piece


_LONE_LETTER = r"(?<![A-Za-z\\]){}(?![A-Za-z])"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A number or formula with its unit."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class Words:
    """A verbal answer in its shortest spelling."""

    text: str


@dataclass(frozen=True, slots=True)
class Several:
    """Several answers.

    Args:
        kind (`str`): `list` or `set` (unordered), or `tuple` or `mixed` (ordered; mixed: 3 hours 20 minutes).
        items (`tuple`): The answers.
        brackets (`str`, defaults to `""`): The brackets of a tuple, since `(1, 2)` may mean an interval.
    """

    kind: str
    items: tuple["Answer", ...]
    brackets: str = ""


@dataclass(frozen=True, slots=True)
class NumberInterval:
    r"""An interval of numbers, from an inequality or `x \in (1, 2)`."""

    low: "Answer"
    high: "Answer"
    brackets: str


@dataclass(frozen=True, slots=True)
class Combined:
    """Sets that are combined by `cup`, `cap` or `minus`."""

    kind: str
    items: tuple["Answer", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix or column vector, by its rows."""

    rows: tuple[tuple["Answer", ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio such as `3:2`, or a time such as `12:30`."""

    parts: tuple[str, ...]
    words: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Relation:
    """An equation without a name, or an unsolved inequality: its sides and the signs between them."""

    sides: tuple[str, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A named value such as `x=5`; the name is empty for a calculation such as `3+4=7`."""

    name: str
    value: "Answer"
    relation: Relation | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """Several named values; `ordered` if they were written as a tuple."""

    values: tuple[tuple[str, "Answer"], ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Conditional:
    """An answer and the condition under which it holds."""

    answer: "Answer"
    condition: str


Answer = (
    Leaf | Words | Several | NumberInterval | Combined | Matrix | Ratio | Relation | Named | Assigned | Conditional
)

INFINITE = Leaf(Piece("\\infty"))
MINUS_INFINITE = Leaf(Piece("-\\infty"))
REALS = NumberInterval(MINUS_INFINITE, INFINITE, "()")
EMPTY = Words("\\emptyset")


def spread(answer: Answer) -> tuple[Answer, ...]:
    r"""Flatten a list within a list; `\pm 1` is such a list.

    Args:
        answer (`Answer`): An answer.

    Returns:
        `tuple[Answer, ...]`: The items of a list, or the answer itself.
    """
    if isinstance(answer, Several) and answer.kind == "list":
        return answer.items
    return (answer,)


def as_set(answer: Answer) -> Answer:
    """Interpret an answer as a set, where a pair in brackets is an interval.

    Args:
        answer (`Answer`): An answer.

    Returns:
        `Answer`: The set.
    """
    if isinstance(answer, Several) and answer.kind == "tuple" and len(answer.items) == 2:
        return NumberInterval(answer.items[0], answer.items[1], answer.brackets)
    if isinstance(answer, Named) and isinstance(answer.value, NumberInterval | Combined):
        return answer.value
    return answer


def without_points(points: tuple[Answer, ...]) -> Answer | None:
    """Build the set of all reals except one point.

    Args:
        points (`tuple[Answer, ...]`): The points to leave out.

    Returns:
        `Answer`, *optional*: Two intervals; `None` for more than one point, whose order is unknown without values.
    """
    if len(points) != 1:
        return None
    return Combined(
        "cup", (NumberInterval(MINUS_INFINITE, points[0], "()"), NumberInterval(points[0], INFINITE, "()"))
    )


def left_out(answer: Answer) -> Answer | None:
    """Find the point that a set of all other reals leaves out.

    Args:
        answer (`Answer`): A set.

    Returns:
        `Answer`, *optional*: The point; `None` if the set is no such set.
    """
    if isinstance(answer, Combined) and len(answer.items) == 2 and answer.kind == "cup":
        low, high = answer.items
        if isinstance(low, NumberInterval) and isinstance(high, NumberInterval) and low.high == high.low:
            if (low.low, high.high, low.brackets, high.brackets) == (MINUS_INFINITE, INFINITE, "()", "()"):
                return low.high
    return None


def substituted(answer: Answer, old: str, new: str) -> Answer | None:
    """Rename a variable of an answer.

    Args:
        answer (`Answer`): An answer.
        old (`str`): The letter of the variable.
        new (`str`): Its new letter.

    Returns:
        `Answer`, *optional*: The renamed answer; `None` if the answer already has the new letter.
    """
    taken = False

    def changed(part: Any) -> Any:
        nonlocal taken
        if isinstance(part, str):
            taken |= bool(re.search(_LONE_LETTER.format(new), part))
            return re.sub(_LONE_LETTER.format(old), new, part)
        if isinstance(part, tuple):
            return tuple(map(changed, part))
        if is_dataclass(part) and not isinstance(part, type | Words):
            return replace(part, **{field.name: changed(getattr(part, field.name)) for field in fields(part)})
        return part

    found: Answer = changed(answer)
    return None if taken else found


def are_intervals(items: Sequence[Answer]) -> bool:
    """Whether pairs in brackets can only be intervals, as points have no square brackets and are finite.

    Args:
        items (`Sequence[Answer]`): The items of a list.

    Returns:
        `bool`: Whether all are pairs, and one has a square bracket or an infinite end.
    """
    ends = [
        item.brackets in ("[)", "(]", "[]") or end_point(item.items[-1]) == float("inf")
        for item in items
        if isinstance(item, Several) and item.kind == "tuple" and len(item.items) == 2
    ]
    return len(ends) == len(items) and any(ends)


def as_intervals(items: Sequence[Answer]) -> tuple[Answer, ...]:
    """Interpret pairs in brackets as intervals.

    Args:
        items (`Sequence[Answer]`): Answers.

    Returns:
        `tuple[Answer, ...]`: The same answers with intervals in place of pairs.
    """
    return tuple(
        NumberInterval(item.items[0], item.items[1], item.brackets)
        if isinstance(item, Several) and item.kind == "tuple" and len(item.items) == 2
        else item
        for item in items
    )


# An interval: lower end, whether it is included, upper end, whether it is included.
Span = tuple[float | Fraction, bool, float | Fraction, bool]


def spans(answer: Answer) -> list[Span] | None:
    """Convert a set of real numbers to disjoint intervals in ascending order.

    Args:
        answer (`Answer`): A set.

    Returns:
        `list`, *optional*: For each interval its lower end, whether that is included, its upper end, and whether that
            is included; `None` if an end is no plain number.
    """
    if isinstance(answer, Several) and answer.kind == "tuple" and len(answer.items) == 2:
        answer = NumberInterval(answer.items[0], answer.items[1], answer.brackets)
    if isinstance(answer, NumberInterval):
        low, high = end_point(answer.low), end_point(answer.high)
        if low is None or high is None:
            return None
        closed = answer.brackets[0] == "[", answer.brackets[1] == "]"
        return [(low, closed[0], high, closed[1])] if low < high or low == high and all(closed) else []
    if isinstance(answer, Several) and answer.kind == "set" or isinstance(answer, Leaf):
        ends = [end_point(item) for item in (answer.items if isinstance(answer, Several) else (answer,))]
        return _joined([(end, True, end, True) for end in ends if end is not None]) if None not in ends else None
    if answer == EMPTY:
        return []
    if not isinstance(answer, Combined):
        return None
    parts = [spans(item) for item in answer.items]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if answer.kind == "cup":
        return _joined([span for part in known for span in part])
    result = known[0]
    for part in known[1:]:
        result = _met(result, part if answer.kind == "cap" else _outside(part))
    return result


def end_point(answer: Answer) -> float | Fraction | None:
    """Convert the end of an interval to a number.

    Args:
        answer (`Answer`): The end.

    Returns:
        `float` or `Fraction`, *optional*: Infinity or an exact number; `None` for formulas.
    """
    if not isinstance(answer, Leaf):
        return None
    plain = compact(answer.piece.core).lstrip("+")
    if plain in ("\\infty", "-\\infty"):
        return float("inf") if plain[0] == "\\" else float("-inf")
    number = number_of(answer.piece)
    return number.value if number else None


def _joined(spans: list[Span]) -> list[Span]:
    found: list[Span] = []
    for low, low_in, high, high_in in sorted(spans, key=lambda span: (span[0], not span[1])):
        if found:
            low2, low2_in, high2, high2_in = found[-1]
            if low < high2 or low == high2 and (low_in or high2_in):
                high, high_in = max((high, high_in), (high2, high2_in))
                low, low_in = low2, low2_in
                found.pop()
        found.append((low, low_in, high, high_in))
    return found


def _outside(spans: list[Span]) -> list[Span]:
    found: list[Span] = []
    low: float | Fraction = float("-inf")
    low_in = False
    for start, start_in, end, end_in in spans:
        if low < start or low == start and low_in and not start_in:
            found.append((low, low_in, start, not start_in))
        low, low_in = end, not end_in
    if low < float("inf"):
        found.append((low, low_in, float("inf"), False))
    return found


def _met(some: list[Span], others: list[Span]) -> list[Span]:
    found: list[Span] = []
    for low, low_in, high, high_in in some:
        for low2, low2_in, high2, high2_in in others:
            start, start_in = max((low, not low_in), (low2, not low2_in))
            end, end_in = min((high, high_in), (high2, high2_in))
            if start < end or start == end and not start_in and end_in:
                found.append((start, not start_in, end, end_in))
    return _joined(found)
