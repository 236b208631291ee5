"""Arithmetic on values: exact fractions where possible, else 60 digits.

No operation takes long: results that would (a tower of powers) raise `UnsureError`, and those without a finite value
raise `UndefinedError`.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath


_DIGITS = 60
MP = mpmath.MPContext()
MP.dps = _DIGITS
_TOLERANCE = MP.mpf(10) ** -40
# A sum counts as zero if it is smaller than its terms by this factor.
_CANCELLED = MP.mpf(10) ** -45
_MOST_BITS, _MOST_EXPONENT, _MOST_FACTORIAL = 400_000, 1_000_000, 3_000
# Roots in answers have small degrees; random points have large denominators.
_MOST_ROOT = 60
# A `Fraction`, or an `mpf` or `mpc` of mpmath.
Value = Any


class UndefinedError(Exception):
    """There is no finite value."""


class UnsureError(Exception):
    """The value takes too long to compute, or is not supported."""


def close(one: Value, other: Value) -> bool:
    """Whether two values are equal: exactly for fractions, else to 40 digits.

    Args:
        one (`Value`): A value.
        other (`Value`): Another value.

    Returns:
        `bool`: Whether they are equal.
    """
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    one, other = inexact(one), inexact(other)
    return bool(abs(one - other) <= _TOLERANCE * max(abs(one), abs(other)))


def is_real(found: Value) -> bool:
    """Whether a value is real, up to rounding.

    Args:
        found (`Value`): A value.

    Returns:
        `bool`: Whether it is.
    """
    return not isinstance(found, MP.mpc) or bool(abs(found.imag) <= _TOLERANCE * abs(found))


def within(found: Value, rounded: Fraction, places: int) -> bool:
    """Whether a decimal rounds or truncates a value.

    Args:
        found (`Value`): The value.
        rounded (`Fraction`): The decimal.
        places (`int`): The number of its decimal places.

    Returns:
        `bool`: Whether they differ by less than one unit of the last place.
    """
    return bool(abs(inexact(found).real - inexact(rounded)) * 10**places < 1)


def _add(*parts: Value) -> Value:
    if all(isinstance(part, Fraction) for part in parts):
        return _small(sum(parts, Fraction(0)))
    parts = tuple(map(inexact, parts))
    total = MP.fsum(parts)
    return Fraction(0) if abs(total) <= _CANCELLED * max(map(abs, parts)) else total


def times(one: Value, other: Value) -> Value:
    """Multiply two values.

    Args:
        one (`Value`): A value.
        other (`Value`): Another value.

    Returns:
        `Value`: Their product.
    """
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return _small(one * other)
    if one == 0 or other == 0:
        return Fraction(0)
    return inexact(one) * inexact(other)


def over(one: Value, other: Value) -> Value:
    """Divide two values.

    Args:
        one (`Value`): The dividend.
        other (`Value`): The divisor.

    Returns:
        `Value`: Their quotient.
    """
    if other == 0:
        raise UndefinedError
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return _small(one / other)
    return Fraction(0) if one == 0 else inexact(one) / inexact(other)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, MP.mpf) and exponent == int(exponent) and abs(exponent) < _MOST_EXPONENT:
        exponent = Fraction(int(exponent))
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        if exponent == 0:
            if base == 0:
                raise UndefinedError
            return Fraction(1)
        if base == 0:
            if exponent < 0:
                raise UndefinedError
            return Fraction(0)
        if isinstance(base, Fraction):
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(base) == 1 or bits * abs(exponent) <= _MOST_BITS:
                return base ** int(exponent)
    if base == 0:
        if not is_real(exponent) or inexact(exponent).real <= 0:
            raise UndefinedError
        return Fraction(0)
    if isinstance(exponent, Fraction) and 1 < exponent.denominator <= _MOST_ROOT:
        root = _root(base, Fraction(exponent.denominator))
        return _power(root, Fraction(exponent.numerator))
    size = abs(MP.log(abs(inexact(base)))) + 1
    if abs(inexact(exponent)) * size > _MOST_EXPONENT:
        raise UnsureError
    return _cut(MP.power(inexact(base), inexact(exponent)))


def _root(base: Value, degree: Value) -> Value:
    """The real root where there is one: the cube root of -8 is -2."""
    if not isinstance(degree, Fraction) or degree.denominator > 1:
        return _power(base, over(Fraction(1), degree))
    if degree == 0:
        raise UndefinedError
    if degree < 0:
        return over(Fraction(1), _root(base, -degree))
    if base == 0:
        return Fraction(0)
    if degree > _MOST_ROOT:
        return _cut(MP.power(inexact(base), 1 / MP.mpf(int(degree))))
    if isinstance(base, MP.mpc) and is_real(base):
        base = base.real
    if isinstance(base, MP.mpc):
        return MP.root(base, int(degree))
    if base < 0:
        return -_root(-base, degree) if degree % 2 else times(MP.root(inexact(-base), int(degree)), _unit(degree))
    if isinstance(base, Fraction):
        parts = [_whole_root(part, int(degree)) for part in (base.numerator, base.denominator)]
        if parts[0] is not None and parts[1] is not None:
            return Fraction(parts[0], parts[1])
    return MP.root(inexact(base), int(degree))


def _unit(degree: Fraction) -> Value:
    return MP.mpc(0, 1) if degree == 2 else MP.expjpi(MP.mpf(1) / int(degree))


def _whole_root(number: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(number)
    elif number < 2**1000:
        root = int(MP.nint(MP.root(number, degree)))
    else:
        return None
    return root if root**degree == number else None


def _factorial(number: Value) -> Value:
    if isinstance(number, Fraction) and number.denominator == 1:
        if number < 0:
            raise UndefinedError
        if number <= _MOST_FACTORIAL:
            return Fraction(math.factorial(int(number)))
        raise UnsureError
    if abs(inexact(number)) > _MOST_FACTORIAL:
        raise UnsureError
    return MP.gamma(inexact(number) + 1)


def _binomial(upper: Value, lower: Value) -> Value:
    if all(isinstance(part, Fraction) and part.denominator == 1 and part >= 0 for part in (upper, lower)):
        if min(lower, upper - lower) > _MOST_FACTORIAL:
            raise UnsureError
        return Fraction(math.comb(int(upper), int(lower)))
    if max(abs(inexact(upper)), abs(inexact(lower))) > _MOST_FACTORIAL:
        raise UnsureError
    return MP.binomial(inexact(upper), inexact(lower))


def _modulo(one: Value, other: Value) -> Value:
    if not (isinstance(one, Fraction) and isinstance(other, Fraction)) or other == 0:
        raise UndefinedError
    return one % other


def several(name: str, parts: list[Value]) -> Value:
    """Apply `max`, `min`, `gcd` or `lcm`.

    Args:
        name (`str`): The name of the function.
        parts (`list[Value]`): Its arguments.

    Returns:
        `Value`: Its value.
    """
    if not all(isinstance(part, Fraction) for part in parts):
        raise UnsureError
    if name in ("max", "min"):
        return (max if name == "max" else min)(parts)
    if any(part.denominator > 1 for part in parts):
        raise UndefinedError
    return Fraction((math.gcd if name == "gcd" else math.lcm)(*map(int, parts)))


def call(name: str, parts: list[Value]) -> Value:
    """Apply a function of one argument, or a logarithm with its base.

    Args:
        name (`str`): The name of the function, such as `sin`.
        parts (`list[Value]`): Its argument, and the base of a logarithm.

    Returns:
        `Value`: Its value.
    """
    inner = parts[0]
    if name in ("abs", "floor", "ceil") and isinstance(inner, Fraction):
        return abs(inner) if name == "abs" else Fraction(math.floor(inner) if name == "floor" else math.ceil(inner))
    if name in ("floor", "ceil"):
        if not is_real(inner):
            raise UndefinedError
        found = inexact(inner).real
        near = MP.nint(found)
        if abs(found - near) < _CANCELLED:
            return Fraction(int(near))
        return Fraction(int((MP.floor if name == "floor" else MP.ceil)(found)))
    inner = inexact(inner)
    if name == "log" and len(parts) == 2:
        if inner == 0 or inexact(parts[1]) in (0, 1):
            raise UndefinedError
        return _cut(MP.log(inner) / MP.log(inexact(parts[1])))
    if name in ("ln", "log"):
        if inner == 0:
            raise UndefinedError
        return _cut(MP.log(inner))
    if name == "sgn":
        return Fraction(int(MP.sign(inner)))
    if name == "gamma":
        if is_real(inner) and inexact(inner).real <= 0:
            raise UndefinedError
        return _factorial(parts[0] - 1 if isinstance(parts[0], Fraction) else inner - 1)
    if name in ("exp", "sinh", "cosh", "tanh", "coth") and abs(inner) > _MOST_EXPONENT:
        raise UnsureError
    function = _CALLS.get(name)
    if function is None:
        raise UnsureError
    found = _cut(function(inner))
    if abs(inexact(found)) * _CANCELLED > 1 and name in ("tan", "cot", "sec", "csc"):
        raise UndefinedError
    return found


def inexact(found: Value) -> Value:
    """Convert a value to 60 digits.

    Args:
        found (`Value`): A value.

    Returns:
        `Value`: An `mpf` or `mpc`.
    """
    if isinstance(found, Fraction):
        return MP.mpf(found.numerator) / found.denominator
    return found


def _small(found: Fraction) -> Fraction:
    if max(found.numerator.bit_length(), found.denominator.bit_length()) > 4 * _MOST_BITS:
        raise UnsureError
    return found


def _cut(found: Value) -> Value:
    """The value without rounding errors: zero if it is tiny, real if its imaginary part is."""
    if not MP.isfinite(found):
        raise UndefinedError
    if abs(found) < _CANCELLED:
        return Fraction(0)
    if isinstance(found, MP.mpc) and abs(found.imag) <= _CANCELLED * abs(found):
        return found.real
    return found


_CALLS: dict[str, Callable[[Any], Any]] = {
    name: getattr(MP, mp)
    for name, mp in [
        *((name, name) for name in "sin cos tan cot sec csc sinh cosh tanh coth exp".split()),
        *((f"arc{name}", f"a{name}") for name in "sin cos tan cot sec csc".split()),
        ("abs", "fabs"),
    ]
}
OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _add,
    "mul": times,
    "div": over,
    "pow": _power,
    "root": _root,
    "fact": _factorial,
    "binom": _binomial,
    "mod": _modulo,
}
