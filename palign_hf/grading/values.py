"""Whether formulas are equal, by their values: exact fractions where that is possible, else 60 digits.

Two formulas with variables are equal if they are at all points looked at; at random points different ones never are.
Nothing here takes long: what would (a tower of powers) has no value. What isn't finite is equal to nothing.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from palign_hf.grading.formulas import Tree, names, operations


_DIGITS = 60
_MP = mpmath.MPContext()
_MP.dps = _DIGITS
_TOLERANCE = _MP.mpf(10) ** -40
# A sum is zero that is so much smaller than what was added.
_CANCELLED = _MP.mpf(10) ** -45
_MOST_BITS, _MOST_EXPONENT, _MOST_FACTORIAL = 400_000, 1_000_000, 3_000
# Written roots have small degrees; the points looked at have large denominators.
_MOST_ROOT = 60
Value = Any
Verdict = bool | None


class UndefinedError(Exception):
    """There is no finite value."""


class UnsureError(Exception):
    """The value would take too long, or nobody here knows how to get it."""


def value(
    tree: Tree,
    point: Mapping[str, Fraction] | None = None,
    *,
    degrees: bool = False,
    log10: bool = True,
    left_reals: list[Tree] | None = None,
) -> Value:
    """The value at a point, a fraction if it is exactly one.

    Args:
        tree (`tuple`): The formula.
        point (`Mapping`, *optional*): A value for each variable.
        degrees (`bool`, defaults to `False`): Whether a degree outside of a sine and its like is worth pi/180, not 1.
        log10 (`bool`, defaults to `True`): Whether a logarithm without a base is that to the base 10.
        left_reals (`list`, *optional*): Gets what has no real value here, such as the root of a negative number.

    Raises:
        `UndefinedError`: There is none.
        `UnsureError`: It can't be told.
    """
    try:
        return _value(tree, (point or {}, degrees, log10, left_reals if left_reals is not None else []))
    except (ZeroDivisionError, OverflowError) as error:
        raise UndefinedError from error
    except (ValueError, TypeError, mpmath.libmp.NoConvergence) as error:
        raise UnsureError from error


def close(one: Value, other: Value) -> bool:
    """Whether two values are one: exactly, or but for the last of 60 digits."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    one, other = _inexact(one), _inexact(other)
    return bool(abs(one - other) <= _TOLERANCE * max(abs(one), abs(other)))


def is_real(found: Value) -> bool:
    """Whether a value has no imaginary part to speak of."""
    return not isinstance(found, _MP.mpc) or bool(abs(found.imag) <= _TOLERANCE * abs(found))


def equal(one: Tree, other: Tree, *, degrees: tuple[bool, bool] = (False, False)) -> Verdict:
    """Whether two formulas have the same values; None if that can't be told."""
    if not _MOST_SHARED & (operations(one) | operations(other)):
        return _equal(one, other, degrees, True)
    verdict = _equal(one, other, degrees, True)
    # `\log` is the natural one for many.
    return verdict or _equal(one, other, degrees, False)


_MOST_SHARED = {"log"}


def _equal(one: Tree, other: Tree, degrees: tuple[bool, bool], log10: bool) -> Verdict:
    variables = sorted(names(one) | names(other))
    seen: set[str] = set()
    for positive, point in _points(variables):
        here = _equal_at(point, (one, other), degrees, log10)
        if here == "undefined" and not positive:
            continue
        if here == "other" or here == "undefined":
            return False
        if here != "other branch" or positive:
            seen.add(here)
    if "same" in seen:
        return True
    if "unsure" in seen:
        return None
    if seen == {"same complex"}:
        return True
    return _equal_for_integers(one, other, variables, log10)


def _equal_at(point: dict[str, Fraction], trees: tuple[Tree, Tree], degrees: tuple[bool, bool], log10: bool) -> str:
    """What two formulas are at a point: `same`, `same complex`, `other`, `other branch`, `undefined` or `unsure`."""
    found: list[Value] = []
    left: list[Tree] = []
    undefined = 0
    for tree, in_degrees in zip(trees, degrees, strict=True):
        try:
            found.append(value(tree, point, degrees=in_degrees, log10=log10, left_reals=left))
        except UndefinedError:
            undefined += 1
        except UnsureError:
            return "unsure"
    if undefined:
        return "undefined"
    agree, real = close(*found), all(map(is_real, found))
    if agree:
        return "same" if real else "same complex"
    # Roots of negative numbers have two values, and `\sqrt{x}\sqrt{y}` picks another one than `\sqrt{xy}`.
    return "other" if real and (not left or not point) else "other branch"


def _equal_for_integers(one: Tree, other: Tree, variables: list[str], log10: bool) -> bool:
    """For `(-1)^n` and its like, which have real values at whole numbers only."""
    for start in (2, 3, 6, 9):
        point = {name: Fraction(start + 4 * k) for k, name in enumerate(variables)}
        try:
            if not close(*(value(tree, point, log10=log10) for tree in (one, other))):
                return False
        except (UndefinedError, UnsureError):
            return False
    return bool(variables)


def proportional(one: Tree, other: Tree, *, positive: bool = False) -> Verdict:
    """Whether one formula is a constant (other than zero; above it if `positive`) times the other."""
    variables = sorted(names(one) | names(other))
    if not variables or names(one) != names(other):
        return False
    ratio, seen = None, 0
    try:
        for _, point in _points(variables):
            try:
                values = [value(tree, point) for tree in (one, other)]
            except UndefinedError:
                continue
            if not all(map(is_real, values)) and "const" not in operations(one) | operations(other):
                continue
            if close(values[0], Fraction(0)) or close(values[1], Fraction(0)):
                return False
            here = values[0] / values[1]
            if ratio is not None and not close(here, ratio):
                return False
            ratio, seen = here, seen + 1
    except UnsureError:
        return None
    return seen >= 3 and ratio is not None and (not positive or is_real(ratio) and _inexact(ratio).real > 0)


def solves(name: str, solution: Tree, equation: Tree) -> Verdict:
    """Whether `name = solution` says the same as `equation = 0`, which is linear in that name."""
    variables = sorted(names(solution) | names(equation))
    if name in names(solution) or name not in names(equation) or names(equation) - {name} != names(solution):
        return False
    seen = 0
    try:
        for _, point in _points(variables):
            try:
                root = value(solution, point)
                at = [value(equation, {**point, name: point[name] + step}) for step in (0, 1, 2)]
                if not isinstance(root, Fraction):
                    # What isn't a fraction can't be put in exactly.
                    slope = at[1] - at[0]
                    if close(slope, Fraction(0)) or not close(point[name] - at[0] / slope, root):
                        return False
                elif not close(value(equation, {**point, name: root}), Fraction(0)):
                    return False
                if not close(at[2] - at[1], at[1] - at[0]) or close(at[1], at[0]):
                    return False
            except UndefinedError:
                continue
            seen += 1
    except UnsureError:
        return None
    return seen >= 3


def _points(variables: list[str]) -> Iterator[tuple[bool, dict[str, Fraction]]]:
    """Points to look at, and whether all their values are positive; without variables there is one."""
    if not variables:
        yield True, {}
        return
    for k, (low, wide, sign) in enumerate(((0, 1, 1), (1, 3, 1), (0, 9, 1), (5, 40, 1), (1, 2, -1), (0, 1, -1))):
        point = {}
        for m, name in enumerate(variables):
            part = Fraction((7919 * (k + 2) + 104_729 * (m + 1) + 31 * k * m) % 9973, 9973)
            point[name] = sign * (low + wide * part)
        yield sign > 0, point


Where = tuple[Mapping[str, Fraction], bool, bool, list[Tree]]


def _value(tree: Tree, where: Where) -> Value:
    kind = tree[0]
    if kind == "num":
        return tree[1]
    if kind == "sym":
        return where[0][tree[1]]
    if kind == "const":
        if tree[1] == "infty":
            raise UndefinedError
        return {"pi": _MP.pi(), "e": _MP.e(), "i": _MP.mpc(0, 1)}[tree[1]]
    if kind == "deg":
        found = _value(tree[1], where)
        return _times(found, _MP.pi() / 180) if where[1] else found
    if kind == "call":
        if tree[1] in _ANGLED:
            where = (where[0], True, *where[2:])
        if tree[1] == "log" and len(tree) == 3 and where[2]:
            tree = (*tree, ("num", Fraction(10)))
        return _noted(tree, [_value(part, where) for part in tree[2:]], where)
    if kind == "apply":
        # An unknown function: any will do that is another one for another name.
        inner = _inexact(_value(tree[2], where))
        return inner * inner * 3 + where[0][tree[1]] * inner + 1
    if kind == "several":
        return _several(tree[1], [_value(part, where) for part in tree[2:]])
    return _noted(tree, [_value(part, where) for part in tree[1:]], where)


def _noted(tree: Tree, parts: list[Value], where: Where) -> Value:
    """The value of an operation or function; it is noted where that leaves the real numbers."""
    found = _called(tree[1], parts) if tree[0] == "call" else _OPERATIONS[tree[0]](*parts)
    if isinstance(found, _MP.mpc) and not any(isinstance(part, _MP.mpc) for part in parts):
        where[3].append(tree)
    return found


def _add(*parts: Value) -> Value:
    if all(isinstance(part, Fraction) for part in parts):
        return _small(sum(parts, Fraction(0)))
    parts = tuple(map(_inexact, parts))
    total = _MP.fsum(parts)
    return Fraction(0) if abs(total) <= _CANCELLED * max(map(abs, parts)) else total


def _times(one: Value, other: Value) -> Value:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return _small(one * other)
    if one == 0 or other == 0:
        return Fraction(0)
    return _inexact(one) * _inexact(other)


def _over(one: Value, other: Value) -> Value:
    if other == 0:
        raise UndefinedError
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return _small(one / other)
    return Fraction(0) if one == 0 else _inexact(one) / _inexact(other)


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(exponent, _MP.mpf) and exponent == int(exponent) and abs(exponent) < _MOST_EXPONENT:
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
        if not is_real(exponent) or _inexact(exponent).real <= 0:
            raise UndefinedError
        return Fraction(0)
    if isinstance(exponent, Fraction) and 1 < exponent.denominator <= _MOST_ROOT:
        root = _root(base, Fraction(exponent.denominator))
        return _power(root, Fraction(exponent.numerator))
    size = abs(_MP.log(abs(_inexact(base)))) + 1
    if abs(_inexact(exponent)) * size > _MOST_EXPONENT:
        raise UnsureError
    return _cut(_MP.power(_inexact(base), _inexact(exponent)))


def _root(base: Value, degree: Value) -> Value:
    """The real root where there is one: the cube root of -8 is -2."""
    if not isinstance(degree, Fraction) or degree.denominator > 1:
        return _power(base, _over(Fraction(1), degree))
    if degree == 0:
        raise UndefinedError
    if degree < 0:
        return _over(Fraction(1), _root(base, -degree))
    if base == 0:
        return Fraction(0)
    if degree > _MOST_ROOT:
        return _cut(_MP.power(_inexact(base), 1 / _MP.mpf(int(degree))))
    if isinstance(base, _MP.mpc) and is_real(base):
        base = base.real
    if isinstance(base, _MP.mpc):
        return _MP.root(base, int(degree))
    if base < 0:
        return -_root(-base, degree) if degree % 2 else _times(_MP.root(_inexact(-base), int(degree)), _unit(degree))
    if isinstance(base, Fraction):
        parts = [_whole_root(part, int(degree)) for part in (base.numerator, base.denominator)]
        if parts[0] is not None and parts[1] is not None:
            return Fraction(parts[0], parts[1])
    return _MP.root(_inexact(base), int(degree))


def _unit(degree: Fraction) -> Value:
    return _MP.mpc(0, 1) if degree == 2 else _MP.expjpi(_MP.mpf(1) / int(degree))


def _whole_root(number: int, degree: int) -> int | None:
    if degree == 2:
        root = math.isqrt(number)
    elif number < 2**1000:
        root = int(_MP.nint(_MP.root(number, degree)))
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
    if abs(_inexact(number)) > _MOST_FACTORIAL:
        raise UnsureError
    return _MP.gamma(_inexact(number) + 1)


def _binomial(over: Value, under: Value) -> Value:
    if all(isinstance(part, Fraction) and part.denominator == 1 and part >= 0 for part in (over, under)):
        if min(under, over - under) > _MOST_FACTORIAL:
            raise UnsureError
        return Fraction(math.comb(int(over), int(under)))
    if max(abs(_inexact(over)), abs(_inexact(under))) > _MOST_FACTORIAL:
        raise UnsureError
    return _MP.binomial(_inexact(over), _inexact(under))


def _modulo(one: Value, other: Value) -> Value:
    if not (isinstance(one, Fraction) and isinstance(other, Fraction)) or other == 0:
        raise UndefinedError
    return one % other


def _several(name: str, parts: list[Value]) -> Value:
    if not all(isinstance(part, Fraction) for part in parts):
        raise UnsureError
    if name in ("max", "min"):
        return (max if name == "max" else min)(parts)
    if any(part.denominator > 1 for part in parts):
        raise UndefinedError
    return Fraction((math.gcd if name == "gcd" else math.lcm)(*map(int, parts)))


def _called(name: str, parts: list[Value]) -> Value:
    inner = parts[0]
    if name in ("abs", "floor", "ceil") and isinstance(inner, Fraction):
        return abs(inner) if name == "abs" else Fraction(math.floor(inner) if name == "floor" else math.ceil(inner))
    if name in ("floor", "ceil"):
        if not is_real(inner):
            raise UndefinedError
        found = _inexact(inner).real
        near = _MP.nint(found)
        if abs(found - near) < _CANCELLED:
            return Fraction(int(near))
        return Fraction(int((_MP.floor if name == "floor" else _MP.ceil)(found)))
    inner = _inexact(inner)
    if name == "log" and len(parts) == 2:
        if inner == 0 or _inexact(parts[1]) in (0, 1):
            raise UndefinedError
        return _cut(_MP.log(inner) / _MP.log(_inexact(parts[1])))
    if name in ("ln", "log"):
        if inner == 0:
            raise UndefinedError
        return _cut(_MP.log(inner))
    if name == "sgn":
        return Fraction(int(_MP.sign(inner)))
    if name == "gamma":
        if is_real(inner) and _inexact(inner).real <= 0:
            raise UndefinedError
        return _factorial(parts[0] - 1 if isinstance(parts[0], Fraction) else inner - 1)
    if name in ("exp", "sinh", "cosh", "tanh", "coth") and abs(inner) > _MOST_EXPONENT:
        raise UnsureError
    function = _CALLS.get(name)
    if function is None:
        raise UnsureError
    found = _cut(function(inner))
    if abs(_inexact(found)) * _CANCELLED > 1 and name in ("tan", "cot", "sec", "csc"):
        raise UndefinedError
    return found


_CALLS: dict[str, Callable[[Any], Any]] = {
    name: getattr(_MP, mp)
    for name, mp in [
        *((name, name) for name in "sin cos tan cot sec csc sinh cosh tanh coth exp".split()),
        *((f"arc{name}", f"a{name}") for name in "sin cos tan cot sec csc".split()),
        ("abs", "fabs"),
    ]
}
_ANGLED = {"sin", "cos", "tan", "cot", "sec", "csc"}
_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _add,
    "mul": _times,
    "div": _over,
    "pow": _power,
    "root": _root,
    "fact": _factorial,
    "binom": _binomial,
    "mod": _modulo,
}


def _inexact(found: Value) -> Value:
    if isinstance(found, Fraction):
        return _MP.mpf(found.numerator) / found.denominator
    return found


def _small(found: Fraction) -> Fraction:
    if max(found.numerator.bit_length(), found.denominator.bit_length()) > 4 * _MOST_BITS:
        raise UnsureError
    return found


def _cut(found: Value) -> Value:
    """Zero for what is one but for the last digits."""
    if not _MP.isfinite(found):
        raise UndefinedError
    if abs(found) < _CANCELLED:
        return Fraction(0)
    if isinstance(found, _MP.mpc) and abs(found.imag) <= _CANCELLED * abs(found):
        return found.real
    return found


def within(found: Value, rounded: Fraction, places: int) -> bool:
    """Whether a value is less than one unit of the last place away from a decimal."""
    return bool(abs(_inexact(found).real - _inexact(rounded)) * 10**places < 1)
