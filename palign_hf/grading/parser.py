r"""Parser of answers: numbers and formulas, words, lists, tuples, intervals, equations, ... Pure.

    read(r"x=2 \text{ or } x=3")    # Named("x", Several("list", (Leaf("2"), Leaf("3"))))

Formulas stay text here: `formulas.py` parses them once two of them have to be compared.
"""

import re
from functools import lru_cache

from palign_hf.grading.answers import (
    EMPTY,
    INFINITE,
    MINUS_INFINITE,
    REALS,
    Answer,
    Combined,
    Leaf,
    Matrix,
    Named,
    NumberInterval,
    Ratio,
    Several,
    Words,
    as_set,
    left_out,
    spread,
    without_points,
)
from palign_hf.grading.normalization import (
    bare,
    closes_last,
    compact,
    is_words,
    split_outside,
    unwrapped,
    without_fonts,
)
from palign_hf.grading.numerals import FLAT_NUMBER
from palign_hf.grading.relations import has_relation, join_named, parse_conditional, parse_relation
from palign_hf.grading.units import Piece, loosened, pieces


_DEEPEST = 25
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,])")
_SEPARATOR = re.compile(
    r"(?P<comma>[,;])|(?P<word>(?<![A-Za-z\\])(?:and|or|und|oder)(?![A-Za-z]))|(?P<sign>\\(?:land|lor|wedge|vee)(?![A-Za-z]))"
)
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
_SPELT_OUT = "zero one two three four five six seven eight nine ten eleven twelve".split()


@lru_cache(maxsize=8192)
def read(text: str) -> Answer:
    """Parse an answer.

    Args:
        text (`str`): An answer in LaTeX, Unicode or plain text.

    Returns:
        `Answer`: Its kind and parts. Any text has one: what is no known kind becomes a `Leaf`.
    """
    return _read(bare(text), 0)


def _read(text: str, depth: int) -> Answer:
    text = _turned_brackets(_stripped(text))
    if depth > _DEEPEST:
        return Leaf(Piece(text))
    if FLAT_NUMBER.fullmatch(text):
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
    if depth == 0 and (conditional := parse_conditional(text, lambda part: _read(part, 1))):
        return conditional
    if not text.startswith(("(", "[", "\\{")):
        text = _THOUSANDS.sub(lambda found: found[0].replace(",", ""), text)
    parts, between = [], []
    for part, sign in split_outside(text, _SEPARATOR):
        if part.strip():
            parts.append(part.strip())
            between.append("")
        if sign and between:
            between[-1] += sign[0]
    if len(parts) > 1:
        return _several(parts, between[:-1], depth)
    text = parts[0] if parts else text
    joined = [part.strip() for part, _ in split_outside(text, _CUP)]
    if len(joined) > 1 and all(map(has_relation, joined[1:])):
        return _several(joined, [" or "] * (len(joined) - 1), depth)
    if (related := parse_relation(text, lambda part: _read(part, depth + 1))) is not None:
        return related
    return _single(text, depth)


def _single(text: str, depth: int) -> Answer:
    """An answer without separators and relations outside of its brackets."""
    parts = [*split_outside(text, _SET_SIGN)]
    if len(parts) > 1 and all(part.strip() for part, _ in parts):
        return _combined(parts, depth)
    brackets, inner = unwrapped(text)
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
    """An answer with a name: the reals, the empty set, infinity, or a number in words."""
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
            return NumberInterval(MINUS_INFINITE, zero, "(]" if closed else "()")
        return NumberInterval(zero, INFINITE, "[)" if closed else "()")
    if found := _ENDLESS.fullmatch(plain):
        return MINUS_INFINITE if found[1] else INFINITE
    if plain in _SPELT_OUT:
        return Leaf(Piece(str(_SPELT_OUT.index(plain))))
    return None


def _words(text: str) -> Words:
    plain = " ".join(re.sub(r"[^\w\s%+-]", " ", text.casefold()).split())
    plain = re.sub(r"^(?:the|a|an) ", "", plain)
    return Words({"dne": "does not exist", "does not exists": "does not exist"}.get(plain, plain))


def _stripped(text: str) -> str:
    """The text without TeX groups, font commands around it, and final punctuation."""
    for _ in range(40):
        before = text
        text = text.strip().rstrip(".,;:")
        if text.startswith("{") and text.endswith("}") and closes_last(text, 0):
            text = text[1:-1]
        elif (found := re.match(r"\\(?:mathbf|mathrm|bm|boldsymbol|text|textbf|textrm)\s*(?=\{)", text)) and (
            closes_last(text, found.end()) and re.search(r"[\d\\,]", text[found.end() :])
        ):
            text = text[found.end() + 1 : -1]
        if text == before:
            break
    return text


def _turned_brackets(text: str) -> str:
    """Rewrites the notation `]1,2]` as `(1,2]`."""
    if re.fullmatch(r"[\[\]][^\[\]]*,[^\[\]]*[\[\]]", text) and (text[0] == "]" or text[-1] == "["):
        return f"{'(' if text[0] == ']' else '['}{text[1:-1]}{')' if text[-1] == '[' else ']'}"
    return text


def _bracketed(brackets: str, inner: str, depth: int) -> Answer:
    if brackets == "{}":
        if builder := re.match(r"^.{1,40}?\s*(?:\||:)\s*(?=.*(?:\\in|[<>=]|\\leq|\\geq|\\neq))", inner):
            return _read(inner[builder.end() :], depth + 1)
        parts = [part.strip() for part, _ in split_outside(inner, re.compile("[,;]")) if part.strip()]
        items = [item for part in parts for item in spread(_read(part, depth + 1))]
        return Several("set", tuple(items)) if items else EMPTY
    parts = [part.strip() for part, _ in split_outside(inner, re.compile("[,;]"))]
    if len(parts) == 1:
        if brackets in ("()", "[]") and inner:
            return _read(inner, depth + 1)
        return Leaf(Piece(f"{brackets[0]}{inner}{brackets[1]}"))
    return Several("tuple", tuple(_read(part, depth + 1) for part in parts), brackets)


def _both(text: str) -> list[str]:
    """A formula once with plus and once with minus."""
    signs = [*_PLUS_MINUS.finditer(text)]
    if len(signs) > 3:
        return []
    found = []
    together = any(sign["sign"] == "mp" for sign in signs)
    for choice in range(2 if together else 2 ** len(signs)):
        formula, last = "", 0
        for k, sign in enumerate(signs):
            plus = (choice == 0 if together else not choice >> k & 1) == (sign["sign"] == "pm")
            before = text[last : sign.start()]
            begins = not before.strip() and not formula.strip() or before.rstrip().endswith(("(", "[", "{", ","))
            formula += before + ("-" if not plus else "" if begins else "+")
            last = sign.end()
        found.append((formula + text[last:]).strip())
    return found


def _combined(parts: list[tuple[str, re.Match[str] | None]], depth: int) -> Answer:
    signs = [
        "minus" if sign["minus"] or sign["sign"] != "cup" and sign["sign"] != "cap" else sign["sign"]
        for _, sign in parts
        if sign
    ]
    items = tuple(as_set(_read(part, depth + 1)) for part, _ in parts)
    if len(set(signs)) > 1:
        return Leaf(Piece("".join(part + (sign[0] if sign else "") for part, sign in parts)))
    if signs[0] == "minus" and len(items) == 2 and items[0] == REALS:
        without = items[1]
        if isinstance(without, Several) and without.kind == "set":
            return without_points(without.items) or Combined("minus", items)
    return Combined(signs[0], items)


def _matrix(rows: str, turned: bool, depth: int, scale: str = "") -> Answer:
    found = []
    for row in rows.split("\\\\"):
        row = row.replace("\\hline", "").strip()
        if row:
            entries = [entry.strip() for entry, _ in split_outside(row, re.compile("&"))]
            found.append(tuple(_read(f"({scale})*({entry})" if scale else entry, depth + 1) for entry in entries))
    if turned and found and len({*map(len, found)}) == 1:
        found = [*zip(*found, strict=True)]
    return Matrix(tuple(found))


def _several(parts: list[str], between: list[str], depth: int) -> Answer:
    items: list[Answer] = []
    for part in parts:
        if (found := re.match(r"\\pm\s*(?=\()", part)) and "," in part:
            inner = part[found.end() :]
            items += [_read(inner, depth + 1), _read(_minus_tuple(inner), depth + 1)]
        else:
            items += spread(_read(part, depth + 1))
    named = [item for item in items if isinstance(item, Named) and item.name]
    if len(named) == len(items):
        return join_named(named, between)
    if named and named[0] is items[0] and len(named) == 1:
        if (point := left_out(named[0].value)) and all(isinstance(item, Leaf) for item in items[1:]):
            # `x \neq 2, 3`
            return Named(named[0].name, Combined("minus", (REALS, Several("set", (point, *items[1:])))))
        # `x = 2, 3`
        return Named(named[0].name, Several("list", (named[0].value, *items[1:])))
    if items and any(item == REALS for item in items):
        items = [item for item in items if item != REALS] or [REALS]
    return Several("list", tuple(items)) if len(items) > 1 else items[0]


def _minus_tuple(text: str) -> str:
    brackets, inner = unwrapped(text)
    if not brackets:
        return f"-{text}"
    return "(" + ",".join(f"-({part.strip()})" for part, _ in split_outside(inner, re.compile(","))) + ")"
