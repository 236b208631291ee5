"""Comparison of answers by algebra: values of formulas, else the parser of math-verify and sympy.

Only the parser of math-verify is used. Its comparison accepts any two relations that evaluate to False, and its time
limit is an alarm, which works in the main thread only. A `GraderPool` ends a comparison that takes too long.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from palign_hf.errors import UserError
from palign_hf.grading.answers import Leaf, Relation
from palign_hf.grading.compare import Verdict, compare
from palign_hf.grading.formulas import Tree, names, operations, parsed
from palign_hf.grading.normalization import bare, compact
from palign_hf.grading.numerals import Number, is_rounded, number_of, same_pieces
from palign_hf.grading.relations import is_name
from palign_hf.grading.units import Piece, pieces


# Deepest brackets for math-verify's parser, whose time grows exponentially with them.
_DEEPEST = 12
# Formulas for sympy; any other text that `formulas.py` rejects is no formula.
_ADVANCED = re.compile(r"\\(?:i*int|oint|sum|prod|lim|begin|det|operatorname|exp|log|ln)(?![a-z])")
# Derivatives of unknown functions, which sympy takes for variables, and their derivatives for zero.
_DERIVED = re.compile(r"\\partial|\\frac\s*\{\s*d[^{}]*\}\s*\{\s*d")
_ANGLED = {"sin", "cos", "tan", "cot", "sec", "csc"}


class AlgebraJudge:
    """A `ValueJudge` that uses algebra."""

    def leaves(self, one: Leaf, other: Leaf) -> Verdict:
        """Compare two numbers or formulas by their values."""
        verdict = same_pieces(one.piece, other.piece)
        return _same_values(one.piece, other.piece) if verdict is None else verdict

    def relations(self, one: Relation, other: Relation) -> Verdict:
        """Compare two equations or inequalities up to a factor."""
        return _same_relations(one, other)


ALGEBRA = AlgebraJudge()


@lru_cache(maxsize=4096)
def equal(answer: str, gold: str) -> bool:
    """Compare an answer with a gold answer by algebra.

    Args:
        answer (`str`): An answer.
        gold (`str`): The gold answer.

    Returns:
        `bool`: Whether they are equal; `False` if one of them can't be parsed.
    """
    try:
        return bool(compare(answer, gold, ALGEBRA, gold=True))
    except (RecursionError, OverflowError, ValueError):  # texts that are nested too deep or too long
        return False


def _same_values(one: Piece, other: Piece) -> bool:
    from palign_hf.grading import values

    tree, tree2 = parsed(one.core), parsed(other.core)
    if tree is None or tree2 is None:
        return bool(_ADVANCED.search(one.core + other.core)) and _same_by_sympy(one.core, other.core)
    tree, tree2 = _scaled(tree, one.scale), _scaled(tree2, other.scale)
    number, number2 = number_of(one), number_of(other)
    for rounded, exact in ((number, tree2), (number2, tree)):
        if rounded and is_rounded(rounded) and _is_rounded_value(rounded, exact):
            return True
    percents = [one.percent, other.percent]
    if percents[0] != percents[1]:
        hundredth = [
            _scaled(some, 1, 100 if percent else 1) for some, percent in zip((tree, tree2), percents, strict=True)
        ]
        if values.equal(hundredth[0], hundredth[1]):
            return True
    verdict = values.equal(tree, tree2)
    if verdict:
        return True
    degrees = _in_degrees(one, tree), _in_degrees(other, tree2)
    if degrees[0] != degrees[1]:
        turned = [("deg", some) if piece.degree else some for some, piece in ((tree, one), (tree2, other))]
        plain = tree2 if degrees[0] else tree
        if "pi" in str(plain) or number or number2:
            if "pi" in str(plain) and values.equal(turned[0], turned[1], degrees=degrees):
                return True
    if verdict is None:
        return _same_by_sympy(one.core, other.core)
    return False


def _in_degrees(piece: Piece, tree: Tree) -> bool:
    return piece.degree or "deg" in operations(tree) and not _ANGLED & operations(tree)


def _scaled(tree: Tree, times: int, over: int = 1) -> Tree:
    factor = Fraction(times, over)
    return tree if factor == 1 else ("mul", ("num", factor), tree)


def _is_rounded_value(rounded: Number, exact: Tree) -> bool:
    """Whether a long decimal rounds or truncates the value of a formula without variables."""
    from palign_hf.grading import arithmetic, values

    if names(exact):
        return False
    try:
        found = values.value(exact)
    except (arithmetic.UndefinedError, arithmetic.UnsureError):
        return False
    return arithmetic.is_real(found) and arithmetic.within(found, rounded.value, rounded.decimals)


def _same_relations(one: Relation, other: Relation) -> Verdict:
    from palign_hf.grading import values

    signs, signs2 = _signs(one), _signs(other)
    if signs != signs2 or signs is None or signs2 is None or not set(signs) <= {"=", "<", "<="}:
        return compact("".join(one.sides)) == compact("".join(other.sides)) and one.signs == other.signs
    sides, sides2 = _sides(one), _sides(other)
    if signs == ("=",):
        trees, trees2 = _parsed_sides(one.sides), _parsed_sides(other.sides)
        if trees is None or trees2 is None:
            return [compact(side) for side in one.sides] == [compact(side) for side in other.sides]
        differences = [_difference(trees), _difference(trees2)]
        if _unsolved(one, other):
            return False
        if values.proportional(differences[0], differences[1]):
            return True
        for named, equation in ((one, differences[1]), (other, differences[0])):
            variable = parsed(bare(named.sides[0]))
            solution = parsed(bare(named.sides[1]))
            if variable and variable[0] == "sym" and solution and values.solves(variable[1], solution, equation):
                return True
        return False
    trees, trees2 = _parsed_sides(sides), _parsed_sides(sides2)
    if trees is None or trees2 is None:
        return [compact(side) for side in sides] == [compact(side) for side in sides2]
    steps, steps2 = ([_difference([*pair]) for pair in zip(some, some[1:], strict=False)] for some in (trees, trees2))
    return all(values.proportional(left, right, positive=True) for left, right in zip(steps, steps2, strict=True))


def _unsolved(one: Relation, other: Relation) -> bool:
    """Whether one of two equations is solved for its variable and the other is not: `x=3` and `2x=6`."""
    solved = [is_name(some.sides[0]) or is_name(some.sides[1]) for some in (one, other)]
    if solved[0] == solved[1]:
        return False
    unsolved = other if solved[0] else one
    found = [names(tree) for side in unsolved.sides if (tree := parsed(bare(side)))]
    variables = frozenset().union(*found)
    return len(variables) == 1 and not any(side.strip() == "0" for side in unsolved.sides)


def _signs(relation: Relation) -> tuple[str, ...] | None:
    if set(relation.signs) <= {">", ">="}:
        return tuple(sign.replace(">", "<") for sign in reversed(relation.signs))
    return relation.signs


def _sides(relation: Relation) -> tuple[str, ...]:
    return relation.sides[::-1] if set(relation.signs) <= {">", ">="} else relation.sides


def _parsed_sides(sides: tuple[str, ...]) -> list[Tree] | None:
    trees = []
    for side in sides:
        found = pieces(side)
        tree = parsed(found[0].core) if len(found) == 1 and not found[0].words else None
        if tree is None:
            return None
        trees.append(tree)
    return trees


def _difference(sides: list[Tree]) -> Tree:
    return ("add", sides[0], ("mul", ("num", Fraction(-1)), sides[1]))


@lru_cache(maxsize=4096)
def _same_by_sympy(one: str, other: str) -> bool:
    """Compare formulas such as integrals and sums by sympy."""
    machinery = _machinery()
    if _DERIVED.search(one + other):
        return False
    parsed_one, parsed_other = _sympified(one), _sympified(other)
    if parsed_one is None or parsed_other is None:
        return False
    try:
        if not all(isinstance(some, machinery.Expr) for some in (parsed_one, parsed_other)):
            return False
        difference = machinery.simplify(parsed_one - parsed_other)
        infinite = machinery.S.Infinity, machinery.S.NegativeInfinity, machinery.S.ComplexInfinity, machinery.S.NaN
        if any(some.doit().has(*infinite) for some in (parsed_one, parsed_other)):
            return False
        return bool(difference.is_zero)
    except MemoryError:
        raise
    except Exception:  # sympy raises exceptions of any type
        return False


@lru_cache(maxsize=4096)
def _sympified(text: str) -> Any:
    """Parse a formula to a sympy expression; None if that fails."""
    from latex2sympy2_extended import latex2sympy

    depth = deepest = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        deepest = max(deepest, depth)
    if deepest > _DEEPEST:
        return None
    try:
        return latex2sympy(text, is_real=None, convert_degrees=False, normalization_config=None)
    except MemoryError:
        raise
    except Exception:  # the parser raises exceptions of any type
        return None


@lru_cache(maxsize=1)
def _machinery() -> Any:
    try:
        import latex2sympy2_extended  # noqa: F401
        import math_verify  # noqa: F401
        import sympy
    except ImportError as error:
        raise UserError(
            f"The grader `math` can't compare formulas here: {error}. Install what it needs: "
            f"`pip install math-verify`."
        ) from error
    return sympy


def prepare() -> None:
    """Import sympy and both parsers, so that the time limit of the first answer doesn't include it."""
    equal(r"\sqrt{2}", "2x")
    equal(r"\int_0^1 x dx", r"\frac{1}{3}")
