"""Measures of the study's students, as tables of problems and seeds, over all problems or a group."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.toy.study.arms import FIRST, StudyPlan
from examples.toy.study.lesson import samples_of
from palign_hf.evaluation.grade import read_samples
from palign_hf.evaluation.metrics import Measures, measure
from palign_hf.evaluation.samples import Sample
from palign_hf.evaluation.statistics import Interval, check_same_problems, crossed
from palign_hf.evaluation.summary import grouped


# Reported measures of each arm: their names in `measure`, and their column names.
SHOWN = {
    "strict pass@1": "pass@1",
    "strict pass@3": "pass@3",
    "tokens": "tokens",
    "draft": "begins a draft",
    "closed": "no draft left open",
    "boxed": "boxed",
    "loop": "in a loop",
}
Students = Mapping[str, Sequence[Sequence[Sample]]]


@dataclass(frozen=True)
class Figures:
    """Measures of all arms and seeds over the same problems."""

    measures: Mapping[str, Sequence[Measures]]

    @property
    def problems(self) -> int:
        """Number of problems."""
        return len(next(iter(self.measures.values()))[0].problems)

    def names(self) -> list[str]:
        """The measures of `SHOWN` that exist: `pass@3` needs three samples."""
        known = next(iter(self.measures.values()))[0].of
        return [name for name in SHOWN if name in known]

    def of(self, arm: str, name: str) -> Interval:
        """A measure of an arm, with its interval."""
        return crossed(self._values(arm, name), self._bounds(name))

    def apart(self, arm: str, name: str, other: str = FIRST) -> Interval:
        """Difference between two arms, paired by problem and seed."""
        bounds = self._bounds(name)
        difference = self._values(arm, name) - self._values(other, name)
        return crossed(difference, bounds and (bounds[0] - bounds[1], bounds[1] - bounds[0]))

    def _values(self, arm: str, name: str) -> np.ndarray:
        found = [one.of[name] for one in self.measures[arm]]
        return np.stack([one.totals / one.weights for one in found], axis=1)

    def _bounds(self, name: str) -> tuple[float, float] | None:
        return next(iter(self.measures.values()))[0].of[name].bounds


def read_students(plan: StudyPlan, folder: Path, seeds: int) -> Students:
    """Read the samples of all arms for the first `seeds` seeds."""
    arms = dict.fromkeys(arm for arm, _ in plan.runs())
    return {arm: [read_samples(samples_of(folder, arm, seed)) for seed in range(seeds)] for arm in arms}


def figures(students: Students) -> Figures:
    """Measure all problems."""
    measured = {arm: [measure(samples) for samples in seeds] for arm, seeds in students.items()}
    check_same_problems({f"{arm}, seed {k}": one for arm, seeds in measured.items() for k, one in enumerate(seeds)})
    return Figures(measured)


def by(students: Students, column: str) -> dict[str, Figures]:
    """Measure the problems of each value of a column."""
    return {
        value: figures({arm: [groups[value] for groups in seeds] for arm, seeds in parted.items()})
        for parted in [_parted(students, lambda sample: sample.about[column])]
        for value in next(iter(parted.values()))[0]
    }


def _parted(students: Students, key: Callable[[Sample], object]) -> dict[str, list[dict[str, list[Sample]]]]:
    return {arm: [grouped(samples, key) for samples in seeds] for arm, seeds in students.items()}
