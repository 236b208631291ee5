"""Relations in answers: equations, inequalities, membership, names of values, and conditions. Pure.

The functions here are part of the recursive parser of `parser.py`, which passes itself to them as `read`.
"""

import re
from collections.abc import Callable

from palign_hf.grading.answers import (
    EMPTY,
    INFINITE,
    MINUS_INFINITE,
    REALS,
    Answer,
    Assigned,
    Combined,
    Conditional,
    Leaf,
    Named,
    NumberInterval,
    Relation,
    Several,
    as_set,
    left_out,
    spread,
    without_points,
)
from palign_hf.grading.normalization import bare, closes_last, compact, split_outside, unwrapped
from palign_hf.grading.numerals import FLAT_NUMBER
from palign_hf.grading.units import Piece


# Parses a part of an answer.
Reader = Callable[[str], Answer]

_SIGN = re.compile(
    r"\\(?:leq|geq|neq|in|notin|equiv|approx|mapsto|lt|gt|implies|Rightarrow|Longrightarrow|iff|Leftrightarrow|to"
    r"|rightarrow|cong|sim)(?![A-Za-z])|<=|>=|!=|=>|:=|==|[<>=]"
)
_PLAIN_SIGNS = {"\\leq": "<=", "\\geq": ">=", "\\lt": "<", "\\gt": ">", "\\neq": "!=", ":=": "=", "==": "="}
_PLAIN_SIGNS |= {"\\approx": "~", "\\sim": "~", "\\in": "in", "\\mapsto": "maps", "\\rightarrow": "to", "\\to": "to"}
_IMPLIES = {"\\implies", "\\Rightarrow", "\\Longrightarrow", "\\iff", "\\Leftrightarrow", "=>"}
_CONDITION = re.compile(
    r"[,;(\[]?\s*(?<![A-Za-z\\])(?:for (?:all|any|every|each|some|integers?|natural|positive|real|nonnegative|which"
    r"|[a-zA-Z]\b)|where|if|when|whenever|with|such that|provided|assuming|as long as|as [a-z] \\to|given)"
    r"(?![A-Za-z])(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_MODULO = re.compile(r"\s*[(]?\s*(?:\\pmod|\\mod|mod|\\bmod)\s*\{?\s*(\w+)\s*\}?\s*[)]?\s*$")
# Names of values: x, x_1, x_{\max}, f(80), P(X=2), \theta, \angle ABC, |AB|, f^{-1}(x), Area.
_LETTER = r"(?:\\(?!frac|sqrt|text|left|sin|cos|tan|log|ln|pi\b|times|cdot|binom)[A-Za-z]+|[A-Za-z])"
_INDEX = r"(?:_(?:\w|\{[^{}]*(?:\{[^{}]*\}[^{}]*)?\}|\\[A-Za-z]+))?'*"
_NAME = re.compile(
    r"(?:\|?(?:\\(?:angle|triangle|arc|m|overline|vec|hat|bar|mathbf|mathcal|widehat|overrightarrow)\s*)*"
    rf"\{{?[A-Z]{{1,4}}\}}?{_INDEX}\|?"
    rf"|(?:m|m\s+)?\\angle\s*\{{?[A-Z\d]+\}}?|\[[A-Z]{{3,}}\]|{_LETTER}{_INDEX}"
    rf"|\\(?:vec|hat|bar|mathbf|overline|mathcal|tilde)\s*\{{?\w+\}}?{_INDEX}"
    r"|[A-Za-z]{1,3}(?:\s*:\s*[A-Za-z]{1,3})+"
    rf"|\\frac\{{(?:d|\\partial ?)[^{{}}]*\}}\{{(?:d|\\partial ?)[^{{}}]*\}}"
    rf"|[A-Za-z]{{3,}}(?:[ -][A-Za-z]+)*{_INDEX}"
    r"|\\(?:max|min|sup|inf|lim|deg|Pr|det|dim|arg|gcd|lcm)(?:_\{[^{}]*\})?\s*[A-Za-z]?(?:\([^()]*\))?"
    rf"|(?:{_LETTER}{_INDEX}(?:\^\{{[^{{}}]*\}}|\^\w)?|\\?(?:max|min|gcd|lcm|Pr|det))"
    r"\((?P<given>[^()]*(?:\([^()]*\)[^()]*)*)\))"
)
_VARIABLES = set("xyzuvw")
_CLOSED = re.compile(
    r"\\(?:frac|sqrt|times|cdot|div|pi|bmod|mod|pmod|binom|sin|cos|tan|log|ln|circ|infty|left|right)(?![A-Za-z])"
)


def has_relation(text: str) -> bool:
    """Whether a text has a relation sign outside of its brackets.

    Args:
        text (`str`): An answer from `bare`.

    Returns:
        `bool`: Whether there is one.
    """
    return any(sign for _, sign in split_outside(text, _SIGN))


def parse_relation(text: str, read: Reader) -> Answer | None:
    """Parse equations, inequalities and membership.

    Args:
        text (`str`): An answer from `bare`, without separators outside of its brackets.
        read (`Callable`): Parses the sides.

    Returns:
        `Answer`, *optional*: The answer; `None` if the text has no relation sign.
    """
    parts = [*split_outside(text, _SIGN)]
    if len(parts) == 1:
        return None
    for k in range(len(parts) - 1, 0, -1):
        sign = parts[k - 1][1]
        if sign and sign[0] in _IMPLIES and parts[k][0].strip():
            return read(text[sign.end() :])
    sides = [part.strip() for part, _ in parts]
    signs = [_PLAIN_SIGNS.get(sign[0], sign[0]) for _, sign in parts if sign]
    if sides[0] == "" and signs[0] in ("=", "~"):
        sides, signs = sides[1:], signs[1:]
        if not signs:
            return read(sides[0])
    if "~" in signs and sides[0]:
        at = signs.index("~")
        if at or not _NAME.fullmatch(sides[0]):
            sides, signs = sides[: at + 1], signs[:at]
        else:
            signs = ["=" if sign == "~" else sign for sign in signs]
        if not signs:
            return read(sides[0])
    if not all(sides):
        return Leaf(Piece(text))
    relation = Relation(tuple(sides), tuple(signs))
    if set(signs) == {"="}:
        return _equated(relation, read)
    if len(signs) == 1:
        return _related_once(relation, read)
    if set(signs) <= {"<", "<="} or set(signs) <= {">", ">="}:
        return _chained(relation, read)
    return relation


def _equated(relation: Relation, read: Reader) -> Answer:
    """An equation: a named value, several named values, a calculation, or else a relation."""
    sides = relation.sides
    if len(sides) == 2 and is_name(sides[1]) and not is_name(sides[0]) and "," not in sides[0]:
        sides = sides[::-1]
    if names := _named_tuple(sides[0]):
        value = read(sides[-1])
        if isinstance(value, Several) and value.kind == "tuple" and len(value.items) == len(names):
            return Assigned(tuple(zip(names, value.items, strict=True)), ordered=True)
        return Named(",".join(names), value)
    if is_name(sides[0]):
        if len(sides) > 2 and all(is_name(side) and len(side) < 3 for side in sides[:-1]):
            value = read(sides[-1])
            return Assigned(tuple((_name(side), value) for side in sides[:-1]))
        return Named(_name(sides[0]), read(sides[-1]), Relation((sides[0], sides[-1]), ("=",)))
    if all(not re.search(r"[A-Za-z,]", _CLOSED.sub("", side)) for side in sides):
        if len({_name(side) for side in sides}) == 1:
            return relation
        return Named("", read(sides[-1]))
    if re.match(r"^\\?(?:sin|cos|tan|cot|sec|csc|log|ln|lim|gcd|lcm)", sides[0]):
        return Named(_name(sides[0]), read(sides[-1]), Relation((sides[0], sides[-1]), ("=",)))
    return Relation((sides[0], sides[-1]), ("=",))


def _related_once(relation: Relation, read: Reader) -> Answer:
    """A relation of two sides that is no equation."""
    (left, right), sign = relation.sides, relation.signs[0]
    if sign == "in":
        return Named(_name(left), as_set(read(right))) if len(left) < 40 else relation
    if sign in ("maps", "to", "\\equiv", "\\cong"):
        if sign == "maps":
            return Named("", read(right))
        return Named(_name(left), read(right)) if is_name(left) else relation
    if sign == "!=":
        if is_name(left) and is_name(right):
            return Relation(tuple(sorted(relation.sides)), relation.signs)
        if is_name(left):
            points = spread(read(right))
            return Named(_name(left), without_points(points) or Combined("minus", (REALS, Several("set", points))))
        return relation
    if sign in ("<", "<=", ">", ">="):
        inside, moved = _absolute(left)
        if inside and not _uses(right, inside):
            value, closed = read(right), "=" in sign
            minus = read(f"-({right})") if not FLAT_NUMBER.fullmatch(right) else read(f"-{right}")
            if moved:
                # `|x-3| < 5` is `3-5 < x < 3+5`.
                value, minus = read(f"({right})-({moved})"), read(f"-({right})-({moved})")
            if sign[0] == "<":
                return Named(inside, NumberInterval(minus, value, "[]" if closed else "()"))
            low = NumberInterval(MINUS_INFINITE, minus, "(]" if closed else "()")
            return Named(inside, Combined("cup", (low, NumberInterval(value, INFINITE, "[)" if closed else "()"))))
        return _chained(relation, read)
    return relation


def _chained(relation: Relation, read: Reader) -> Answer:
    """Inequalities in one direction: an interval of the variable, if they are solved for one."""
    sides, signs = relation.sides, relation.signs
    if signs[0][0] == ">":
        sides, signs = sides[::-1], tuple(sign.replace(">", "<") for sign in signs[::-1])
    closed = ["=" in sign for sign in signs]
    if len(sides) == 3 and is_name(sides[1]) and not _uses(sides[0] + " " + sides[2], sides[1]):
        low, high = read(sides[0]), read(sides[2])
        return Named(
            _name(sides[1]), NumberInterval(low, high, ("[" if closed[0] else "(") + ("]" if closed[1] else ")"))
        )
    if len(sides) == 2:
        left, right = sides
        if is_name(left) and not (is_name(right) and len(right) == 1) and not _uses(right, left):
            below = NumberInterval(MINUS_INFINITE, read(right), "(]" if closed[0] else "()")
            return Named(_name(left), below, Relation(sides, signs))
        if is_name(right) and not _uses(left, right):
            low = read(left)
            return Named(
                _name(right), NumberInterval(low, INFINITE, "[)" if closed[0] else "()"), Relation(sides, signs)
            )
    return Relation(sides, signs)


def join_named(named: list[Named], between: list[str]) -> Answer:
    """Combine named values: assignments of several names, alternatives of one name, or its set of values.

    Args:
        named (`list[Named]`): At least two named values.
        between (`list[str]`): The separators between them, such as `or`.

    Returns:
        `Answer`: One answer with all the values.
    """
    names = [_unindexed(one.name) if len({one.name for one in named}) == len(named) else one.name for one in named]
    if len({one.name for one in named}) == len(named):
        return Assigned(tuple((one.name, one.value) for one in named))
    if len(set(names)) > 1:
        return Several("list", tuple(named))
    if not any(isinstance(one.value, NumberInterval | Combined) for one in named):
        return Named(named[0].name, Several("list", tuple(item for one in named for item in spread(one.value))))
    values = tuple(one.value for one in named)
    joined = " ".join(between)
    either = bool(re.search(r"or|vee|oder", joined))
    if len(values) == 2 and all(isinstance(one, NumberInterval) for one in values) and not either:
        low = next((one for one in values if isinstance(one, NumberInterval) and one.high == INFINITE), None)
        high = next((one for one in values if isinstance(one, NumberInterval) and one.low == MINUS_INFINITE), None)
        if isinstance(low, NumberInterval) and isinstance(high, NumberInterval) and low is not high:
            met = NumberInterval(low.low, high.high, low.brackets[0] + high.brackets[1])
            if "and" in joined or "wedge" in joined or "land" in joined or not _empty(met):
                return Named(named[0].name, EMPTY if _empty(met) else met)
    if any(left_out(one) for one in values) and not either:
        return Named(named[0].name, Combined("cap", values))
    flat = tuple(
        inner for one in values for inner in (one.items if isinstance(one, Combined) and one.kind == "cup" else (one,))
    )
    if re.search(r"and|land|wedge", joined):
        return Named(named[0].name, Combined("cap", values))
    return Named(named[0].name, Combined("cup", flat))


def parse_conditional(text: str, read: Reader) -> Answer | None:
    """Parse an answer that is followed by a condition, such as `x = 2k, k \\in \\mathbb{Z}`.

    Args:
        text (`str`): An answer from `bare`.
        read (`Callable`): Parses the answer without its condition.

    Returns:
        `Answer`, *optional*: The answer and its condition; `None` if there is no condition.
    """
    if (modulo := _MODULO.search(text)) and modulo.start() > 0 and modulo[0].lstrip()[:1] in "(\\m":
        if modulo[0].lstrip()[:5] != "\\bmod" and not modulo[0].lstrip().startswith("\\mod"):
            return Conditional(read(text[: modulo.start()]), f"mod {modulo[1]}")
    conditions = (found for part, found in split_outside(text, _CONDITION) if found and part.strip())
    found = next((one for one in conditions if one["rest"].strip(" )]")), None)
    if found:
        return Conditional(read(text[: found.start()]), found["rest"].strip(" )]"))
    parts = [(part, sign) for part, sign in split_outside(text, re.compile(r"[,;]"))]
    if len(parts) > 1:
        last, first = parts[-1][0].strip(), ",".join(part for part, _ in parts[:-1])
        if _is_condition(last, first):
            return Conditional(read(first), last)
    if (found := re.search(r"\s*\(\s*([a-zA-Z]\s*(?:\\in|\\neq|\\geq?|>|<|\\leq).*)\)$", text)) and found.start() > 0:
        if closes_last(text, text.index("(", found.start())):
            return Conditional(read(text[: found.start()]), found[1])
    return None


def _is_condition(last: str, first: str) -> bool:
    r"""Whether the last part, such as `k \in \mathbb{Z}` or `x > 0`, is a condition on the parts before it."""
    found = re.match(
        r"^(?P<names>\\?[A-Za-z]+(?:_\w)?(?:\s*,\s*[A-Za-z])*)\s*(?P<sign>\\in|\\neq|\\geq|\\leq|>|<|=)(?P<rest>.*)$",
        last,
    )
    if (
        not found
        or len(found["names"]) > 1
        and found["names"][0] != "\\"
        and "_" not in found["names"]
        and "," not in found["names"]
    ):
        return False
    if found["sign"] == "=":
        return bool(re.search(r"\\ldots|\\dots|\\cdots|\.\.\.", last))
    in_numbers = found["sign"] == "\\in" and "\\mathbb" in found["rest"]
    related = has_relation(first)
    used = bool(re.search(rf"(?<![A-Za-z\\]){re.escape(found['names'])}(?![A-Za-z])", first))
    leading = re.match(rf"^\s*{re.escape(found['names'])}\s*(?:=|\\(?:in|neq|leq|geq)(?![a-z])|<|>)", first)
    return (in_numbers or not related or "=" in first and not leading) and used and not leading


def is_name(text: str) -> bool:
    """Whether a side of an equation is a name for the other side, such as `x_1`, `f(80)` or `P(X=2)`.

    Args:
        text (`str`): A side of an equation.

    Returns:
        `bool`: Whether it is a name.
    """
    text = text.strip()
    if text in ("e", "i", "\\pi", "\\infty") or len(text) > 60:
        return False
    found = _NAME.fullmatch(text)
    if not found:
        return False
    given = found["given"]
    if given is not None and text[0] in _VARIABLES:
        return bool(re.fullmatch(r"\s*(?:[a-zA-Z]|\d+|\\theta)\s*", given))
    return True


def _empty(interval: NumberInterval) -> bool:
    low, high = interval.low, interval.high
    if not (isinstance(low, Leaf) and isinstance(high, Leaf)):
        return False
    try:
        return float(low.piece.core) > float(high.piece.core)
    except ValueError:
        return False


def _absolute(text: str) -> tuple[str, str]:
    """The variable of `|x + a|` and the term `a`; empty texts if the text has no such form."""
    found = re.fullmatch(r"\|\s*([A-Za-z])\s*([+-]\s*(?:[\d./]+|\\frac\{\d+\}\{\d+\}))?\s*\|", text)
    return (found[1], found[2] or "") if found else ("", "")


def _uses(text: str, name: str) -> bool:
    return bool(re.search(rf"(?<![A-Za-z\\]){re.escape(name)}(?![A-Za-z])", text))


def _name(text: str) -> str:
    return compact(bare(text))


def _named_tuple(text: str) -> list[str]:
    brackets, inner = unwrapped(text)
    parts = [part.strip() for part, _ in split_outside(inner, re.compile(","))]
    return [_name(part) for part in parts] if brackets == "()" and len(parts) > 1 and all(map(is_name, parts)) else []


def _unindexed(name: str) -> str:
    return re.sub(r"_(?:\d|\{\d+\})$", "", name)
