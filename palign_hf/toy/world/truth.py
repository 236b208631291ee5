"""Cut and judge quality against the toy world's truth.

Rows are matched by id, so this works on any PREFIXES table of toy traces, published ones included. The judge's figures
are reported with those of prefix length alone: among cuts of whole traces length predicts nearly everything, so a
judge adds value only near the boundary.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any

import numpy as np

from palign_hf.errors import UserError
from palign_hf.toy.world.problems import VERSION, ToyProblem, problem


# A PREFIXES table of toy traces, or some of its rows.
Rows = Iterable[Mapping[str, Any]]
# Cuts before the true one, and from it on, that count as near the boundary.
NEAR = 4

_BOX = re.compile(r"\\boxed\{([^{}]*)\}")
_ID = re.compile(r"toy(\d+)-(\d+)-([a-z]+)-(\d+)")


@lru_cache(1000)
def toy_problem(row_id: str) -> ToyProblem:
    """The problem of a row of toy traces."""
    found = _ID.fullmatch(row_id)
    if not found or int(found[1]) != VERSION:
        raise UserError(
            f"`{row_id}` is not a problem of version {VERSION} of the toy world, so its true cut is unknown. "
            f"Give rows made from `load_traces('palign-toy', split='test')` by this release."
        )
    return problem(found[3], int(found[4]), int(found[2]))


def _problem_of(row: Mapping[str, Any]) -> ToyProblem:
    true = toy_problem(row["id"])
    if row["trace"] != true.trace:
        raise UserError(
            f"The trace of row `{true.id}` differs from the generated one, so its true cut is unknown. Remove "
            f"rows whose trace was changed."
        )
    return true


def right_by_truth(row_id: str, text: str) -> bool:
    """Whether a solution of that problem ends with its true answer, a number in a box."""
    boxes = _BOX.findall(text)
    return bool(boxes) and boxes[-1] == toy_problem(row_id).answer


@dataclass(frozen=True)
class CutSkill:
    """Distance of found cuts from the true ones, in segments; `failed` rows have no cut and no distance.

    `probes` is the mean number of probes, failed rows included; ratios are shares of the trace's characters.
    """

    rows: int
    failed: int
    median_distance: float | None
    mean_distance: float | None
    exact: float | None
    within_two: float | None
    too_short: float | None
    too_long: float | None
    found_ratio: float | None
    true_ratio: float | None
    probes: float | None


def cut_skill(prefixes: Rows) -> CutSkill:
    """Compare a PREFIXES table of toy traces with the truth."""
    rows = list(prefixes)
    found = [row for row in rows if row["prefix_segments"] is not None]
    off = distances(found)
    if not off:
        return CutSkill(len(rows), len(rows), *[None] * 9)

    def share(those: Iterable[float]) -> float:
        return sum(those) / len(off)

    return CutSkill(
        rows=len(rows),
        failed=len(rows) - len(off),
        median_distance=float(median(map(abs, off))),
        mean_distance=share(map(abs, off)),
        exact=share(step == 0 for step in off),
        within_two=share(abs(step) <= 2 for step in off),
        too_short=share(step < 0 for step in off),
        too_long=share(step > 0 for step in off),
        found_ratio=share(row["prefix_end"] / len(row["trace"]) for row in found),
        true_ratio=share(_problem_of(row).sufficient_end / len(row["trace"]) for row in found),
        probes=sum(len(row["probes"]) for row in rows) / len(rows),
    )


def distances(prefixes: Rows) -> list[int]:
    """Found minus true cut of every row that has one; below 0 is too short."""
    found = (row for row in prefixes if row["prefix_segments"] is not None)
    return [row["prefix_segments"] - _problem_of(row).sufficient_segments for row in found]


@dataclass(frozen=True)
class JudgeSkill:
    """A judge against the truth over `cuts` answered cuts; `None` where all cuts are of one kind."""

    cuts: int
    accuracy: float | None
    auroc: float | None
    auroc_of_length: float | None
    near_cuts: int
    near_accuracy: float | None
    near_auroc: float | None
    near_auroc_of_length: float | None


def judge_skill(curves: Iterable[tuple[Mapping[int, float], int, int]]) -> JudgeSkill:
    """Measure margins by cut, each with the true sufficient cut and the number of segments of its trace."""
    judged = [
        (margin, cut / segments, cut >= sufficient, -NEAR <= cut - sufficient < NEAR)
        for curve, sufficient, segments in curves
        for cut, margin in curve.items()
    ]
    near = [one for one in judged if one[3]]
    return JudgeSkill(len(judged), *_figures(judged), len(near), *_figures(near))


def _figures(judged: Sequence[tuple[float, float, bool, bool]]) -> tuple[float | None, float | None, float | None]:
    """Accuracy and AUROC of the margins, and the AUROC of length."""
    truths = [true for _, _, true, _ in judged]
    accuracy = sum((margin > 0) == true for margin, _, true, _ in judged) / len(judged) if judged else None
    return accuracy, auroc([one[0] for one in judged], truths), auroc([one[1] for one in judged], truths)


def curves_of(prefixes: Rows) -> list[tuple[dict[int, float], int, int]]:
    """Build the input of `judge_skill` from the probes of a PREFIXES table that was made with `search="every"`."""
    found = []
    for row in prefixes:
        curve = {probe["segments"]: probe["margin"] for probe in row["probes"] if probe["margin"] is not None}
        if curve:
            found.append((curve, _problem_of(row).sufficient_segments, row["n_segments"]))
    return found


def auroc(scores: Sequence[float], truths: Sequence[bool]) -> float | None:
    """Probability that a true item scores above a false one, ties half; None if either kind is missing."""
    values, positive = np.asarray(scores, dtype=float), np.asarray(truths, dtype=bool)
    above, below = values[positive], np.sort(values[~positive])
    if not len(above) or not len(below):
        return None
    wins = np.searchsorted(below, above, side="left") + np.searchsorted(below, above, side="right")
    return float(wins.sum() / (2 * len(above) * len(below)))
