r"""Exact numbers from any spelling: `1,234.5`, `\frac{1}{2}`, `2 1/2`, `3\times10^8`, `5 million`. Pure."""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from palign_hf.grading.normalization import bare, compact, unwrapped
from palign_hf.grading.units import MEANING, Piece, conflict, loosened, pieces


_MOST_DIGITS, _MOST_POWER = 400, 400
# Fewest significant digits of a rounded decimal that counts as the fraction it rounds.
ROUNDED = 6
# Fewest decimal places, and significant digits, of a decimal that counts as the irrational value it rounds.
_PLACES, _SIGNIFICANT = 6, 4

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)"
_REPEATING = re.compile(r"(?P<whole>\d*)\.(?P<first>\d*)\\(?:overline|bar)\s*\{(?P<again>\d+)\}")
_DECIMAL = re.compile(rf"(?P<whole>{_DIGITS})?(?P<rest>\.\d*)?")
_POWER = re.compile(
    r"(?:(?P<head>[\d., ]+?)\s*(?:(?:\*|\\times|\\cdot)\s*10\s*\^\s*\{?|(?<=\d)[eE])|10\s*\^\s*\{?)"
    r"\s*(?P<power>[+-]?\d+)\s*\}?"
)
_FRACTION = re.compile(
    r"\\frac\s*\{(?P<over>[^{}]*)\}\s*\{(?P<under>[^{}]*)\}|(?P<over2>[^/\s]+)\s*/\s*(?P<under2>[^/\s]+)"
)
_MIXED = re.compile(r"(?P<whole>\d+)\s*(?P<part>\\frac.*)|(?P<whole2>\d+)\s+(?P<part2>\d+\s*/\s*\d+)")
_BASED = re.compile(r"(?P<digits>-?[0-9A-F]+)_(?P<base>\d|\{\d+\})")
_BASE_WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_BASE_WORD = re.compile(rf"(?<=[0-9A-F])_\{{?({'|'.join(_BASE_WORDS)})\}}?$")
_FLAT_FRACTION = re.compile(r"[-+]?(?:\\frac\{\d+\}\{\d+\}|\d+/\d+)", re.ASCII)
# A number in digits only.
FLAT_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?<=[\d.])", re.ASCII)
_INFINITE = re.compile(r"([-+]?)\s*(?:\\infty|infinity|inf|oo)")


@dataclass(frozen=True, slots=True)
class Number:
    """An exact number.

    Args:
        value (`Fraction`): Its value, before the percent sign is applied.
        percent (`bool`): Whether a percent sign follows.
        decimals (`int`): The number of decimal places that are written.
    """

    value: Fraction
    percent: bool
    decimals: int


@lru_cache(maxsize=4096)
def read_number(text: str) -> Number | None:
    """Parse a number, with or without a unit.

    Args:
        text (`str`): An answer.

    Returns:
        `Number`, *optional*: The number; `None` for any other answer.
    """
    if found := _plain(text):
        return found
    if not any(map(str.isdigit, text)):
        return None
    found_pieces = pieces(loosened(bare(text)))
    if len(found_pieces) != 1 or found_pieces[0].words & MEANING:
        return None
    return number_of(found_pieces[0])


@lru_cache(maxsize=8192)
def number_of(piece: Piece) -> Number | None:
    """Parse the number of a piece.

    Args:
        piece (`Piece`): A number or formula with its unit.

    Returns:
        `Number`, *optional*: The number; `None` for a formula.
    """
    text, sign = piece.core, piece.scale
    while text[:1] in ("+", "-"):
        sign, text = (-sign if text[0] == "-" else sign), text[1:].lstrip()
    if text.startswith("(") and text.endswith(")") and re.fullmatch(r"\([^()]*\)", text):
        text = text[1:-1].strip()
        while text[:1] in ("+", "-"):
            sign, text = (-sign if text[0] == "-" else sign), text[1:].lstrip()
    found = _value(text)
    return Number(sign * found[0], piece.percent, found[1]) if found else None


def _plain(text: str) -> Number | None:
    if re.fullmatch(r"-?[0-9]{1,40}", text):
        return Number(Fraction(int(text)), False, 0)
    return None


def _value(text: str) -> tuple[Fraction, int] | None:
    if sum(map(str.isdigit, text)) > _MOST_DIGITS or not text.isascii():
        return None
    if (decimal := _DECIMAL.fullmatch(text)) and any(map(str.isdigit, text)):
        rest = decimal["rest"] or ""
        return Fraction(re.sub("[, ]", "", decimal["whole"] or "0") + (rest if len(rest) > 1 else "")), len(rest[1:])
    if power := _POWER.fullmatch(text):
        head, exponent = _value(power["head"]) if power["head"] else (Fraction(1), 0), int(power["power"])
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
        over, under = (
            read_number(side.strip()) if "\\frac" not in side and "/" not in side else None for side in sides
        )
        if over and under and under.value and not (over.percent or under.percent):
            return over.value / under.value, 0
    return None


def agree(one: Number, other: Number) -> bool:
    """Whether two numbers are equal, where a percent sign is optional and a long decimal may be rounded.

    Args:
        one (`Number`): A number.
        other (`Number`): Another number.

    Returns:
        `bool`: Whether they are equal.
    """
    if one.value == other.value:
        return True
    if one.percent != other.percent:
        percent, plain = (one, other) if one.percent else (other, one)
        return percent.value / 100 == plain.value
    for decimal, exact in ((one, other), (other, one)):
        if decimal.decimals and _digits(decimal) >= ROUNDED and exact.value.denominator > 1:
            if not exact.decimals and abs(decimal.value - exact.value) * 10**decimal.decimals < 1:
                return True
            if exact.decimals > decimal.decimals >= ROUNDED:
                return abs(decimal.value - exact.value) * 10**decimal.decimals * 2 <= 1
    return False


def is_rounded(number: Number) -> bool:
    """Whether a decimal has enough digits to stand for the irrational value that it rounds.

    Args:
        number (`Number`): A number.

    Returns:
        `bool`: Whether it has.
    """
    return number.decimals >= _PLACES and _digits(number) >= _SIGNIFICANT


def _digits(number: Number) -> int:
    return len(str(abs(number.value.numerator * 10**number.decimals // number.value.denominator)))


def same_pieces(one: Piece, other: Piece) -> bool | None:
    """Compare two numbers or formulas without algebra.

    Args:
        one (`Piece`): A number or formula with its unit.
        other (`Piece`): Another one.

    Returns:
        `bool`, *optional*: Whether they are equal; `None` where only algebra can decide.
    """
    if conflict(one.words, other.words):
        return False
    text, text2 = (_BASE_WORD.sub(_base, compact(some.core)) for some in (one, other))
    if text == text2 and one.scale == other.scale:
        return True
    infinite, infinite2 = _INFINITE.fullmatch(text), _INFINITE.fullmatch(text2)
    if infinite or infinite2:
        return bool(infinite and infinite2) and (infinite[1] == "-") == (infinite2[1] == "-")  # type: ignore[index]
    number, number2 = number_of(one), number_of(other)
    if number and number2:
        in_radians = [some for some, piece in ((number, one), (number2, other)) if not piece.degree]
        turned = len(in_radians) == 1 and is_rounded(in_radians[0])
        return agree(number, number2) or (None if turned else False)
    if _BASED.fullmatch(text) or _BASED.fullmatch(text2):
        return _same_based(text, text2)
    letters = [len(some) == 1 and some.isalpha() and some not in "eE" for some in (text, text2)]
    if all(letters) or any(letters) and (number or number2):
        return False
    return None


def _base(found: re.Match[str]) -> str:
    base = str(_BASE_WORDS.index(found[1]) + 2)
    return f"_{base}" if len(base) == 1 else f"_{{{base}}}"


def _same_based(one: str, other: str) -> bool | None:
    """Compare numerals with a base; a missing base counts as the base of the other numeral."""
    based, based2 = _BASED.fullmatch(one), _BASED.fullmatch(other)
    if based and based2:
        return False
    numeral, plain = (based, other) if based else (based2, one)
    assert numeral is not None
    return numeral["digits"] == plain if re.fullmatch(r"-?\d+", plain) else None


def flat_numbers(text: str) -> tuple[str, list[str]] | None:
    """Split a list that consists of numbers only, without a full parse.

    Args:
        text (`str`): An answer of any length.

    Returns:
        `tuple[str, list[str]]`, *optional*: The brackets and the numbers; `None` for any other text.
    """
    brackets, inner = unwrapped(bare(text))
    parts = [part.strip() for part in inner.split(",")]
    flat = all(FLAT_NUMBER.fullmatch(part) or _FLAT_FRACTION.fullmatch(part) for part in parts)
    return (brackets, parts) if flat and len(parts) > 1 else None


def same_number_lists(one: str, other: str) -> bool:
    """Compare two lists that consist of numbers only.

    Args:
        one (`str`): An answer of any length.
        other (`str`): Another answer.

    Returns:
        `bool`: Whether both are such lists and the same; sets and lists without brackets are unordered.
    """
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


def plain_integer(text: str) -> Fraction | None:
    """Parse an integer of at most 39 characters without layout.

    Args:
        text (`str`): An answer.

    Returns:
        `Fraction`, *optional*: The integer; `None` for any other text.
    """
    return Fraction(int(text)) if len(text) < 40 and re.fullmatch(r"-?[0-9]+", text) else None
