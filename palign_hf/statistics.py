"""Shares, means and quantiles of counts, as every stage reports them. Pure."""

import math
from collections.abc import Sequence

import numpy as np


Values = Sequence[float] | np.ndarray


def share(part: float, whole: float) -> float | None:
    """`part / whole`; None where `whole` is 0."""
    return part / whole if whole else None


def quantiles(values: Values, at: Sequence[float]) -> dict[str, float] | None:
    """Linearly interpolated quantiles as {"p10": ..., "p50": ...}; None of no values."""
    if not len(values):
        return None
    found = np.quantile(np.asarray(values), at)
    return {f"p{round(100 * q)}": float(value) for q, value in zip(at, found, strict=True)}


def spread(values: Values | None, at: Sequence[float]) -> dict[str, float] | None:
    """The mean and some quantiles as {"mean": ..., "p50": ...}; None of no values, or of None."""
    if values is None or (found := quantiles(values, at)) is None:
        return None
    # An exact sum: the order of the values changes nothing.
    return {"mean": math.fsum(values) / len(values), **found}
