"""Comparison of formulas by their values, at one point or, with variables, at several.

Two formulas with variables are equal if their values are at all points. The points look random, so that different
formulas don't agree at them by chance.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

import mpmath

from palign_hf.grading.arithmetic import (
    MP,
    OPERATIONS,
    UndefinedError,
    UnsureError,
    Value,
    call,
    close,
    inexact,
    is_real,
    over,
    several,
    times,
)
from palign_hf.grading.formulas import Tree, names, operations


Verdict = bool | None
# Their arguments are angles, where a degree sign means pi/180.
_ANGLED = {"sin", "cos", "tan", "cot", "sec", "csc"}


def value(
    tree: Tree,
    point: Mapping[str, Fraction] | None = None,
    *,
    degrees: bool = False,
    log10: bool = True,
    left_reals: list[Tree] | None = None,
) -> Value:
    """Evaluate a formula at a point.

    Args:
        tree (`Tree`): The formula.
        point (`Mapping`, *optional*): The value of each variable.
        degrees (`bool`, defaults to `False`): Whether a degree sign outside of trigonometric functions means pi/180,
            and not 1.
        log10 (`bool`, defaults to `True`): Whether a logarithm without a base has the base 10.
        left_reals (`list`, *optional*): Receives the subtrees that have no real value, such as the root of a negative
            number.

    Returns:
        `Value`: A `Fraction` where the value is exact.

    Raises:
        `UndefinedError`: There is no finite value.
        `UnsureError`: The value takes too long to compute, or is not supported.
    """
    try:
        return _value(tree, (point or {}, degrees, log10, left_reals if left_reals is not None else []))
    except (ZeroDivisionError, OverflowError) as error:
        raise UndefinedError from error
    except (ValueError, TypeError, mpmath.libmp.NoConvergence) as error:
        raise UnsureError from error


def equal(one: Tree, other: Tree, *, degrees: tuple[bool, bool] = (False, False)) -> Verdict:
    r"""Compare two formulas by their values.

    Args:
        one (`Tree`): A formula.
        other (`Tree`): Another formula.
        degrees (`tuple[bool, bool]`): For each, whether a degree sign outside of trigonometric functions means pi/180.

    Returns:
        `bool`, *optional*: Whether they are equal; `None` if their values are unknown.
    """
    verdict = _equal(one, other, degrees, True)
    if not verdict and "log" in operations(one) | operations(other):
        # `\log` may also be the natural logarithm.
        return _equal(one, other, degrees, False)
    return verdict


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
    """Compare two formulas at a point: `same`, `same complex`, `other`, `other branch`, `undefined` or `unsure`."""
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
    """Compare formulas such as `(-1)^n`, which have real values at integers only."""
    for start in (2, 3, 6, 9):
        point = {name: Fraction(start + 4 * k) for k, name in enumerate(variables)}
        try:
            if not close(*(value(tree, point, log10=log10) for tree in (one, other))):
                return False
        except (UndefinedError, UnsureError):
            return False
    return bool(variables)


def proportional(one: Tree, other: Tree, *, positive: bool = False) -> Verdict:
    """Whether one formula is a nonzero multiple of the other.

    Args:
        one (`Tree`): A formula.
        other (`Tree`): Another formula.
        positive (`bool`, defaults to `False`): Whether the factor must be positive.

    Returns:
        `bool`, *optional*: Whether it is; `None` if their values are unknown.
    """
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
            here = over(values[0], values[1])
            if ratio is not None and not close(here, ratio):
                return False
            ratio, seen = here, seen + 1
    except UnsureError:
        return None
    return seen >= 3 and ratio is not None and (not positive or is_real(ratio) and inexact(ratio).real > 0)


def solves(name: str, solution: Tree, equation: Tree) -> Verdict:
    """Whether `name = solution` solves `equation = 0`, which must be linear in that variable.

    Args:
        name (`str`): The variable.
        solution (`Tree`): A formula without it.
        equation (`Tree`): A formula with it.

    Returns:
        `bool`, *optional*: Whether it does; `None` if their values are unknown.
    """
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
                    # An inexact root leaves a rounding error in the equation.
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
    """The points of a comparison, and whether their coordinates are positive; a single one without variables."""
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
        return {"pi": MP.pi(), "e": MP.e(), "i": MP.mpc(0, 1)}[tree[1]]
    if kind == "deg":
        found = _value(tree[1], where)
        return times(found, MP.pi() / 180) if where[1] else found
    if kind == "call":
        if tree[1] in _ANGLED:
            where = (where[0], True, *where[2:])
        if tree[1] == "log" and len(tree) == 3 and where[2]:
            tree = (*tree, ("num", Fraction(10)))
        return _noted(tree, [_value(part, where) for part in tree[2:]], where)
    if kind == "apply":
        # An unknown function: any function that differs for other names.
        inner = inexact(_value(tree[2], where))
        return inner * inner * 3 + where[0][tree[1]] * inner + 1
    if kind == "several":
        return several(tree[1], [_value(part, where) for part in tree[2:]])
    return _noted(tree, [_value(part, where) for part in tree[1:]], where)


def _noted(tree: Tree, parts: list[Value], where: Where) -> Value:
    """Evaluate an operation or function, and record it if it leaves the real numbers."""
    found = call(tree[1], parts) if tree[0] == "call" else OPERATIONS[tree[0]](*parts)
    if isinstance(found, MP.mpc) and not any(isinstance(part, MP.mpc) for part in parts):
        where[3].append(tree)
    return found
