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

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from re import findall
from typing import TYPE_CHECKING

from palign_hf.errors import UserError, listed, nearest
from palign_hf.schema import TRACES
from palign_hf.toy.world.families import BY_NAME
from palign_hf.toy.world.narration import narrate
from palign_hf.toy.world.phrases import ANSWER, CORRECTION
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
        numbers = blake2b(repr((family, core)).encode(), digest_size=4)
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
