"""Matching of values to type hints, and names of types in messages.

Plain values are those of YAML; a hint may also have members that only Python can give, such as a class or a protocol.
Those are accepted from Python and not offered elsewhere.
"""

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Rational, Real
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from palign_hf.errors import listed, nearest, shown


_PLAIN = (str, int, float, bool, types.NoneType, list, tuple, dict)
_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false", types.NoneType: "null"}
_MANY = {str: " of texts", int: " of whole numbers", float: " of numbers"}
_NO = object()


class Unfit(Exception):
    """A value doesn't fit its setting; the text is the end of a sentence that begins with the given value."""


class Unloaded:
    """Placeholder of a class in a hint that its module imports for type checkers only."""


@dataclass(frozen=True)
class Bounds:
    """The range of a number, or of each number in a list."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __str__(self) -> str:
        ends = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{name} {end}" for name, end in ends.items() if end is not None and math.isfinite(end))

    def hold(self, number: float) -> bool:
        """Whether it is inside."""
        return not (
            (self.least is not None and number < self.least)
            or (self.most is not None and number > self.most)
            or (self.above is not None and number <= self.above)
            or (self.below is not None and number >= self.below)
        )

    @property
    def infinite(self) -> bool:
        """Whether infinity is allowed, by a bound that is infinite itself."""
        return any(end is not None and math.isinf(end) for end in (self.least, self.most))


def hints_of(kind: Any) -> Mapping[str, Any]:
    """The hints of a dataclass, also where they name classes that aren't loaded."""
    return _hints_of(kind)


@cache
def _hints_of(kind: type) -> Mapping[str, Any]:
    unknown: dict[str, Any] = {}
    while True:
        try:
            return get_type_hints(kind, localns=unknown)
        except NameError as error:
            unknown[str(error.name)] = Unloaded


def members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the single type."""
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


@cache
def spelt(hint: Any) -> tuple[Any, ...]:
    """The members that YAML can write; none for a Python-only setting."""
    return tuple(option for option in members(hint) if _name(option))


def fit(hint: Any, value: Any, bounds: Bounds, plain: bool) -> Any:
    """Convert a value to its setting's type (a list to a tuple, `5e-5` to a number); `Unfit` has the reason if it
    doesn't fit.
    """
    found: Any = _NO
    for option in members(hint):
        fitted = _fit_one(option, value, bounds, plain)
        if fitted is value:
            found = value
            break
        found = fitted if found is _NO else found
    if found is _NO:
        raise Unfit(_refusal(hint, value, plain))
    many = isinstance(found, (list, tuple, dict))
    numbers = (found.values() if isinstance(found, dict) else found) if many else [found]
    if not all(bounds.hold(number) for number in numbers if _is_number(number)):
        raise Unfit(f"must be {bounds}" + (" in each place" if many else ""))
    return found


def fits(hint: Any, value: Any) -> bool:
    """Whether a plain value is of that type, in any range."""
    try:
        fit(hint, value, Bounds(), plain=True)
    except Unfit:
        return False
    return True


def type_name(hint: Any) -> str:
    """Name of a type in messages and docs."""
    return " or ".join(dict.fromkeys(_name(option) for option in spelt(hint))) or "a Python object"


def choices(hint: Any) -> list[Any]:
    """Values of a `Literal`."""
    return [choice for option in members(hint) if get_origin(option) is Literal for choice in get_args(option)]


def shown_value(value: Any) -> str:
    """A value as shown in a message."""
    try:
        return shown(repr(value))
    except ValueError:  # an integer of thousands of digits
        return f"{type(value).__name__} of great length"


def _fit_one(option: Any, value: Any, bounds: Bounds, plain: bool) -> Any:
    kind, inner = get_origin(option) or option, get_args(option)
    if option is Any:
        return value
    if kind is Literal:
        return value if any(type(choice) is type(value) and choice == value for choice in inner) else _NO
    if kind is float:
        return _number(value, bounds, plain)
    if kind is int:
        return _whole(value)
    if kind in _NAMES:
        return value if isinstance(value, kind) else _NO
    if kind in (dict, Mapping):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            return _NO
        fitted = _each(inner[1:], list(value.values()), bounds, plain)
        if fitted is _NO or (isinstance(value, dict) and _same(fitted, list(value.values()))):
            return value if fitted is not _NO else _NO
        return dict(zip(value, fitted, strict=True))
    if kind in (list, tuple, Sequence):
        if not isinstance(value, (list, tuple)):
            return _NO
        fitted = _each(inner[:1], value, bounds, plain)
        right = isinstance(value, tuple if kind is tuple else (list, tuple) if kind is Sequence else list)
        if fitted is _NO or (right and _same(fitted, value)):
            return value if fitted is not _NO else _NO
        return tuple(fitted) if kind is tuple else fitted
    return value if not plain and _is_one(kind, value) else _NO


def _each(inner: tuple[Any, ...], values: Sequence[Any], bounds: Bounds, plain: bool) -> Any:
    """The elements, each as it fits, or `_NO`."""
    options = members(inner[0]) if inner else (Any,)
    fitted = []
    for value in values:
        tried = (_fit_one(option, value, bounds, plain) for option in options)
        one = next((one for one in tried if one is not _NO), _NO)
        if one is _NO:
            return _NO
        fitted.append(one)
    return fitted


def _same(fitted: Sequence[Any], values: Sequence[Any]) -> bool:
    return all(one is other for one, other in zip(fitted, values, strict=True))


def _whole(value: Any) -> Any:
    """Whole numbers of other libraries (`numpy.int64`) become those of Python."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        return _NO
    return value if isinstance(value, int) else int(value)


def _number(value: Any, bounds: Bounds, plain: bool) -> Any:
    """YAML reads 5e-5 as text, and `numpy.float32` is no float of Python."""
    if isinstance(value, bool) or not isinstance(value, (Real, str) if plain else Real):
        return _NO
    try:
        number = value if type(value) is float else float(value)
    except (ValueError, OverflowError):
        return _NO
    return number if math.isfinite(number) or (math.isinf(number) and bounds.infinite) else _NO


def _is_one(kind: Any, value: Any) -> bool:
    """Check a class by isinstance; a type that can't be checked so (a bare protocol, an unloaded class) accepts any
    non-plain value.
    """
    if kind is Unloaded:
        return not isinstance(value, _PLAIN)
    try:
        return isinstance(value, kind)
    except TypeError:
        return not isinstance(value, _PLAIN)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _refusal(hint: Any, value: Any, plain: bool) -> str:
    known = choices(hint)
    if known and isinstance(value, str) and any(isinstance(choice, str) for choice in known):
        others = [_name(option) for option in spelt(hint) if get_origin(option) is not Literal]
        more = "".join(f" or {name}" for name in others)
        return f"is unknown{nearest(shown(value), [str(one) for one in known])}. Choose one of {listed(known)}{more}"
    if (
        isinstance(value, Real)
        and not isinstance(value, Rational)
        and not math.isfinite(value)
        and float in members(hint)
    ):
        return "must be a finite number"
    named = [_name(option) or ("" if plain else getattr(option, "__name__", "an object")) for option in members(hint)]
    return f"must be {' or '.join(dict.fromkeys(filter(None, named)))}"


def _name(option: Any) -> str:
    """Name of a type's YAML form; empty for Python-only types."""
    kind, inner = get_origin(option) or option, get_args(option)
    if option is Any:
        return "any value"
    if kind is Literal:
        return f"one of {listed(inner)}"
    if kind in (dict, Mapping):
        return "a mapping" + (_MANY.get(inner[1], "") if inner else "")
    if kind in (list, tuple, Sequence):
        return "a list" + (_MANY.get(inner[0], "") if inner else "")
    return _NAMES.get(kind, "")
