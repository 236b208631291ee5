"""The toy world: small multi-step problems, teacher traces in the style of R1, and the true sufficient cuts.

**Definition.** The clean solution of a problem is a list of steps, one sentence each. A step is *hard* when it needs
insight rather than computation: the order of a tangled story, a hidden rule, an equation, a double count. The others
are *routine*: one small computation. A prefix of the trace is *sufficient*, by definition, when it contains every hard
step and all but the last two routine ones: a student of this world is trained to finish from there. How often it does
is measured, and reported in its card.

`sufficient_end` is the smallest such prefix, as an offset that is always one of `segmentation.cuts(trace)`; it is 0
for the easiest problems. Every longer prefix is sufficient, and no shorter one is: wrong tries and their rejections
(`detours`) all end before it, and everything after it is right. So a prefix that ends inside a detour is never
sufficient; a computation that a rejected try happened to get right (in one of forty traces that need a prefix) does
not count.

Problems are generated: `problem(split, index, seed)` is the same on every machine. The numbers of a problem, without
its names and wording, decide its split, so no split rewords a problem of another.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from random import Random
from re import findall
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.errors import UserError, listed, nearest
from palign_hf.schema import TRACES
from palign_hf.toy.world.families import BY_NAME
from palign_hf.toy.world.narration import ANSWER, CORRECTION, narrate
from palign_hf.toy.world.puzzle import pick


if TYPE_CHECKING:
    from datasets import Dataset


VERSION = 1  # raise it when a problem, its trace or its truth changes
FAMILIES = tuple(BY_NAME)
DIFFICULTIES = (1, 2, 3, 4, 5)
# Tenths of all problems that belong to each split.
_TENTHS = {"train": (2, 3, 4, 5, 6, 7, 8, 9), "validation": (1,), "test": (0,)}
SPLITS = tuple(_TENTHS)
# Smaller seeds are reserved for training toy students, so that users' traces are never training data.
SEED = 1000
# Rows of each split in `load_traces("palign-toy", split=...)`.
ROWS = {"train": 10_000, "validation": 500, "test": 500}

_WEIGHTED = (1,) * 2 + (2,) * 8 + (3,) * 7 + (4,) * 5 + (5,) * 3


@dataclass(frozen=True, slots=True)
class ToyProblem:
    """A problem with its teacher trace and truth; `solution` is the clean solution.

    `marks[k]` is the offset in the trace after which step k of the solution is known, `detours` are the character
    spans of the wrong tries with their rejections, `wrong_values` their results.
    """

    id: str
    family: str
    difficulty: int
    question: str
    trace: str
    solution: str
    answer: str
    sufficient_end: int
    sufficient_segments: int
    detours: tuple[tuple[int, int], ...]
    wrong_values: tuple[int, ...]
    steps: tuple[str, ...]
    marks: tuple[int, ...]


def problem(split: str, index: int, seed: int = SEED) -> ToyProblem:
    """Generate the problem number `index` (from 0) of a split."""
    return _tell(split, index, seed, *_kind(split, index, seed))


def problems(
    split: str, rows: int, seed: int = SEED, difficulties: Collection[int] = DIFFICULTIES
) -> Iterator[ToyProblem]:
    """Yield the first `rows` problems of a split, of all or some difficulties; each is `problem(split, its index,
    seed)`.
    """
    index = found = 0
    while found < rows:
        rng, family, difficulty = _kind(split, index, seed)
        if difficulty in difficulties:
            yield _tell(split, index, seed, rng, family, difficulty)
            found += 1
        index += 1


def continuation(problem: ToyProblem, end: int) -> str:
    r"""Return the solution after `trace[:end]`: the steps not yet shown, then the answer in `\boxed{}`.

    Inside a wrong try it begins with a correction.
    """
    shown = sum(mark <= end for mark in problem.marks)
    astray = any(begin < end < close for begin, close in problem.detours)
    return " ".join([*([CORRECTION] if astray else []), *problem.steps[shown:], ANSWER.format(problem.answer)])


def toy_traces(split: str, rows: int, seed: int = SEED) -> "Dataset":
    """Return TRACES with the truth: `family`, `difficulty`, `sufficient_segments`, `sufficient_end`."""
    from datasets import Dataset, Features, Value

    truth = {"family": "string", "difficulty": "int32", "sufficient_segments": "int32", "sufficient_end": "int64"}
    features = Features(dict(TRACES.features) | {name: Value(kind) for name, kind in truth.items()})
    made, source = list(problems(split, rows, seed)), f"palign-toy-{VERSION}"
    columns = {name: [source if name == "source" else getattr(row, name) for row in made] for name in features}
    return Dataset.from_dict(columns, features=features)


def _kind(split: str, index: int, seed: int) -> tuple[Random, str, int]:
    if split not in SPLITS:
        raise UserError(f"`{split}` is not a split{nearest(split, SPLITS)}. Choose one of {listed(SPLITS)}.")
    rng = Random(f"{VERSION} {seed} {split} {index}")
    return rng, pick(rng, FAMILIES), pick(rng, _WEIGHTED)


def _tell(split: str, index: int, seed: int, rng: Random, family: str, difficulty: int) -> ToyProblem:
    world = BY_NAME[family]
    while True:
        core = world.draw(rng, difficulty)
        # The numbers of every family are hashed under one name: renaming a class must not change a problem.
        drawn = repr((family, core)).replace(f"{type(core).__name__}(", "Core(", 1)
        numbers = blake2b(drawn.encode(), digest_size=4)
        if core is None or int.from_bytes(numbers.digest()) % 10 not in _TENTHS[split]:
            continue
        puzzle = world.tell(rng, difficulty, core)
        # An answer that occurs in the question would be too easy to guess.
        if str(puzzle.answer) not in findall(r"\d+", puzzle.question):
            break
    narration = narrate(rng, puzzle)
    steps = tuple(step.text for step in puzzle.steps)
    return ToyProblem(
        id=f"toy{VERSION}-{seed}-{split}-{index}",
        family=family,
        difficulty=difficulty,
        question=puzzle.question,
        solution=" ".join([*steps, ANSWER.format(puzzle.answer)]),
        answer=str(puzzle.answer),
        sufficient_end=narration.marks[puzzle.needed - 1] if puzzle.needed else 0,
        steps=steps,
        **narration._asdict(),
    )


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
