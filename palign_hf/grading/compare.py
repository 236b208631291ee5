r"""Comparison of two answers, kind by kind, down to their numbers and formulas. Pure.

Answers of different kinds differ: an interval is no set, a tuple is ordered, an equation is no value. One side may
omit a name (`x=5`). A `ValueJudge` compares numbers and formulas; a verdict is `None` where it can't decide.
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
    Leaf,
    Matrix,
    Named,
    NumberInterval,
    Ratio,
    Relation,
    Several,
    Words,
    are_intervals,
    as_intervals,
    spans,
    substituted,
)
from palign_hf.grading.normalization import bare, compact
from palign_hf.grading.numerals import flat_numbers, number_of, plain_integer, same_number_lists
from palign_hf.grading.parser import read
from palign_hf.grading.units import Piece, conflict


# Characters of an answer. Longer answers are compared as texts, except for lists of numbers.
LONGEST = 2_000
LONGEST_LIST = 200_000
# Most unordered items that are compared pairwise.
_MOST_TRIED = 40
Verdict = bool | None


class ValueJudge(Protocol):
    """Compares numbers, formulas and relations. Both verdicts are `None` where the judge can't decide."""

    def leaves(self, one: Leaf, other: Leaf) -> Verdict:
        """Compare two numbers or formulas."""

    def relations(self, one: Relation, other: Relation) -> Verdict:
        """Compare two equations or inequalities."""


def compare(one: str, other: str, judge: ValueJudge, *, gold: bool = False) -> Verdict:
    """Compare two answers.

    Args:
        one (`str`): An answer.
        other (`str`): Another answer.
        judge (`ValueJudge`): Compares their numbers and formulas.
        gold (`bool`, defaults to `False`): Whether `other` is a gold answer. An equation then also matches by its last
            side: `a+b=12` matches the gold answer `12`, but `12` doesn't match `a+b=12`.

    Returns:
        `bool`, *optional*: Whether they are the same answer; `None` where the judge can't decide.
    """
    if (length := max(len(one), len(other))) > LONGEST:
        return one.strip() == other.strip() != "" or length <= LONGEST_LIST and same_number_lists(one, other)
    bare_one, bare_other = bare(one), bare(other)
    if not (bare_one and bare_other):
        return False
    if compact(bare_one) == compact(bare_other):
        return True
    number, number2 = plain_integer(bare_one), plain_integer(bare_other)
    if number is not None and number2 is not None:
        return number == number2
    answer, expected = read(one), read(other)
    verdict = alike(answer, expected, judge)
    if not verdict and gold and "\\approx" in bare_one:
        # An exact value and its decimal: either may match.
        return _any(alike(read(side), expected, judge) for side in bare_one.split("\\approx"))
    if not verdict and gold and isinstance(answer, Relation) and set(answer.signs) == {"="}:
        if not isinstance(expected, Relation | Named | Assigned):
            return alike(read(answer.sides[-1]), expected, judge)
    return verdict


def letter_for_letter(one: str, other: str) -> bool:
    """Whether `compare` compares two answers as texts because of their length.

    Args:
        one (`str`): An answer.
        other (`str`): Another answer.

    Returns:
        `bool`: Whether it does.
    """
    if max(len(one), len(other)) <= LONGEST:
        return False
    return max(len(one), len(other)) > LONGEST_LIST or not (flat_numbers(one) and flat_numbers(other))


def alike(one: Answer, other: Answer, judge: ValueJudge) -> Verdict:
    """Compare two parsed answers.

    Args:
        one (`Answer`): An answer.
        other (`Answer`): Another answer.
        judge (`ValueJudge`): Compares their numbers and formulas.

    Returns:
        `bool`, *optional*: Whether they are the same; `None` where the judge can't decide.
    """
    if isinstance(one, Leaf) and isinstance(other, Leaf):
        return judge.leaves(one, other)
    for kind, alike_kind in _KINDS:
        if isinstance(one, kind):
            return alike_kind(one, other, judge)
        if isinstance(other, kind):
            return alike_kind(other, one, judge)
    return one == other


def _conditional(one: Conditional, other: Answer, judge: ValueJudge) -> Verdict:
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
    r"""The letter of a condition such as `k \in \mathbb{Z}`."""
    found = re.match(r"([a-z])\s*\\in\s*\\mathbb\{[ZN]\}", condition)
    return found[1] if found else ""


def _same_condition(one: str, other: str) -> bool:
    """Whether two conditions may be the same; conditions in words are taken to be."""
    one, other = compact(bare(one)), compact(bare(other))
    if one == other:
        return True
    worded = any(re.search(r"[A-Za-z]{4,}", re.sub(r"\\[A-Za-z]+", "", some)) for some in (one, other))
    return worded or "mathbb" in one and "mathbb" in other and one[-4:] == other[-4:]


def _named(one: Named, other: Answer, judge: ValueJudge) -> Verdict:
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
    if isinstance(one.value, NumberInterval | Combined) and isinstance(other, Several) and other.kind == "list":
        return False
    return alike(one.value, other, judge)


def _renamed(one: Named, other: Named) -> Answer | None:
    """The value of `f(n) = n+1` in the variable of `f(x)`; None if the names differ in more than the variable."""
    applied, applied2 = (re.fullmatch(r"(\\?[A-Za-z]+)\(([a-z])\)", some.name) for some in (one, other))
    if not (applied and applied2 and applied[1] == applied2[1]):
        return None
    return substituted(one.value, applied[2], applied2[2])


def _one_name(one: str, other: str) -> bool:
    r"""Whether two names may mean the same: `I` and `I(t)`, `|AB|` and `AB`, `A` and `area`."""
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


def _assigned(one: Assigned, other: Answer, judge: ValueJudge) -> Verdict:
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


def _relation(one: Relation, other: Answer, judge: ValueJudge) -> Verdict:
    return judge.relations(one, other) if isinstance(other, Relation) else False


def _words(one: Words, other: Answer, judge: ValueJudge) -> Verdict:
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


def _ratio(one: Ratio, other: Answer, judge: ValueJudge) -> Verdict:
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


def _matrix(one: Matrix, other: Answer, judge: ValueJudge) -> Verdict:
    if not isinstance(other, Matrix) or [*map(len, one.rows)] != [*map(len, other.rows)]:
        return False
    flat, flat2 = ([entry for row in some.rows for entry in row] for some in (one, other))
    return _in_order(flat, flat2, judge)


def _combined(one: Combined, other: Answer, judge: ValueJudge) -> Verdict:
    verdict: Verdict = False
    if isinstance(other, Combined) and one.kind == other.kind:
        some, others = as_intervals(one.items), as_intervals(other.items)
        verdict = _in_order(some, others, judge) if one.kind == "minus" else _in_any_order(some, others, judge)
    elif one.kind == "cup" and isinstance(other, Several) and other.kind == "list" and are_intervals(other.items):
        # The comma in `(-\infty,1), (2,\infty)` means the union.
        verdict = _in_any_order(as_intervals(one.items), as_intervals(other.items), judge)
    if verdict:
        return True
    some_spans, other_spans = spans(one), spans(other)
    if some_spans is not None and other_spans is not None:
        return some_spans == other_spans
    return verdict


def _interval(one: NumberInterval, other: Answer, judge: ValueJudge) -> Verdict:
    if isinstance(other, Several) and other.kind == "tuple" and len(other.items) == 2:
        other = NumberInterval(other.items[0], other.items[1], other.brackets)
    if not isinstance(other, NumberInterval) or one.brackets != other.brackets:
        return False
    return _all([alike(one.low, other.low, judge), alike(one.high, other.high, judge)])


def _several(one: Several, other: Answer, judge: ValueJudge) -> Verdict:
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
    (NumberInterval, _interval),
    (Several, _several),
]


def _all(verdicts: Iterable[Verdict]) -> Verdict:
    """True if all verdicts are, False if one is, else None."""
    unsure = False
    for verdict in verdicts:
        if verdict is False:
            return False
        unsure |= verdict is None
    return None if unsure else True


def _any(verdicts: Iterable[Verdict]) -> Verdict:
    """True if one verdict is, False if all are, else None."""
    found = [*verdicts]
    return True if True in found else None if None in found else False


def _in_order(some: Sequence[Answer], others: Sequence[Answer], judge: ValueJudge) -> Verdict:
    if len(some) != len(others):
        return False
    verdicts = [alike(one, other, judge) for one, other in zip(some, others, strict=True)]
    return _all(verdicts)


def _in_any_order(some: Sequence[Answer], others: Sequence[Answer], judge: ValueJudge) -> Verdict:
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
