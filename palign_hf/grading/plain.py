r"""Whether two answers are the same, as far as that needs no algebra: numbers, words, letters, lists of them. Pure.

Most answers are numbers. `same` says yes or no where it is sure, and None where only algebra can tell. How an answer
is dressed doesn't count: `$`, `\text{}`, `\dfrac`, a thousands comma, a leading zero, a final stop, `x =` before it.
Units don't either, nor a percent sign: `50\%` is the same as both `50` and `0.5`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from palign_hf.grading.dress import bare, compact, is_words, without_fonts, without_units


# Nobody means more than that by an answer; longer ones are compared letter for letter.
LONGEST = 2_000
# No answer has brackets so deep, and the parser's time grows with them without bounds.
DEEPEST = 30
_MOST_DIGITS, _MOST_POWER = 400, 400
# From so many significant digits on, a rounded decimal counts as the fraction that it rounds.
_ROUNDED = 6

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_REPEATING = re.compile(r"(?P<whole>\d*)\.(?P<first>\d*)\\(?:overline|bar)\s*\{(?P<again>\d+)\}")
_DECIMAL = re.compile(rf"(?P<whole>{_DIGITS})?(?P<rest>\.\d*)?")
_POWER = re.compile(
    r"(?P<head>[\d., ]+?)\s*(?:(?:\*|\\times|\\cdot)\s*10\s*\^\s*\{?|(?<=\d)[eE])\s*(?P<power>[+-]?\d+)\s*\}?"
)
_FRACTION = re.compile(
    r"\\frac\s*\{(?P<over>[^{}]*)\}\s*\{(?P<under>[^{}]*)\}|(?P<over2>[^/\s]+)\s*/\s*(?P<under2>[^/\s]+)"
)
_MIXED = re.compile(r"(?P<whole>\d+)\s*(?P<part>\\frac.*)|(?P<whole2>\d+)\s+(?P<part2>\d+\s*/\s*\d+)")
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SCALE = re.compile(rf"(?P<head>[^A-Za-z]*\d\.?)\s*(?P<scale>{'|'.join(_SCALES)})", re.IGNORECASE)
_BASED = re.compile(r"(?P<digits>-?[0-9A-F]+)_(?P<base>\d|\{\d+\})")
# What a value may be called: x, x_1, f(x), \theta, \angle ABC, AB, \text{Area}.
_NAME = re.compile(r"\\?[A-Za-z]+(?:_(?:\w|\{\w+\}))?(?:\([A-Za-z](?:,[A-Za-z])*\))?'*")
# The commands that a calculation may have.
_CALCULATES = re.compile(r"\\(?:frac|times|cdot|div|sqrt)(?![A-Za-z])")
_EQUALS = re.compile(r"(?<![<>!\\=])=(?!=)")
_IN = re.compile(r"\\in(?![A-Za-z])")
_RELATES = re.compile(rf"{_EQUALS.pattern}|{_IN.pattern}")
_BRACKETS = {"(": ")", "[": "]", "\\{": "\\}"}
# A set, or solutions one after the other: without order.
_UNORDERED = {"\\{", ""}
# An interval, a point, a matrix, a union: never a number.
_STRUCTURED = re.compile(r"^[(\[](?:[^()\[\]]|\([^()\[\]]*\))*,.*[)\]]$|\\begin\b|\\cup\b")
_SEVERAL = re.compile(r"[,;]|\b(?:and|or)\b")


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value, whether a percent sign followed, and the digits of a decimal after its point."""

    value: Fraction
    percent: bool
    decimals: int


def same(one: str, other: str) -> bool | None:
    """Whether two answers are the same: yes, no, or None where only algebra can tell. Symmetric; never raises."""
    if max(len(one), len(other)) > LONGEST:
        return one.strip() == other.strip() != ""
    one, other = bare(one), bare(other)
    if not (one and other):
        return False
    if compact(one) == compact(other):
        return True
    (name, value), (name2, value2) = _assigned(one), _assigned(other)
    if name is not None or name2 is not None:
        plain = not (_RELATES.search(value) or _RELATES.search(value2))
        named_alike = name is None or name2 is None or compact(name) == compact(name2)
        return same(value, value2) if plain and named_alike else None
    number, number2 = read_number(one), read_number(other)
    if number and number2:
        return _agree(number, number2)
    if _BASED.fullmatch(compact(one)) or _BASED.fullmatch(compact(other)):
        return _same_based(compact(one), compact(other))
    if (number or number2) and _STRUCTURED.search(other if number else one):
        return False
    kinds = {_kind(one, number), _kind(other, number2)}
    if None not in kinds and kinds != {"words"}:
        return False
    if kinds == {"words"}:
        # Unless it's said to be a text, `abcd` is a product, and `bacd` the same.
        told = "\\" in one + other or sorted(compact(one)) != sorted(compact(other))
        return False if told else None
    return _same_lists(one, other)


@lru_cache(maxsize=4096)
def read_number(text: str) -> Number | None:
    """A number with or without its unit, exactly; None for everything else."""
    text, scale = _scaled(text)
    text, percent = without_units(text)
    sign = scale
    while text[:1] in ("+", "-"):
        sign, text = (-sign if text[0] == "-" else sign), text[1:].lstrip()
    found = _value(text)
    return found and Number(sign * found[0], percent, found[1])


def _scaled(text: str) -> tuple[str, int]:
    """A number in words behind one in digits: `5 million`."""
    plain = without_fonts(text)
    found = _SCALE.fullmatch(plain)
    return (found["head"], _SCALES[found["scale"].lower()]) if found else (text, 1)


def _value(text: str) -> tuple[Fraction, int] | None:
    if sum(map(str.isdigit, text)) > _MOST_DIGITS or not text.isascii():
        return None
    if (decimal := _DECIMAL.fullmatch(text)) and any(map(str.isdigit, text)):
        rest = decimal["rest"] or ""
        return Fraction(re.sub("[, ]", "", decimal["whole"] or "0") + (rest if len(rest) > 1 else "")), len(rest[1:])
    if power := _POWER.fullmatch(text):
        head, exponent = _value(power["head"]), int(power["power"])
        return (head[0] * Fraction(10) ** exponent, 0) if head and abs(exponent) <= _MOST_POWER else None
    if repeating := _REPEATING.fullmatch(text):
        first = Fraction(f"{repeating['whole'] or 0}.{repeating['first'] or 0}")
        places = len(repeating["first"])
        return first + Fraction(int(repeating["again"]), (10 ** len(repeating["again"]) - 1) * 10**places), 0
    if mixed := _MIXED.fullmatch(text):
        part = _value(mixed["part"] or mixed["part2"])
        return (int(mixed["whole"] or mixed["whole2"]) + part[0], 0) if part else None
    if fraction := _FRACTION.fullmatch(text):
        sides = [fraction[name] or fraction[f"{name}2"] or "" for name in ("over", "under")]
        over, under = (read_number(side) if "\\frac" not in side and "/" not in side else None for side in sides)
        if over and under and under.value and not (over.percent or under.percent):
            return over.value / under.value, 0
    return None


def _agree(one: Number, other: Number) -> bool:
    if one.value == other.value:
        return True
    if one.percent != other.percent:
        percent, plain = (one, other) if one.percent else (other, one)
        return percent.value / 100 == plain.value
    for decimal, exact in ((one, other), (other, one)):
        digits = len(str(abs(decimal.value.numerator * 10**decimal.decimals // decimal.value.denominator)))
        if decimal.decimals and not exact.decimals and exact.value.denominator > 1 and digits >= _ROUNDED:
            return abs(decimal.value - exact.value) * 10**decimal.decimals < 1
    return False


def _assigned(text: str) -> tuple[str | None, str]:
    """What is called so, and what it is: `x` and `5` for `x = 5`, an empty name for `3*4 = 12`; None for no name."""
    sign = _IN.search(text) or _EQUALS.search(text)
    if sign is None:
        return None, text
    name, value = text[: sign.start()].strip(), text[sign.end() :].strip()
    if _NAME.fullmatch(compact(bare(name))) and value:
        return bare(name), _EQUALS.split(value)[-1].strip() if not _SEVERAL.search(value) else value
    parts = [part.strip() for part in _EQUALS.split(text)]
    sums = all(part and not re.search(r"[A-Za-z,]", _CALCULATES.sub("", part)) for part in parts)
    return ("", parts[-1]) if sums else (None, text)


def _kind(text: str, number: Number | None) -> str | None:
    if number:
        return "number"
    plain = compact(text)
    if len(plain) == 1 and plain.isalpha() and plain not in "eE":
        return plain
    return "words" if is_words(text) else None


def _same_based(one: str, other: str) -> bool | None:
    """Numerals of a base: who leaves the base out means the same one, and two bases are two numerals."""
    based, based2 = _BASED.fullmatch(one), _BASED.fullmatch(other)
    if based and based2:
        return False
    numeral, plain = (based, other) if based else (based2, one)
    assert numeral is not None
    return numeral["digits"] == plain if re.fullmatch(r"-?\d+", plain) else None


def _same_lists(one: str, other: str) -> bool | None:
    if max(depths(one + other), default=0) > DEEPEST:
        return None
    (bracket, parts), (bracket2, parts2) = _listed(one), _listed(other)
    if len(parts) < 2 and len(parts2) < 2 and "\\{" not in (bracket, bracket2):
        return None
    numbers, numbers2 = [list(map(read_number, some)) for some in (parts, parts2)]
    plain = all(numbers) and all(numbers2)
    if {bracket, bracket2} <= _UNORDERED:
        if plain:
            values, values2 = ({number.value for number in some if number} for some in (numbers, numbers2))
            return values == values2
        if all(_kind(part, None) for part in parts + parts2):
            return set(map(compact, parts)) == set(map(compact, parts2))
        return True if _in_order(parts, parts2) else None
    if bracket == bracket2 or {bracket, bracket2} == {"(", ""}:
        verdict = _in_order(parts, parts2)
        return verdict if verdict or plain or bracket == bracket2 else None
    return None


def _in_order(parts: list[str], parts2: list[str]) -> bool | None:
    if len(parts) != len(parts2):
        return False
    verdicts = [same(part, part2) for part, part2 in zip(parts, parts2, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _listed(text: str) -> tuple[str, list[str]]:
    """The brackets around an answer (none, or as in `(]`), and what stands between the commas inside."""
    text = without_fonts(text) if text.startswith("\\text") else text
    if text.startswith("\\pm") and "," not in text and text.count("\\pm") == 1:
        return "", [text[3:].strip(), f"-{text[3:].strip()}"]
    opening = next((bracket for bracket in _BRACKETS if text.startswith(bracket)), "")
    closing = next((bracket for bracket in _BRACKETS.values() if text.endswith(bracket)), "")
    if opening and closing and 0 not in list(depths(text))[len(opening) - 1 : -1]:
        inner = text[len(opening) : len(text) - len(closing)]
        name = opening if _BRACKETS[opening] == closing else opening + closing
    else:
        inner, name = text, ""
    cuts = [-1, *(k for k, depth in enumerate(depths(inner)) if depth == 0 and inner[k] == ","), len(inner)]
    return name, [inner[start + 1 : end].strip() for start, end in zip(cuts, cuts[1:], strict=False)]


def depths(text: str) -> Iterator[int]:
    """How deep in brackets each character stands; a closing one stands outside of what it closes."""
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        yield depth
