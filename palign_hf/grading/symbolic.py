"""Whether two answers are the same by algebra: the one place where math-verify and sympy are at work.

Only its parser and its comparison are used, and not its time limit: an alarm works in the main thread alone, and in
another math-verify takes every answer for wrong and doesn't say so. What never ends is ended by a `GraderPool`.
"""

from functools import lru_cache
from typing import Any

from palign_hf.errors import UserError
from palign_hf.grading.dress import bare
from palign_hf.grading.plain import DEEPEST, depths


# A decimal counts as the value that it gives to so many places.
_PLACES = 6
# So far apart two values are two, whatever was rounded.
_APART = 1e-4


@lru_cache(maxsize=4096)
def equal(answer: str, gold: str) -> bool:
    """Whether the answer has the value of the gold one; what can't be parsed has none."""
    machinery = _machinery()
    one, other = _parsed(answer), _parsed(gold)
    if one is None or other is None:
        return False
    try:
        if machinery.is_relation(one) and isinstance(other, machinery.Set):
            # Only a gold inequality is compared with a set.
            one, other = other, one
        if _differ(one, other):
            return False
        return bool(machinery.sympy_expr_eq(other, one, _PLACES))
    except MemoryError:
        raise
    except Exception:  # sympy fails in as many ways as there are texts
        return False


def _differ(one: Any, other: Any) -> bool:
    """Whether two formulas have different values at one point: most wrong ones do, and that's told at once."""
    from sympy import Expr, Float, Symbol

    if not (isinstance(one, Expr) and isinstance(other, Expr)) or isinstance(one, Symbol) or isinstance(other, Symbol):
        return False
    names = sorted(one.free_symbols | other.free_symbols, key=str)
    point = {name: Float(f"0.{7310 + 137 * k}1") + k for k, name in enumerate(names)}
    values = [side.subs(point).evalf(12) for side in (one, other)]
    if not all(value.is_Float or value.is_Integer for value in values):
        return False
    return bool(abs(values[0] - values[1]) > _APART * max(1, abs(values[0]), abs(values[1])))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:
    """The value of an answer in sympy; None if it has none."""
    from latex2sympy2_extended import NormalizationConfig, latex2sympy, normalize_latex

    if max(depths(text), default=0) > DEEPEST:
        return None
    rules = NormalizationConfig(
        basic_latex=True, units=True, malformed_operators=True, nits=True, boxed="none", equations=True
    )
    try:
        latex = normalize_latex(bare(text), rules)
        return latex2sympy(
            latex,
            is_real=not _machinery().should_treat_as_complex(latex),
            convert_degrees=False,
            normalization_config=None,
        )
    except MemoryError:
        raise
    except Exception:  # as above
        return None


@lru_cache(maxsize=1)
def _machinery() -> Any:
    try:
        from math_verify import grader
    except ImportError as error:
        raise UserError(
            f"The grader `math` can't compare formulas here: {error}. Install what it needs: "
            f"`pip install math-verify==0.5.2`."
        ) from error
    return grader


def prepare() -> None:
    """Import and warm all of it, so that the first answer isn't charged for it."""
    equal(r"\sqrt{2}", "2x")
