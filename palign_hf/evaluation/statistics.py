"""95 % intervals: by resampling problems, and over several trainings by problems and seeds as crossed random effects.

A student trained with another seed is another student, so five seeds on the same problems are not five hundred
problems: what a seed shares over all problems doesn't vanish with more problems. Each figure is a mean over a table of
problems and seeds. Its variance is that of problems, of seeds and of the rest, each over their number (two-way random
effects, estimated from the mean squares), and the interval is Student's with Satterthwaite's degrees of freedom: few
seeds that differ much make it wide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from palign_hf.errors import UserError, listed, shown
from palign_hf.evaluation.metrics import Measure, Measures


LEVEL = 0.95
RESAMPLES = 10_000
# Draws per block: some 40 MB.
_BLOCK = 5_000_000
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its interval; both ends are None where there is none."""

    value: float
    low: float | None
    high: float | None


def intervals(measures: Measures, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """The interval of each measure."""
    found = list(measures.of.values())
    sums = _Sums(found, seed, resamples)
    return {name: sums.interval([k], one.bounds) for k, (name, one) in enumerate(measures.of.items())}


def differences(one: Measures, other: Measures, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Interval]:
    """`one` minus `other` for each measure that both have, over the same problems."""
    check_same_problems({"the one": one, "the other": other})
    names = [name for name in one.of if name in other.of]
    sums = _Sums([side.of[name] for name in names for side in (one, other)], seed, resamples)
    found = {}
    for k, name in enumerate(names):
        bounds = one.of[name].bounds
        found[name] = sums.interval([2 * k, 2 * k + 1], bounds and (bounds[0] - bounds[1], bounds[1] - bounds[0]))
    return found


def check_same_problems(models: Mapping[str, Measures]) -> None:
    """Refuse models with different problems."""
    (first, base), *others = models.items()
    for name, measures in others:
        if measures.problems == base.problems:
            continue
        ours, theirs = set(base.problems), set(measures.problems)
        only = [
            f"only {who} has {len(which)}, as {listed(shown('/'.join(key)) for key in sorted(which)[:3])}"
            for who, which in ((first, ours - theirs), (name, theirs - ours))
            if which
        ]
        raise UserError(
            f"`{first}` and `{name}` can't be compared: they weren't given the same problems ({'; '.join(only)}). "
            f"{_advice(ours, theirs)}"
        )


def _advice(ours: set[tuple[str, str]], theirs: set[tuple[str, str]]) -> str:
    """Remedy for problems, each a benchmark and an id, that differ."""
    names, others = ({benchmark for benchmark, _ in which} for which in (ours, theirs))
    if not names & others and {id for _, id in ours} & {id for _, id in theirs}:
        return (
            f"Their ids are, but not the names of their benchmarks, {listed(sorted(names))} and "
            f"{listed(sorted(others))}: grade both files again with the same `benchmark={min(names)}`."
        )
    if names == others and not ours & theirs:
        return (
            "None of their ids is the same: where a file has no column of ids, they are the numbers of its rows. "
            "Grade both again with the column that identifies problems, as `columns={'id': 'question'}`."
        )
    return "Evaluate both on the same ones."


class _Sums:
    """The sums of the measures: over all problems, over each draw, and with each problem left out."""

    def __init__(self, measures: list[Measure], seed: int, resamples: int) -> None:
        columns = np.stack([side for one in measures for side in (one.totals, one.weights)], axis=1)
        self._problems = len(columns)
        self._all = columns.sum(axis=0)[None]
        self._without = self._all - columns
        self._drawn = np.empty((resamples, columns.shape[1]))
        random = np.random.default_rng(seed)
        step = max(1, _BLOCK // self._problems)
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            picked = random.integers(self._problems, size=(rows, self._problems))
            picked += self._problems * np.arange(rows)[:, None]
            times = np.bincount(picked.ravel(), minlength=rows * self._problems).reshape(rows, -1)
            self._drawn[start : start + rows] = times @ columns

    def interval(self, which: list[int], bounds: tuple[float, float] | None) -> Interval:
        """Of a measure, or of one minus another."""
        value, drawn = float(_figures(self._all, which)[0]), _figures(self._drawn, which)
        if np.ptp(drawn) < 1e-12:
            return agreed(value, self._problems, bounds)
        low, high = np.quantile(drawn, _levels(value, drawn, _figures(self._without, which)))
        return Interval(value, float(low), float(high))


def _figures(sums: np.ndarray, which: list[int]) -> np.ndarray:
    one, *other = (sums[:, 2 * k] / sums[:, 2 * k + 1] for k in which)
    return one - other[0] if other else one


def _levels(value: float, drawn: np.ndarray, without: np.ndarray) -> list[float]:
    """The quantiles of the draws at the ends (Efron's BCa)."""
    # Shares of few problems take few values: those equal to the figure lie half on either side.
    near = np.isclose(drawn, value, rtol=0, atol=1e-12)
    below = (np.count_nonzero(drawn[~near] < value) + np.count_nonzero(near) / 2) / len(drawn)
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / len(drawn)), 1 - 0.5 / len(drawn)))
    apart = without.mean() - without
    spread = float((apart**2).sum())
    skew = float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        ends.append(_NORMAL.cdf(bias + z / max(1 - skew * z, 1e-9)))
    return ends


def agreed(value: float, problems: int, bounds: tuple[float, float] | None) -> Interval:
    """The interval where all problems agree: exceptions may exist, but too rare to occur among `problems` problems."""
    if bounds is None:
        return Interval(value, None, None)
    unseen = 1 - ((1 - LEVEL) / 2) ** (1 / problems)
    return Interval(value, value - unseen * (value - bounds[0]), value + unseen * (bounds[1] - value))


Bounds = tuple[float, float] | None


def crossed(values: np.ndarray, bounds: Bounds = (0.0, 1.0)) -> Interval:
    """The mean of a table, a row a problem and a column a seed, with its 95 % interval."""
    values = np.asarray(values, float)
    if values.ndim != 2 or min(values.shape) < 2:
        raise UserError(
            f"A table of {' x '.join(map(str, values.shape))} values has no variance over problems and seeds. "
            f"Give at least 2 problems and 2 seeds."
        )
    problems, seeds = values.shape
    mean = float(values.mean())
    if np.ptp(values) < 1e-12:
        return agreed(mean, problems, bounds)
    by_problem, by_seed = values.mean(axis=1), values.mean(axis=0)
    rest = values - by_problem[:, None] - by_seed[None] + mean
    free = {"problems": problems - 1, "seeds": seeds - 1, "rest": (problems - 1) * (seeds - 1)}
    squares = {
        "problems": seeds * float(((by_problem - mean) ** 2).sum()) / free["problems"],
        "seeds": problems * float(((by_seed - mean) ** 2).sum()) / free["seeds"],
        "rest": float((rest**2).sum()) / free["rest"],
    }
    # A source of variance that shows less than the rest does is none: its share can't be below 0.
    signs = {name: 1.0 for name in ("problems", "seeds") if squares[name] > squares["rest"] * (1 + 1e-9)}
    signs["rest"] = 1.0 - len(signs)
    parts = {name: sign * squares[name] for name, sign in signs.items() if sign}
    variance = sum(parts.values()) / values.size
    freedom = sum(parts.values()) ** 2 / sum(part**2 / free[name] for name, part in parts.items())
    reach = student_quantile((1 + LEVEL) / 2, freedom) * variance**0.5
    low, high = mean - reach, mean + reach
    return Interval(mean, *((low, high) if bounds is None else (max(low, bounds[0]), min(high, bounds[1]))))


def student_quantile(level: float, freedom: float) -> float:
    """Student's quantile, also for a fraction of a degree of freedom.

    With t = sqrt(freedom) tan(angle) his density is a power of the cosine, on an interval that has ends.
    """
    angles = np.linspace(-np.pi / 2, np.pi / 2, 200_001)[1:-1]
    density = np.cos(angles) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return float(freedom**0.5 * np.tan(np.interp(level, below / below[-1], angles)))
