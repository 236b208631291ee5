"""JSON parsing that keeps the digits of numbers and limits nesting.

A number that a 64-bit float can't hold exactly stays the written text: a gold answer is never rounded.
"""

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any


# Nesting limit of arrays and objects. No dataset needs more, and the parsers of other libraries recurse: pyarrow's
# crashes the process at some thousands of levels.
MOST_LEVELS = 200
# Beyond it, neighbouring integers are one float.
_EXACT = 2**53
_MARK = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[{])|[\]}]', re.DOTALL)
# All that a number must have to be inexact: an exponent, or as many digits as the smallest such integer.
_MAYBE = re.compile(r"[\d.]{16}|\d[eE][-+]?\d")


class LiteralNumber(str):
    """A number as written."""

    __slots__ = ()

    @property
    def value(self) -> int | float | None:
        """The number, if a 64-bit float holds exactly the written one; else None."""
        if self.lstrip("-").isdigit():
            whole = int(self) if len(self) < 20 else _EXACT + 1
            return whole if abs(whole) <= _EXACT else None
        near = float(self)
        try:
            return near if math.isfinite(near) and Decimal(self) == Decimal(repr(near)) else None
        except InvalidOperation:  # an exponent that no decimal has
            return None

    @property
    def text(self) -> str:
        """The number as people write it: 142.0 is `142`."""
        value = self.value
        return re.sub(r"\.0+$", "", self) if value is None else number_text(value)


def number_text(value: int | float | Decimal) -> str:
    """A finite number as people write it: 142.0 is `142`, 1e23 is a one with its zeros."""
    if isinstance(value, float) and value.is_integer() and abs(value) > _EXACT:
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(int(value) if value == int(value) else value)


def load_json(text: str) -> Any:
    """Parse JSON, with numbers that 64 bits can't hold as text; `ValueError` has the reason if it can't be read."""
    check_nesting(text)
    return json.loads(text, parse_int=_whole, parse_float=_broken)


def load_numbers(text: str) -> Any:
    """Parse JSON with every number as a `LiteralNumber`."""
    check_nesting(text)
    return json.loads(text, parse_int=LiteralNumber, parse_float=LiteralNumber)


def may_be_inexact(text: str) -> bool:
    """Whether a JSON text can hold a number that isn't exact as a float; False is certain."""
    return _MAYBE.search(text) is not None


def check_nesting(text: str) -> None:
    """Raise `ValueError` if arrays and objects are nested too deep."""
    if text.count("[") + text.count("{") <= MOST_LEVELS:
        return
    if max(_levels(text), default=0) > MOST_LEVELS:
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep, and no row of a dataset is")


def _levels(text: str) -> Iterator[int]:
    level = 0
    for mark in _MARK.finditer(text):
        if mark[0][0] == '"':
            continue
        level += 1 if mark[1] else -1
        yield level
        if level > MOST_LEVELS:
            return


def _whole(literal: str) -> int | str:
    """Integers are exact in Python, but tables hold 64 bits, and Python itself reads at most 4,300 digits."""
    value = int(literal) if len(literal) <= 20 else None
    return value if value is not None and -(2**63) <= value < 2**63 else literal


def _broken(literal: str) -> float | str:
    number = LiteralNumber(literal)
    return number.text if number.value is None else float(literal)
