r"""The one comparison of answers: kind by kind, and down to the numbers and formulas that they consist of. Pure.

Only what is of one kind can be the same: an interval is no set, a tuple has an order, an equation is no value. What
names a value (`x=5`) may be left out on one side; two names must be one. Numbers and formulas are judged by a `Judge`,
one that knows no algebra or one that does, and so the verdict has three values: None where this judge can't tell.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Protocol

from palign_hf.grading.answers import (
    EMPTY,
    Answer,
    Assigned,
    Combined,
    Conditional,
    Interval,
    Leaf,
    Matrix,
    Named,
    Ratio,
    Relation,
    Several,
    Words,
    flat_numbers,
    read,
    substituted,
)
from palign_hf.grading.dress import bare, compact
from palign_hf.grading.numerals import number_of, read_number
from palign_hf.grading.units import Piece, conflict


# Nobody means more than that by an answer; longer ones are compared letter for letter, but for lists of numbers.
LONGEST = 2_000
LONGEST_LIST = 200_000
# So many items without an order are tried against each other.
_MOST_TRIED = 40
Verdict = bool | None


class Judge(Protocol):
    """Who says whether two formulas are the same, or two relations; None for what it can't tell."""

    def leaves(self, one: Leaf, other: Leaf) -> Verdict:
        """Two numbers or formulas."""

    def relations(self, one: Relation, other: Relation) -> Verdict:
        """Two equations or inequalities."""


def compare(one: str, other: str, judge: Judge, *, asked: bool = False) -> Verdict:
    """Whether two texts are the same answer; never raises.

    Args:
        one (`str`): An answer.
        other (`str`): Another one.
        judge (`Judge`): Says so of numbers and formulas.
        asked (`bool`, defaults to `False`): Whether the other is a gold answer, for which an equation that ends in its
            value will do: `a+b=12` for `12`, but not `12` for `a+b=12`.
    """
    if max(len(one), len(other)) > LONGEST:
        return one.strip() == other.strip() != "" or _long(one, other)
    bare_one, bare_other = bare(one), bare(other)
    if not (bare_one and bare_other):
        return False
    if compact(bare_one) == compact(bare_other):
        return True
    number, number2 = _plain_number(bare_one), _plain_number(bare_other)
    if number is not None and number2 is not None:
        return number == number2
    answer, gold = read(one), read(other)
    verdict = alike(answer, gold, judge)
    if not verdict and asked and "\\approx" in bare_one:
        # Both sides are meant: the value, and what it comes to.
        return _any(alike(read(side), gold, judge) for side in bare_one.split("\\approx"))
    if not verdict and asked and isinstance(answer, Relation) and set(answer.signs) == {"="}:
        if not isinstance(gold, Relation | Named | Assigned):
            return alike(read(answer.sides[-1]), gold, judge)
    return verdict


def letter_for_letter(one: str, other: str) -> bool:
    """Whether two texts are too long to be compared by what they say."""
    if max(len(one), len(other)) <= LONGEST:
        return False
    return max(len(one), len(other)) > LONGEST_LIST or not (flat_numbers(one) and flat_numbers(other))


def alike(one: Answer, other: Answer, judge: Judge) -> Verdict:
    """Whether two answers are the same."""
    if isinstance(one, Leaf) and isinstance(other, Leaf):
        return judge.leaves(one, other)
    for kind, alike_kind in _KINDS:
        if isinstance(one, kind):
            return alike_kind(one, other, judge)
        if isinstance(other, kind):
            return alike_kind(other, one, judge)
    return one == other


def _conditional(one: Conditional, other: Answer, judge: Judge) -> Verdict:
    if isinstance(other, Conditional):
        parameter, parameter2 = _parameter(one.condition), _parameter(other.condition)
        if parameter and parameter2 and parameter != parameter2:
            answer = substituted(one.answer, parameter, parameter2)
            condition = re.sub(rf"^{parameter}", parameter2, one.condition)
            return _conditional(Conditional(answer, condition), other, judge) if answer else False
        if not _same_condition(one.condition, other.condition):
            return False
        return alike(one.answer, other.answer, judge)
    return alike(one.answer, other, judge)


def _parameter(condition: str) -> str:
    r"""The letter of `k \in \mathbb{Z}`."""
    found = re.match(r"([a-z])\s*\\in\s*\\mathbb\{[ZN]\}", condition)
    return found[1] if found else ""


def _same_condition(one: str, other: str) -> bool:
    """Whether two conditions may be one; in words there are too many ways to say it."""
    one, other = compact(bare(one)), compact(bare(other))
    if one == other:
        return True
    worded = any(re.search(r"[A-Za-z]{4,}", re.sub(r"\\[A-Za-z]+", "", some)) for some in (one, other))
    return worded or "mathbb" in one and "mathbb" in other and one[-4:] == other[-4:]


def _named(one: Named, other: Answer, judge: Judge) -> Verdict:
    if isinstance(other, Named):
        if one.name and other.name and not _one_name(one.name, other.name):
            if renamed := _renamed(other, one):
                return alike(one.value, renamed, judge)
            if one.relation and other.relation:
                return judge.relations(one.relation, other.relation)
            return False
        return alike(one.value, other.value, judge)
    if isinstance(other, Relation):
        return judge.relations(one.relation, other) if one.relation else False
    if isinstance(other, Assigned):
        return _assigned(other, one, judge)
    if isinstance(one.value, Interval | Combined) and isinstance(other, Several) and other.kind == "list":
        return False
    return alike(one.value, other, judge)


def _renamed(one: Named, other: Named) -> Answer | None:
    """The value of `f(n) = n+1` as it is written for `f(x)`; None for other names."""
    applied, applied2 = (re.fullmatch(r"(\\?[A-Za-z]+)\(([a-z])\)", some.name) for some in (one, other))
    if not (applied and applied2 and applied[1] == applied2[1]):
        return None
    return substituted(one.value, applied[2], applied2[2])


def _one_name(one: str, other: str) -> bool:
    r"""Whether two names may be one: `I` and `I(t)`, `\lambda` and `\lambda_1`, `A` and `area`."""
    one, other = (
        re.sub(r"\\(?:overline|vec|overrightarrow|mathbf)|[|{}]|m(?=\\angle)", "", some) for some in (one, other)
    )
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    if re.fullmatch(re.escape(short) + r"\([a-z\\]\w*\)", long):
        return True
    worded, worded2 = (bool(re.fullmatch(r"[A-Za-z ]{4,}", some)) for some in (one, other))
    return worded != worded2


def _assigned(one: Assigned, other: Answer, judge: Judge) -> Verdict:
    if isinstance(other, Assigned):
        values, values2 = dict(one.values), dict(other.values)
        if values.keys() == values2.keys():
            return _all(alike(values[name], values2[name], judge) for name in values)
        if len(values) != len(values2):
            return False
        return False
    ordered = one.values if one.ordered else sorted(one.values, key=lambda pair: pair[0].lstrip("\\"))
    inner = tuple(value for _, value in ordered)
    if isinstance(other, Several):
        if other.kind == "tuple":
            return _in_order(inner, other.items, judge)
        bases = {re.sub(r"_?\{?\d+\}?$", "", name) for name, _ in one.values}
        if len(bases) == 1 or len({len(name) for name, _ in one.values}) > 1:
            return _in_any_order(inner, other.items, judge)
        return _in_order(inner, other.items, judge)
    if isinstance(other, Named):
        bases = {re.sub(r"_?\{?\d+\}?$", "", name) for name, _ in one.values}
        if bases == {other.name} and isinstance(other.value, Several):
            return _in_any_order(inner, other.value.items, judge)
        if isinstance(other.value, Several) and other.value.kind == "tuple" and "," in other.name:
            return _in_order(inner, other.value.items, judge)
    return False


def _relation(one: Relation, other: Answer, judge: Judge) -> Verdict:
    return judge.relations(one, other) if isinstance(other, Relation) else False


def _words(one: Words, other: Answer, judge: Judge) -> Verdict:
    if isinstance(other, Words):
        return one.text == other.text or _singular(one.text) == _singular(other.text)
    if isinstance(other, Several) and other.kind in ("list", "tuple"):
        letters = [item.piece.core for item in other.items if isinstance(item, Leaf)]
        if len(letters) == len(other.items) and all(len(letter) == 1 for letter in letters):
            return "".join(letters).casefold() == one.text.casefold()
    if isinstance(other, Leaf):
        return compact(other.piece.core).casefold() == one.text.casefold()
    return False


def _singular(text: str) -> str:
    return " ".join(word[:-1] if len(word) > 3 and word.endswith("s") else word for word in text.split())


def _ratio(one: Ratio, other: Answer, judge: Judge) -> Verdict:
    if isinstance(other, Ratio):
        if conflict(one.words, other.words) or len(one.parts) != len(other.parts):
            return False
        parts, parts2 = ([Fraction(part) for part in some.parts] for some in (one, other))
        if parts == parts2 or _is_time(one) or _is_time(other):
            return parts == parts2
        return all(left * parts2[0] == right * parts[0] for left, right in zip(parts, parts2, strict=True))
    if isinstance(other, Leaf) and len(one.parts) == 2 and not _is_time(one) and Fraction(one.parts[1]):
        return judge.leaves(Leaf(Piece(f"\\frac{{{one.parts[0]}}}{{{one.parts[1]}}}")), other)
    return False


def _is_time(one: Ratio) -> bool:
    return bool(one.words) or len(one.parts) == 2 and re.fullmatch(r"[0-5]\d", one.parts[1].strip()) is not None


def _matrix(one: Matrix, other: Answer, judge: Judge) -> Verdict:
    if not isinstance(other, Matrix) or [*map(len, one.rows)] != [*map(len, other.rows)]:
        return False
    flat, flat2 = ([entry for row in some.rows for entry in row] for some in (one, other))
    return _in_order(flat, flat2, judge)


def _combined(one: Combined, other: Answer, judge: Judge) -> Verdict:
    verdict: Verdict = False
    if isinstance(other, Combined) and one.kind == other.kind:
        some, others = _intervals(one.items), _intervals(other.items)
        verdict = _in_order(some, others, judge) if one.kind == "minus" else _in_any_order(some, others, judge)
    elif one.kind == "cup" and isinstance(other, Several) and other.kind == "list" and _are_intervals(other.items):
        # `(-\infty,1), (2,\infty)`: their comma stands for the union.
        verdict = _in_any_order(_intervals(one.items), _intervals(other.items), judge)
    if verdict:
        return True
    spans, spans2 = _spans(one), _spans(other)
    if spans is not None and spans2 is not None:
        return spans == spans2
    return verdict


def _are_intervals(items: Sequence[Answer]) -> bool:
    """Whether pairs in brackets can be no points."""
    ends = [
        item.brackets in ("[)", "(]", "[]") or _end(item.items[-1]) == float("inf")
        for item in items
        if isinstance(item, Several) and item.kind == "tuple" and len(item.items) == 2
    ]
    return len(ends) == len(items) and any(ends)


def _intervals(items: Sequence[Answer]) -> tuple[Answer, ...]:
    return tuple(
        Interval(item.items[0], item.items[1], item.brackets)
        if isinstance(item, Several) and item.kind == "tuple" and len(item.items) == 2
        else item
        for item in items
    )


def _interval(one: Interval, other: Answer, judge: Judge) -> Verdict:
    if isinstance(other, Several) and other.kind == "tuple" and len(other.items) == 2:
        other = Interval(other.items[0], other.items[1], other.brackets)
    if not isinstance(other, Interval) or one.brackets != other.brackets:
        return False
    return _all([alike(one.low, other.low, judge), alike(one.high, other.high, judge)])


def _several(one: Several, other: Answer, judge: Judge) -> Verdict:
    if not isinstance(other, Several):
        if one.kind == "set" and len(one.items) == 1:
            return alike(one.items[0], other, judge) if other != EMPTY else False
        return False
    kinds = {one.kind, other.kind}
    if kinds <= {"list", "set"}:
        items, items2 = one.items, other.items
        if "set" in kinds:
            items, items2 = _distinct(items), _distinct(items2)
        return _in_any_order(items, items2, judge)
    if kinds == {"tuple"}:
        return one.brackets == other.brackets and _in_order(one.items, other.items, judge)
    if kinds == {"list", "tuple"}:
        pair = one if one.kind == "tuple" else other
        return pair.brackets == "()" and _in_order(one.items, other.items, judge)
    if kinds == {"mixed"} or kinds == {"mixed", "list"}:
        return _in_order(one.items, other.items, judge)
    return False


_KINDS: list[tuple[type, Callable[..., Verdict]]] = [
    (Conditional, _conditional),
    (Named, _named),
    (Assigned, _assigned),
    (Relation, _relation),
    (Words, _words),
    (Ratio, _ratio),
    (Matrix, _matrix),
    (Combined, _combined),
    (Interval, _interval),
    (Several, _several),
]


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    """Yes if all say so, no if one says no."""
    unsure = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unsure |= verdict is None
    return None if unsure else True


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    """Yes if one says so, no if all say no."""
    found = [*verdicts]
    return True if True in found else None if None in found else False


def _in_order(some: Sequence[Answer], others: Sequence[Answer], judge: Judge) -> Verdict:
    if len(some) != len(others):
        return False
    verdicts = [alike(one, other, judge) for one, other in zip(some, others, strict=True)]
    return _all(verdicts)


def _in_any_order(some: Sequence[Answer], others: Sequence[Answer], judge: Judge) -> Verdict:
    if len(some) != len(others):
        return False
    numbers, numbers2 = _numbers(some), _numbers(others)
    if numbers is not None and numbers2 is not None and Counter(numbers) == Counter(numbers2):
        return True
    left = list(others)
    unmatched = []
    for one in some:
        if one in left:
            left.remove(one)
        else:
            unmatched.append(one)
    if len(left) > _MOST_TRIED:
        return _all([False]) if numbers is not None and numbers2 is not None else None
    verdicts = [[alike(one, other, judge) for other in left] for one in unmatched]
    if any(not any(found is not False for found in row) for row in [*verdicts, *zip(*verdicts, strict=True)]):
        return False
    free = set(range(len(left)))
    for row in verdicts:
        match = next((k for k in sorted(free) if row[k]), None)
        if match is None:
            return None if any(found is None for found in row) else False
        free.remove(match)
    return True


def _numbers(items: Sequence[Answer]) -> list[Fraction] | None:
    found = [number_of(item.piece) if isinstance(item, Leaf) and not item.piece.words else None for item in items]
    return [number.value for number in found if number] if all(found) else None


def _distinct(items: Sequence[Answer]) -> tuple[Answer, ...]:
    numbers = _numbers(items)
    keys: Sequence[object] = numbers if numbers is not None else items
    return tuple(dict(zip(reversed(keys), reversed(items), strict=True)).values())


Span = tuple[float | Fraction, bool, float | Fraction, bool]


def _spans(answer: Answer) -> list[Span] | None:
    """A set of real numbers as intervals in order, none touching the next; None if an end is no plain number."""
    if isinstance(answer, Several) and answer.kind == "tuple" and len(answer.items) == 2:
        answer = Interval(answer.items[0], answer.items[1], answer.brackets)
    if isinstance(answer, Interval):
        low, high = _end(answer.low), _end(answer.high)
        if low is None or high is None:
            return None
        closed = answer.brackets[0] == "[", answer.brackets[1] == "]"
        return [(low, closed[0], high, closed[1])] if low < high or low == high and all(closed) else []
    if isinstance(answer, Several) and answer.kind == "set" or isinstance(answer, Leaf):
        ends = [_end(item) for item in (answer.items if isinstance(answer, Several) else (answer,))]
        return _joined([(end, True, end, True) for end in ends if end is not None]) if None not in ends else None
    if answer == EMPTY:
        return []
    if not isinstance(answer, Combined):
        return None
    parts = [_spans(item) for item in answer.items]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if answer.kind == "cup":
        return _joined([span for part in known for span in part])
    result = known[0]
    for part in known[1:]:
        result = _met(result, part if answer.kind == "cap" else _outside(part))
    return result


def _end(answer: Answer) -> float | Fraction | None:
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


def _plain_number(text: str) -> Fraction | None:
    """A number without any dress, at once."""
    return Fraction(int(text)) if len(text) < 40 and re.fullmatch(r"-?[0-9]+", text) else None


def _long(one: str, other: str) -> bool:
    """Whether two long texts are the same list of numbers."""
    if max(len(one), len(other)) > LONGEST_LIST:
        return False
    found, found2 = flat_numbers(one), flat_numbers(other)
    if found is None or found2 is None:
        return False
    (brackets, parts), (brackets2, parts2) = found, found2
    values, values2 = ([number and number.value for number in map(read_number, some)] for some in (parts, parts2))
    if None in values or None in values2:
        return False
    if {brackets, brackets2} <= {"", "{}"}:
        return Counter(values) == Counter(values2)
    return {brackets, brackets2} in ({"()"}, {"[]"}, {"()", ""}) and values == values2
