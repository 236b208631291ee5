r"""Reads an answer into what it is: a number or formula, words, a list, a tuple, an interval, an equation, ... Pure.

    read(r"x=2 \text{ or } x=3")    # Named("x", Several("list", (Leaf("2"), Leaf("3"))))

Each kind is a type of its own, so that `1<x<2`, `\{1,2\}` and `1, 2` can't be taken for each other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from typing import Any

from palign_hf.grading.dress import bare, compact, is_words, without_fonts
from palign_hf.grading.units import Piece, loosened, pieces


@dataclass(frozen=True, slots=True)
class Leaf:
    """A number or formula, with what it counts in."""

    piece: Piece


@dataclass(frozen=True, slots=True)
class Words:
    """Words that are the answer, in their shortest spelling."""

    text: str


@dataclass(frozen=True, slots=True)
class Several:
    """Some answers: a `list` or `set` without an order, a `tuple` or `mixed` (3 hours 20 minutes) with one.

    A tuple has its brackets, for `(1, 2)` may be an interval.
    """

    kind: str
    items: tuple["Answer", ...]
    brackets: str = ""


@dataclass(frozen=True, slots=True)
class Interval:
    """What an inequality says, or `x \\in (1, 2)`."""

    low: "Answer"
    high: "Answer"
    brackets: str


@dataclass(frozen=True, slots=True)
class Combined:
    """Sets combined by `cup`, `cap` or `minus`."""

    kind: str
    items: tuple["Answer", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The rows of a matrix or of a column vector."""

    rows: tuple[tuple["Answer", ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`3:2`, or the time `12:30`."""

    parts: tuple[str, ...]
    words: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Relation:
    """Sides and the signs between them: an equation that names nothing, or an inequality that isn't solved."""

    sides: tuple[str, ...]
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """A value under its name; an empty name is a calculation, such as `3+4=7`."""

    name: str
    value: "Answer"
    relation: Relation | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """Some values under different names; `ordered` if somebody wrote them as a tuple."""

    values: tuple[tuple[str, "Answer"], ...]
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Conditional:
    """An answer and under which condition it holds."""

    answer: "Answer"
    condition: str


Answer = Leaf | Words | Several | Interval | Combined | Matrix | Ratio | Relation | Named | Assigned | Conditional

_INFINITE = Leaf(Piece("\\infty"))
_MINUS_INFINITE = Leaf(Piece("-\\infty"))
REALS = Interval(_MINUS_INFINITE, _INFINITE, "()")
EMPTY = Words("\\emptyset")

_DEEPEST = 25
_FLAT_FRACTION = re.compile(r"[-+]?(?:\\frac\{\d+\}\{\d+\}|\d+/\d+)", re.ASCII)
_FLAT_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?<=[\d.])", re.ASCII)
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
_PAIRS = {"(": ")", "[": "]", "\\{": "\\}", "\\langle": "\\rangle"}
_BRACKET = re.compile(
    r"\\langle(?![A-Za-z])|\\rangle(?![A-Za-z])|\\[{}]|[()\[\]{}]|\\begin\s*\{\w+\*?\}|\\end\s*\{\w+\*?\}"
)
_SEPARATOR = re.compile(
    r"(?P<comma>[,;])|(?P<word>(?<![A-Za-z\\])(?:and|or|und|oder)(?![A-Za-z]))|(?P<sign>\\(?:land|lor|wedge|vee)(?![A-Za-z]))"
)
_SIGN = re.compile(
    r"\\(?:leq|geq|neq|in|notin|equiv|approx|mapsto|lt|gt|implies|Rightarrow|Longrightarrow|iff|Leftrightarrow|to"
    r"|rightarrow|cong|sim)(?![A-Za-z])|<=|>=|!=|=>|:=|==|[<>=]"
)
_PLAIN_SIGNS = {"\\leq": "<=", "\\geq": ">=", "\\lt": "<", "\\gt": ">", "\\neq": "!=", ":=": "=", "==": "="}
_PLAIN_SIGNS |= {"\\approx": "~", "\\sim": "~", "\\in": "in", "\\mapsto": "maps", "\\rightarrow": "to", "\\to": "to"}
_IMPLIES = {"\\implies", "\\Rightarrow", "\\Longrightarrow", "\\iff", "\\Leftrightarrow", "=>"}
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_SET_SIGN = re.compile(r"\\(?P<sign>cup|cap|setminus|backslash)(?![A-Za-z])|(?<=\})\s*(?P<minus>-)(?=\s*\\\{)")
_MATRIX = re.compile(
    r"^(?:[(\[]\s*)?\\begin\s*\{(?P<kind>[pbBv]?matrix|smallmatrix|array)\}(?:\s*\{[lcr| ]*\})?(?P<rows>.*)"
    r"\\end\s*\{(?P=kind)\}(?P<turned>\s*\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?)?\s*[)\]]?$",
    re.DOTALL,
)
_CASES = re.compile(
    r"^(?:\\\{\s*)?\\begin\s*\{(?P<kind>cases|aligned|align\*?|array|gathered)\}(?P<rows>.*)\\end\s*\{(?P=kind)\}$",
    re.DOTALL,
)
_ANGLE = re.compile(
    r"(?P<degrees>-?\d+)\s*\^\s*\{?\\circ\}?\s*(?P<minutes>\d+)\s*(?:'|\^\{?\\prime\}?)\s*(?:(?P<seconds>\d+)\s*'')?"
)
_TIME = re.compile(r"-?\d+(?:\.\d+)?(?:\s*:\s*\d+(?:\.\d+)?)+", re.ASCII)
_LETTERS = re.compile(r"[A-Z]{3,}|[A-Z](?: [A-Z])+")
_CONDITION = re.compile(
    r"[,;(\[]?\s*(?<![A-Za-z\\])(?:for (?:all|any|every|each|some|integers?|natural|positive|real|nonnegative|which"
    r"|[a-zA-Z]\b)|where|if|when|whenever|with|such that|provided|assuming|as long as|as [a-z] \\to|given)"
    r"(?![A-Za-z])(?P<rest>.*)$",
    re.IGNORECASE | re.DOTALL,
)
_MODULO = re.compile(r"\s*[(]?\s*(?:\\pmod|\\mod|mod|\\bmod)\s*\{?\s*(\w+)\s*\}?\s*[)]?\s*$")
_LEADING = re.compile(
    r"^(?:both|either|the (?:numbers|values|answers?|solutions?)(?: (?:are|is))?|all of|exactly|the"
    r"|(?:the )?(?:final )?answers?(?: (?:is|are)|\s*:))(?![A-Za-z])\s*:?\s*",
    re.IGNORECASE,
)
_MINUS = re.compile(r"^(?:minus|negative)\s+(?=[\d.\\(])", re.IGNORECASE)
_ORDINAL = re.compile(r"(?<=\d)\s*\^?\s*\{?\s*(?:st|nd|rd|th)\s*\}?(?![A-Za-z])")
_NOTE = re.compile(
    r"(?<=[\d})%])\s+\((?!(?:sin|cos|tan|log|exp|sqrt|theta|alpha|beta))(?P<words>[a-z]{4,}(?: [a-z]+)*)\.?\)$"
)
# What a value may be called: x, x_1, x_{\max}, f(80), P(X=2), \theta, \angle ABC, |AB|, f^{-1}(x), Area.
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
_PLUS_MINUS = re.compile(r"\\(?P<sign>pm|mp)(?![A-Za-z])")
_REAL = {"\\mathbb{R}", "allrealnumbers", "allreals", "allrealvalues", "therealnumbers", "realnumbers", "allreal"}
_HALF = re.compile(r"\\mathbb\{R\}(?:[\^_]\{?[+-]\}?|_\{(?:[<>]=?|\\[lg]eq)0\})")
_NOTHING = {
    "\\emptyset",
    "\\{\\}",
    "nosolution",
    "nosolutions",
    "emptyset",
    "theemptyset",
    "nosolutionexists",
    "nosolutionsexist",
}
_ENDLESS = re.compile(r"(-|negative|minus)?(?:positive|\+)?(?:infinity|\\infty)")
_LONE_LETTER = r"(?<![A-Za-z\\]){}(?![A-Za-z])"
_SPELT_OUT = "zero one two three four five six seven eight nine ten eleven twelve".split()


@lru_cache(maxsize=8192)
def read(text: str) -> Answer:
    """What a text says; any text says something."""
    return _read(bare(text), 0)


def flat_numbers(text: str) -> tuple[str, list[str]] | None:
    """The brackets and parts of a long list that has nothing but numbers; None for every other text."""
    text = bare(text)
    brackets, inner = _unwrapped(text)
    parts = [part.strip() for part in inner.split(",")]
    flat = all(_FLAT_NUMBER.fullmatch(part) or _FLAT_FRACTION.fullmatch(part) for part in parts)
    return (brackets, parts) if flat and len(parts) > 1 else None


def cut(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str] | None]]:
    """The parts of a text between what matches outside of all brackets, each with the match behind it."""
    brackets = [*_BRACKET.finditer(text)]
    depth, last, k = 0, 0, 0
    for found in pattern.finditer(text):
        while k < len(brackets) and brackets[k].start() < found.end():
            opens = brackets[k][0] in ("(", "[", "{", "\\{", "\\langle") or brackets[k][0].startswith("\\begin")
            depth += 1 if opens else -1
            k += 1
        if depth == 0:
            yield text[last : found.start()], found
            last = found.end()
    yield text[last:], None


def _read(text: str, depth: int) -> Answer:
    text = _turned_brackets(_stripped(text))
    if depth > _DEEPEST:
        return Leaf(Piece(text))
    if _FLAT_NUMBER.fullmatch(text):
        return Leaf(Piece(text))
    if matrix := _MATRIX.match(text):
        if matrix["kind"] != "vmatrix":
            return _matrix(matrix["rows"], bool(matrix["turned"]), depth)
    elif cases := _CASES.match(text):
        rows = [row.replace("&", " ").strip() for row in cases["rows"].split("\\\\")]
        return _several([row for row in rows if row], [" and "] * (len(rows) - 1), depth)
    if (known := _known(text)) is not None:
        return known
    if is_words(text) and not re.search(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])", without_fonts(text)):
        return _words(without_fonts(text))
    text = _ORDINAL.sub("", _MINUS.sub("-", _LEADING.sub("", loosened(text)) or text))
    text = _stripped(_NOTE.sub(r" \g<words>", text))
    if minutes := _ANGLE.fullmatch(text):
        angle = (minutes["degrees"], minutes["minutes"], minutes["seconds"] or "0")
        return Several("mixed", tuple(Leaf(Piece(part)) for part in angle))
    if (known := _known(text)) is not None:
        return known
    if _LETTERS.fullmatch(text):
        return Words(text.replace(" ", ""))
    if depth == 0 and (conditional := _conditional(text)):
        return conditional
    text = (
        _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
        if not text.startswith(("(", "[", "\\{"))
        else text
    )
    parts, between = [], []
    for part, sign in cut(text, _SEPARATOR):
        if part.strip():
            parts.append(part.strip())
            between.append("")
        if sign and between:
            between[-1] += sign[0]
    if len(parts) > 1:
        return _several(parts, between[:-1], depth)
    text = parts[0] if parts else text
    joined = [part.strip() for part, _ in cut(text, _CUP)]
    if len(joined) > 1 and all(any(sign for _, sign in cut(part, _SIGN)) for part in joined[1:]):
        return _several(joined, [" or "] * (len(joined) - 1), depth)
    if (related := _related(text, depth)) is not None:
        return related
    return _single(text, depth)


def _single(text: str, depth: int) -> Answer:
    """An answer without separators and relations outside of its brackets."""
    parts = [*cut(text, _SET_SIGN)]
    if len(parts) > 1 and all(part.strip() for part, _ in parts):
        return _combined(parts, depth)
    brackets, inner = _unwrapped(text)
    if brackets:
        return _bracketed(brackets, inner, depth)
    if _PLUS_MINUS.search(text):
        both = _both(text)
        return Several("list", tuple(_read(one, depth + 1) for one in both)) if both else Leaf(Piece(text))
    if (time := _TIME.match(text)) and (rest := pieces("0 " + text[time.end() :])) and rest[0].core == "0":
        return Ratio(tuple(part.strip() for part in time[0].split(":")), rest[0].words)
    if scaled := re.match(r"^(?P<scale>[^\\{}()]*?|\\frac\{[^{}]*\}\{[^{}]*\})\s*(?:\\cdot|\*)?\s*(?=\\begin)", text):
        matrix = _MATRIX.match(text[scaled.end() :])
        if matrix and matrix["kind"] != "vmatrix" and scaled["scale"]:
            return _matrix(matrix["rows"], bool(matrix["turned"]), depth, scaled["scale"])
    found = pieces(text)
    if not found:
        return _words(text)
    if len(found) > 1:
        return Several("mixed", tuple(Leaf(piece) for piece in found))
    piece = found[0]
    if piece.words and piece.core != text and re.search(r"[,=<>(\[]|\\in|\\begin", piece.core):
        inner_answer = _read(piece.core, depth + 1)
        if isinstance(inner_answer, Leaf):
            return Leaf(piece)
        return Several("mixed", (inner_answer, Words(" ".join(sorted(piece.words)))))
    return Leaf(piece)


def _known(text: str) -> Answer | None:
    """What has a name of its own: the reals, the empty set, a number that is spelt out."""
    if len(text) > 60:
        return None
    plain = compact(re.sub(r"\s+", "", without_fonts(text)))
    if plain in _REAL:
        return REALS
    if plain in _NOTHING:
        return EMPTY
    if found := _HALF.fullmatch(plain):
        zero = Leaf(Piece("0"))
        closed = "=" in plain or "leq" in plain or "geq" in plain
        if "<" in plain or "leq" in plain or "-" in plain:
            return Interval(_MINUS_INFINITE, zero, "(]" if closed else "()")
        return Interval(zero, _INFINITE, "[)" if closed else "()")
    if found := _ENDLESS.fullmatch(plain):
        return _MINUS_INFINITE if found[1] else _INFINITE
    if plain in _SPELT_OUT:
        return Leaf(Piece(str(_SPELT_OUT.index(plain))))
    return None


def _words(text: str) -> Words:
    plain = " ".join(re.sub(r"[^\w\s%+-]", " ", text.casefold()).split())
    plain = re.sub(r"^(?:the|a|an) ", "", plain)
    return Words({"dne": "does not exist", "does not exists": "does not exist"}.get(plain, plain))


def _stripped(text: str) -> str:
    """Without TeX groups around it, a final stop, and what sets it off."""
    for _ in range(40):
        before = text
        text = text.strip().rstrip(".,;:")
        if text.startswith("{") and text.endswith("}") and _closes_last(text, 0):
            text = text[1:-1]
        elif (found := re.match(r"\\(?:mathbf|mathrm|bm|boldsymbol|text|textbf|textrm)\s*(?=\{)", text)) and (
            _closes_last(text, found.end()) and re.search(r"[\d\\,]", text[found.end() :])
        ):
            text = text[found.end() + 1 : -1]
        if text == before:
            break
    return text


def _turned_brackets(text: str) -> str:
    """`]1,2]`, as some write `(1,2]`."""
    if re.fullmatch(r"[\[\]][^\[\]]*,[^\[\]]*[\[\]]", text) and (text[0] == "]" or text[-1] == "["):
        return f"{'(' if text[0] == ']' else '['}{text[1:-1]}{')' if text[-1] == '[' else ']'}"
    return text


def _closes_last(text: str, at: int) -> bool:
    """Whether the bracket at a place is closed by the last one of the text."""
    depth = 0
    for found in _BRACKET.finditer(text, at):
        opens = found[0] in ("(", "[", "{", "\\{", "\\langle") or found[0].startswith("\\begin")
        depth += 1 if opens else -1
        if depth <= 0:
            return found.end() == len(text) and depth == 0
    return False


def _unwrapped(text: str) -> tuple[str, str]:
    """The brackets around all of a text, as in `(]`, and what is inside; no brackets if there are none."""
    opening = next((one for one in _PAIRS if text.startswith(one)), "")
    closing = next((one for one in _PAIRS.values() if text.endswith(one)), "")
    if not (opening and closing and len(text) >= len(opening) + len(closing) and _closes_last(text, 0)):
        return "", text
    mixed = {opening, closing} & {"\\{", "\\}", "\\langle", "\\rangle"} and _PAIRS[opening] != closing
    if mixed:
        return "", text
    return {"\\{": "{", "\\langle": "("}.get(opening, opening) + {"\\}": "}", "\\rangle": ")"}.get(
        closing, closing
    ), text[len(opening) : len(text) - len(closing)].strip()


def _bracketed(brackets: str, inner: str, depth: int) -> Answer:
    if brackets == "{}":
        if builder := re.match(r"^.{1,40}?\s*(?:\||:)\s*(?=.*(?:\\in|[<>=]|\\leq|\\geq|\\neq))", inner):
            return _read(inner[builder.end() :], depth + 1)
        parts = [part.strip() for part, _ in cut(inner, re.compile("[,;]")) if part.strip()]
        items = [item for part in parts for item in _spread(_read(part, depth + 1))]
        return Several("set", tuple(items)) if items else EMPTY
    parts = [part.strip() for part, _ in cut(inner, re.compile("[,;]"))]
    if len(parts) == 1:
        if brackets in ("()", "[]") and inner:
            return _read(inner, depth + 1)
        return Leaf(Piece(f"{brackets[0]}{inner}{brackets[1]}"))
    return Several("tuple", tuple(_read(part, depth + 1) for part in parts), brackets)


def _spread(answer: Answer) -> tuple[Answer, ...]:
    """The items of a list within a list, as `\\pm 1` is one."""
    if isinstance(answer, Several) and answer.kind == "list":
        return answer.items
    return (answer,)


def _both(text: str) -> list[str]:
    """A formula once with plus and once with minus."""
    signs = [*_PLUS_MINUS.finditer(text)]
    if len(signs) > 3:
        return []
    found = []
    together = any(sign["sign"] == "mp" for sign in signs)
    for choice in range(2 if together else 2 ** len(signs)):
        said, last = "", 0
        for k, sign in enumerate(signs):
            plus = (choice == 0 if together else not choice >> k & 1) == (sign["sign"] == "pm")
            before = text[last : sign.start()]
            begins = not before.strip() and not said.strip() or before.rstrip().endswith(("(", "[", "{", ","))
            said += before + ("-" if not plus else "" if begins else "+")
            last = sign.end()
        found.append((said + text[last:]).strip())
    return found


def _combined(parts: list[tuple[str, re.Match[str] | None]], depth: int) -> Answer:
    signs = [
        "minus" if sign["minus"] or sign["sign"] != "cup" and sign["sign"] != "cap" else sign["sign"]
        for _, sign in parts
        if sign
    ]
    items = tuple(_as_set(_read(part, depth + 1)) for part, _ in parts)
    if len(set(signs)) > 1:
        return Leaf(Piece("".join(part + (sign[0] if sign else "") for part, sign in parts)))
    if signs[0] == "minus" and len(items) == 2 and items[0] == REALS:
        without = items[1]
        if isinstance(without, Several) and without.kind == "set":
            return without_points(without.items) or Combined("minus", items)
    return Combined(signs[0], items)


def without_points(points: tuple[Answer, ...]) -> Answer | None:
    """All reals but one, as two intervals; None for more, whose order only values tell."""
    if len(points) != 1:
        return None
    return Combined("cup", (Interval(_MINUS_INFINITE, points[0], "()"), Interval(points[0], _INFINITE, "()")))


def _as_set(answer: Answer) -> Answer:
    """A pair in brackets, where a set is meant, is an interval."""
    if isinstance(answer, Several) and answer.kind == "tuple" and len(answer.items) == 2:
        return Interval(answer.items[0], answer.items[1], answer.brackets)
    if isinstance(answer, Named) and isinstance(answer.value, Interval | Combined):
        return answer.value
    return answer


def _matrix(rows: str, turned: bool, depth: int, scale: str = "") -> Answer:
    found = []
    for row in rows.split("\\\\"):
        row = row.replace("\\hline", "").strip()
        if row:
            entries = [entry.strip() for entry, _ in cut(row, re.compile("&"))]
            found.append(tuple(_read(f"({scale})*({entry})" if scale else entry, depth + 1) for entry in entries))
    if turned and found and len({*map(len, found)}) == 1:
        found = [*zip(*found, strict=True)]
    return Matrix(tuple(found))


def _conditional(text: str) -> Answer | None:
    """An answer with the condition behind it."""
    if (modulo := _MODULO.search(text)) and modulo.start() > 0 and modulo[0].lstrip()[:1] in "(\\m":
        if modulo[0].lstrip()[:5] != "\\bmod" and not modulo[0].lstrip().startswith("\\mod"):
            return Conditional(_read(text[: modulo.start()], 1), f"mod {modulo[1]}")
    found = next(
        (one for part, one in cut(text, _CONDITION) if one and part.strip() and one["rest"].strip(" )]")), None
    )
    if found:
        return Conditional(_read(text[: found.start()], 1), found["rest"].strip(" )]"))
    parts = [(part, sign) for part, sign in cut(text, re.compile(r"[,;]"))]
    if len(parts) > 1:
        last, first = parts[-1][0].strip(), ",".join(part for part, _ in parts[:-1])
        if _is_condition(last, first):
            return Conditional(_read(first, 1), last)
    if (found := re.search(r"\s*\(\s*([a-zA-Z]\s*(?:\\in|\\neq|\\geq?|>|<|\\leq).*)\)$", text)) and found.start() > 0:
        if _closes_last(text, text.index("(", found.start())):
            return Conditional(_read(text[: found.start()], 1), found[1])
    return None


def _is_condition(last: str, first: str) -> bool:
    r"""Whether `k \in \mathbb{Z}`, `x > 0` only says of what the answer before it holds."""
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
    related = any(sign for _, sign in cut(first, _SIGN))
    used = bool(re.search(rf"(?<![A-Za-z\\]){re.escape(found['names'])}(?![A-Za-z])", first))
    leading = re.match(rf"^\s*{re.escape(found['names'])}\s*(?:=|\\(?:in|neq|leq|geq)(?![a-z])|<|>)", first)
    return (in_numbers or not related or "=" in first and not leading) and used and not leading


def _several(parts: list[str], between: list[str], depth: int) -> Answer:
    items: list[Answer] = []
    for part in parts:
        if (found := re.match(r"\\pm\s*(?=\()", part)) and "," in part:
            inner = part[found.end() :]
            items += [_read(inner, depth + 1), _read(_minus_tuple(inner), depth + 1)]
        else:
            items += _spread(_read(part, depth + 1))
    named = [item for item in items if isinstance(item, Named) and item.name]
    if len(named) == len(items):
        return _several_named(named, between)
    if named and named[0] is items[0] and len(named) == 1:
        if (point := _left_out(named[0].value)) and all(isinstance(item, Leaf) for item in items[1:]):
            # `x \neq 2, 3`
            return Named(named[0].name, Combined("minus", (REALS, Several("set", (point, *items[1:])))))
        # `x = 2, 3`
        return Named(named[0].name, Several("list", (named[0].value, *items[1:])))
    if items and any(item == REALS for item in items):
        items = [item for item in items if item != REALS] or [REALS]
    return Several("list", tuple(items)) if len(items) > 1 else items[0]


def _several_named(named: list[Named], between: list[str]) -> Answer:
    names = [_unindexed(one.name) if len({one.name for one in named}) == len(named) else one.name for one in named]
    if len({one.name for one in named}) == len(named):
        return Assigned(tuple((one.name, one.value) for one in named))
    if len(set(names)) > 1:
        return Several("list", tuple(named))
    if not any(isinstance(one.value, Interval | Combined) for one in named):
        return Named(named[0].name, Several("list", tuple(item for one in named for item in _spread(one.value))))
    values = tuple(one.value for one in named)
    joined = " ".join(between)
    if len(values) == 2 and all(isinstance(one, Interval) for one in values) and not re.search(r"or|vee|oder", joined):
        low = next((one for one in values if isinstance(one, Interval) and one.high == _INFINITE), None)
        high = next((one for one in values if isinstance(one, Interval) and one.low == _MINUS_INFINITE), None)
        if isinstance(low, Interval) and isinstance(high, Interval) and low is not high:
            met = Interval(low.low, high.high, low.brackets[0] + high.brackets[1])
            if "and" in joined or "wedge" in joined or "land" in joined or not _empty(met):
                return Named(named[0].name, EMPTY if _empty(met) else met)
    if any(_left_out(one) for one in values) and not re.search(r"or|vee|oder", joined):
        return Named(named[0].name, Combined("cap", values))
    flat = tuple(
        inner for one in values for inner in (one.items if isinstance(one, Combined) and one.kind == "cup" else (one,))
    )
    if re.search(r"and|land|wedge", joined):
        return Named(named[0].name, Combined("cap", values))
    return Named(named[0].name, Combined("cup", flat))


def _left_out(answer: Answer) -> Answer | None:
    """The point that all reals but it leave out."""
    if isinstance(answer, Combined) and len(answer.items) == 2 and answer.kind == "cup":
        low, high = answer.items
        if isinstance(low, Interval) and isinstance(high, Interval) and low.high == high.low:
            if (low.low, high.high, low.brackets, high.brackets) == (_MINUS_INFINITE, _INFINITE, "()", "()"):
                return low.high
    return None


def _empty(interval: Interval) -> bool:
    low, high = interval.low, interval.high
    if not (isinstance(low, Leaf) and isinstance(high, Leaf)):
        return False
    try:
        return float(low.piece.core) > float(high.piece.core)
    except ValueError:
        return False


def _minus_tuple(text: str) -> str:
    brackets, inner = _unwrapped(text)
    if not brackets:
        return f"-{text}"
    return "(" + ",".join(f"-({part.strip()})" for part, _ in cut(inner, re.compile(","))) + ")"


def _unindexed(name: str) -> str:
    return re.sub(r"_(?:\d|\{\d+\})$", "", name)


def _related(text: str, depth: int) -> Answer | None:
    """Equations, inequalities and what is an element of something; None without such a sign."""
    parts = [*cut(text, _SIGN)]
    if len(parts) == 1:
        return None
    for k in range(len(parts) - 1, 0, -1):
        sign = parts[k - 1][1]
        if sign and sign[0] in _IMPLIES and parts[k][0].strip():
            return _read(text[sign.end() :], depth + 1)
    sides = [part.strip() for part, _ in parts]
    signs = [_PLAIN_SIGNS.get(sign[0], sign[0]) for _, sign in parts if sign]
    if sides[0] == "" and signs[0] in ("=", "~"):
        sides, signs = sides[1:], signs[1:]
        if not signs:
            return _read(sides[0], depth + 1)
    if "~" in signs and sides[0]:
        at = signs.index("~")
        if at or not _NAME.fullmatch(sides[0]):
            sides, signs = sides[: at + 1], signs[:at]
        else:
            signs = ["=" if sign == "~" else sign for sign in signs]
        if not signs:
            return _read(sides[0], depth + 1)
    if not all(sides):
        return Leaf(Piece(text))
    relation = Relation(tuple(sides), tuple(signs))
    if set(signs) == {"="}:
        return _equated(relation, depth)
    if len(signs) == 1:
        return _related_once(relation, depth)
    if set(signs) <= {"<", "<="} or set(signs) <= {">", ">="}:
        return _chained(relation, depth)
    return relation


def _equated(relation: Relation, depth: int) -> Answer:
    sides = relation.sides
    if len(sides) == 2 and is_name(sides[1]) and not is_name(sides[0]) and "," not in sides[0]:
        sides = sides[::-1]
    if names := _named_tuple(sides[0]):
        value = _read(sides[-1], depth + 1)
        if isinstance(value, Several) and value.kind == "tuple" and len(value.items) == len(names):
            return Assigned(tuple(zip(names, value.items, strict=True)), ordered=True)
        return Named(",".join(names), value)
    if is_name(sides[0]):
        if len(sides) > 2 and all(is_name(side) and len(side) < 3 for side in sides[:-1]):
            value = _read(sides[-1], depth + 1)
            return Assigned(tuple((_name(side), value) for side in sides[:-1]))
        return Named(_name(sides[0]), _read(sides[-1], depth + 1), Relation((sides[0], sides[-1]), ("=",)))
    if all(not re.search(r"[A-Za-z,]", _CLOSED.sub("", side)) for side in sides):
        if len({_name(side) for side in sides}) == 1:
            return relation
        return Named("", _read(sides[-1], depth + 1))
    if re.match(r"^\\?(?:sin|cos|tan|cot|sec|csc|log|ln|lim|gcd|lcm)", sides[0]):
        return Named(_name(sides[0]), _read(sides[-1], depth + 1), Relation((sides[0], sides[-1]), ("=",)))
    return Relation((sides[0], sides[-1]), ("=",))


def _related_once(relation: Relation, depth: int) -> Answer:
    (left, right), sign = relation.sides, relation.signs[0]
    if sign == "in":
        return Named(_name(left), _as_set(_read(right, depth + 1))) if len(left) < 40 else relation
    if sign in ("maps", "to", "\\equiv", "\\cong"):
        if sign == "maps":
            return Named("", _read(right, depth + 1))
        return Named(_name(left), _read(right, depth + 1)) if is_name(left) else relation
    if sign == "!=":
        if is_name(left) and is_name(right):
            return Relation(tuple(sorted(relation.sides)), relation.signs)
        if is_name(left):
            points = _spread(_read(right, depth + 1))
            return Named(_name(left), without_points(points) or Combined("minus", (REALS, Several("set", points))))
        return relation
    if sign in ("<", "<=", ">", ">="):
        inside, moved = _absolute(left)
        if inside and not _uses(right, inside):
            value, closed = _read(right, depth + 1), "=" in sign
            minus = (
                _read(f"-({right})", depth + 1) if not _FLAT_NUMBER.fullmatch(right) else _read(f"-{right}", depth + 1)
            )
            if moved:
                # `|x-3| < 5` is `3-5 < x < 3+5`.
                value, minus = _read(f"({right})-({moved})", depth + 1), _read(f"-({right})-({moved})", depth + 1)
            if sign[0] == "<":
                return Named(inside, Interval(minus, value, "[]" if closed else "()"))
            low = Interval(_MINUS_INFINITE, minus, "(]" if closed else "()")
            return Named(inside, Combined("cup", (low, Interval(value, _INFINITE, "[)" if closed else "()"))))
        return _chained(relation, depth)
    return relation


def _chained(relation: Relation, depth: int) -> Answer:
    sides, signs = relation.sides, relation.signs
    if signs[0][0] == ">":
        sides, signs = sides[::-1], tuple(sign.replace(">", "<") for sign in signs[::-1])
    closed = ["=" in sign for sign in signs]
    if len(sides) == 3 and is_name(sides[1]) and not _uses(sides[0] + " " + sides[2], sides[1]):
        low, high = _read(sides[0], depth + 1), _read(sides[2], depth + 1)
        return Named(_name(sides[1]), Interval(low, high, ("[" if closed[0] else "(") + ("]" if closed[1] else ")")))
    if len(sides) == 2:
        left, right = sides
        if is_name(left) and not (is_name(right) and _sure_name(right)) and not _uses(right, left):
            high = _read(right, depth + 1)
            return Named(
                _name(left), Interval(_MINUS_INFINITE, high, "(]" if closed[0] else "()"), Relation(sides, signs)
            )
        if is_name(right) and not _uses(left, right):
            low = _read(left, depth + 1)
            return Named(_name(right), Interval(low, _INFINITE, "[)" if closed[0] else "()"), Relation(sides, signs))
    return Relation(sides, signs)


def _sure_name(text: str) -> bool:
    return len(text) == 1


def _absolute(text: str) -> tuple[str, str]:
    """The variable within `|x|`, and what is added to it there."""
    found = re.fullmatch(r"\|\s*([A-Za-z])\s*([+-]\s*(?:[\d./]+|\\frac\{\d+\}\{\d+\}))?\s*\|", text)
    return (found[1], found[2] or "") if found else ("", "")


def _uses(text: str, name: str) -> bool:
    return bool(re.search(rf"(?<![A-Za-z\\]){re.escape(name)}(?![A-Za-z])", text))


def is_name(text: str) -> bool:
    """Whether a side of an equation only names the other."""
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


def _name(text: str) -> str:
    return compact(bare(text))


def _named_tuple(text: str) -> list[str]:
    brackets, inner = _unwrapped(text)
    parts = [part.strip() for part, _ in cut(inner, re.compile(","))]
    return [_name(part) for part in parts] if brackets == "()" and len(parts) > 1 and all(map(is_name, parts)) else []


def substituted(answer: Answer, old: str, new: str) -> Answer | None:
    """The answer with another letter for one of its variables; None if that one is there already."""
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
