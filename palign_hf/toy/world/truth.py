"""Cuts and margins against the truth, which the toy world alone knows.

A row is known again by its id, so this works on any PREFIXES table of toy traces, published ones included. Beside the
judge stand the figures of prefix length alone: among cuts drawn from whole traces length says nearly everything, so a
judge is worth something only by what it adds near the boundary.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.errors import UserError
from palign_hf.toy.world.problems import VERSION, ToyProblem, problem


if TYPE_CHECKING:
    from datasets import Dataset

# So many cuts before the true one and from it on are near the boundary.
NEAR = 4

_ID = re.compile(r"toy(\d+)-(\d+)-([a-z]+)-(\d+)")


def toy_problem(row_id: str) -> ToyProblem:
    """The problem behind a row of toy traces."""
    found = _ID.fullmatch(row_id)
    if not found:
        raise UserError(
            f"`{row_id}` is no problem of the toy world, so nothing is known of its true cut. Give rows made from "
            f"`toy_traces` or `load_traces('palign-toy', split='test')`."
        )
    if int(found[1]) != VERSION:
        raise UserError(
            f"`{row_id}` comes from version {found[1]} of the toy world, this release has version {VERSION}. Make "
            f"the traces again."
        )
    return problem(found[3], int(found[4]), int(found[2]))


def _problem_of(row: Mapping[str, Any]) -> ToyProblem:
    true = toy_problem(row["id"])
    if row["trace"] != true.trace:
        raise UserError(
            f"The row `{true.id}` has another trace than the toy world gives it, so its true cut is unknown. Leave "
            f"out rows whose trace was changed."
        )
    return true


@dataclass(frozen=True)
class CutSkill:
    """How far found cuts lie from the true ones, in segments; `failed` rows have no cut and no distance.

    `probes` are questions a row, those of failed rows included; ratios are shares of the trace's characters.
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

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def cut_skill(prefixes: "Dataset | Iterable[Mapping[str, Any]]") -> CutSkill:
    """Compare a PREFIXES table of toy traces with the truth."""
    off: list[int] = []
    found_ratios, true_ratios = [], []
    rows = probes = 0
    for row in prefixes:
        rows += 1
        probes += len(row["probes"])
        if row["prefix_segments"] is None:
            continue
        true = _problem_of(row)
        off.append(row["prefix_segments"] - true.sufficient_segments)
        found_ratios.append(row["prefix_end"] / len(row["trace"]))
        true_ratios.append(true.sufficient_end / len(true.trace))
    count = len(off)
    if not count:
        return CutSkill(rows, rows, *[None] * 9)
    return CutSkill(
        rows=rows,
        failed=rows - count,
        median_distance=float(median(map(abs, off))),
        mean_distance=sum(map(abs, off)) / count,
        exact=sum(step == 0 for step in off) / count,
        within_two=sum(abs(step) <= 2 for step in off) / count,
        too_short=sum(step < 0 for step in off) / count,
        too_long=sum(step > 0 for step in off) / count,
        found_ratio=sum(found_ratios) / count,
        true_ratio=sum(true_ratios) / count,
        probes=probes / rows,
    )


def distances(prefixes: "Dataset | Iterable[Mapping[str, Any]]") -> list[int]:
    """Found minus true cut of every row that has one: below 0 is too short."""
    return [
        row["prefix_segments"] - _problem_of(row).sufficient_segments
        for row in prefixes
        if row["prefix_segments"] is not None
    ]


@dataclass(frozen=True)
class JudgeSkill:
    """A judge against the truth over `cuts` answered cuts; `None` where only one kind of cut was seen."""

    cuts: int
    accuracy: float | None
    auroc: float | None
    auroc_of_length: float | None
    near_cuts: int
    near_accuracy: float | None
    near_auroc: float | None
    near_auroc_of_length: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def judge_skill(curves: Iterable[tuple[Mapping[int, float], int, int]]) -> JudgeSkill:
    """Measure margins by cut, each with the true sufficient cut and the number of segments of its trace."""
    margins, shares, truths, near = [], [], [], []
    for curve, sufficient, segments in curves:
        for cut, margin in curve.items():
            margins.append(margin)
            shares.append(cut / segments)
            truths.append(cut >= sufficient)
            near.append(-NEAR <= cut - sufficient < NEAR)
    close = [at for at, is_near in enumerate(near) if is_near]

    def at_near(values: Sequence[Any]) -> list[Any]:
        return [values[at] for at in close]

    return JudgeSkill(
        cuts=len(margins),
        accuracy=_accuracy(margins, truths),
        auroc=auroc(margins, truths),
        auroc_of_length=auroc(shares, truths),
        near_cuts=len(close),
        near_accuracy=_accuracy(at_near(margins), at_near(truths)),
        near_auroc=auroc(at_near(margins), at_near(truths)),
        near_auroc_of_length=auroc(at_near(shares), at_near(truths)),
    )


def curves_of(prefixes: "Dataset | Iterable[Mapping[str, Any]]") -> list[tuple[dict[int, float], int, int]]:
    """What `judge_skill` reads, out of the probes of a PREFIXES table: ask every cut (`search="every"`) for it."""
    found = []
    for row in prefixes:
        curve = {probe["segments"]: probe["margin"] for probe in row["probes"] if probe["margin"] is not None}
        if curve:
            found.append((curve, _problem_of(row).sufficient_segments, row["n_segments"]))
    return found


def auroc(scores: Sequence[float], truths: Sequence[bool]) -> float | None:
    """How often a true one scores above a false one, ties half; None if there is nothing to compare."""
    values, positive = np.asarray(scores, dtype=float), np.asarray(truths, dtype=bool)
    above, below = values[positive], np.sort(values[~positive])
    if not len(above) or not len(below):
        return None
    wins = np.searchsorted(below, above, side="left") + np.searchsorted(below, above, side="right")
    return float(wins.sum() / (2 * len(above) * len(below)))


def _accuracy(margins: Sequence[float], truths: Sequence[bool]) -> float | None:
    right = [(margin > 0) == true for margin, true in zip(margins, truths, strict=True)]
    return sum(right) / len(right) if right else None
