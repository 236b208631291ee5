"""95 % intervals over several trainings: problems and seeds as crossed random effects.

A student trained with another seed is another student, so five seeds on the same problems are not five hundred
problems: what a seed shares over all problems doesn't vanish with more problems. Each figure is a mean over a table of
problems and seeds. Its variance is that of problems, of seeds and of the rest, each over their number (two-way random
effects, estimated from the mean squares), and the interval is Student's with Satterthwaite's degrees of freedom: few
seeds that differ much make it wide.
"""

import numpy as np

from palign_hf.errors import UserError
from palign_hf.evaluation.intervals import LEVEL, Interval, agreed


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
