r"""A world with known answers: small multi-step problems, teacher traces in the manner of R1, and their truth.

**What is true here.** The clean solution of a problem is a list of steps, one sentence each. A step is *hard* when it
must be seen rather than computed: the order of a tangled story, a hidden rule, an equation, who is counted twice. The
others are *routine*: one small computation. A prefix of the trace is *sufficient*, by definition, when it has told
every hard step and all but the last two routine ones: from there a student of this world is taught to finish. How
often it then does is measured, and stands in its card.

`sufficient_end` is the smallest such prefix, as an offset that is always one of `segmentation.cuts(trace)`; it is 0
for the easiest problems, which need none. Every longer prefix is sufficient too, and no shorter one is: wrong tries
and their rejection (`detours`) all end before it, and what follows is right, however often it is checked. So a prefix
that ends inside a detour is never sufficient; a sum that a rejected try got right on its way (in one trace of forty
that need a prefix) does not count as told.

Problems are drawn, not stored: `problem(split, index, seed)` is the same on every machine. The numbers of a problem,
without its names and wording, decide its split, so that no split holds a retold problem of another.
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

VERSION = 1  # raise it whenever a problem, its trace or its truth changes
FAMILIES = tuple(BY_NAME)
DIFFICULTIES = (1, 2, 3, 4, 5)
# Which tenths of all problems belong to a split.
_TENTHS = {"train": (2, 3, 4, 5, 6, 7, 8, 9), "validation": (1,), "test": (0,)}
SPLITS = tuple(_TENTHS)
# Seeds below this one are kept for the lessons of toy students, so that users' traces are none that one was taught on.
SEED = 1000
# What `load_traces("palign-toy", split=...)` gives of each.
ROWS = {"train": 10_000, "validation": 500, "test": 500}

_WEIGHTED = (1,) * 2 + (2,) * 8 + (3,) * 7 + (4,) * 5 + (5,) * 3


@dataclass(frozen=True, slots=True)
class ToyProblem:
    """A problem, its teacher's trace and the truth about them; `solution` is what a student should write alone.

    `marks[k]` is the offset in the trace from which step k of the solution is known, `detours` are the character spans
    of the wrong tries with their rejection, `wrong_values` what came out of them.
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
    """The problem number `index` (from 0) of a split, made on the spot."""
    return _tell(split, index, seed, *_kind(split, index, seed))


def problems(
    split: str, rows: int, seed: int = SEED, difficulties: Collection[int] = DIFFICULTIES
) -> Iterator[ToyProblem]:
    """The first `rows` problems of a split, of all difficulties or some; each is `problem(split, its index, seed)`."""
    index = found = 0
    while found < rows:
        rng, family, difficulty = _kind(split, index, seed)
        if difficulty in difficulties:
            yield _tell(split, index, seed, rng, family, difficulty)
            found += 1
        index += 1


def continuation(problem: ToyProblem, end: int) -> str:
    r"""What completes the solution after `trace[:end]`: the steps not yet told, then the answer in `\boxed{}`.

    Inside a wrong try it begins with a correction.
    """
    told = sum(mark <= end for mark in problem.marks)
    astray = any(begin < end < close for begin, close in problem.detours)
    return " ".join([*([CORRECTION] if astray else []), *problem.steps[told:], ANSWER.format(problem.answer)])


def toy_traces(split: str, rows: int, seed: int = SEED) -> "Dataset":
    """A table of TRACES with the truth beside it: `family`, `difficulty`, `sufficient_segments`, `sufficient_end`."""
    from datasets import Dataset, Features, Value

    truth = {"family": "string", "difficulty": "int32", "sufficient_segments": "int32", "sufficient_end": "int64"}
    features = Features(dict(TRACES.features) | {name: Value(kind) for name, kind in truth.items()})
    made, source = list(problems(split, rows, seed)), f"palign-toy-{VERSION}"
    columns = {name: [source if name == "source" else getattr(row, name) for row in made] for name in features}
    return Dataset.from_dict(columns, features=features)


def _kind(split: str, index: int, seed: int) -> tuple[Random, str, int]:
    if split not in SPLITS:
        raise UserError(f"`{split}` is no split{nearest(split, SPLITS)}. Choose one of {listed(SPLITS)}.")
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
        # A number that the question shows would be too easy a guess.
        if str(puzzle.answer) not in findall(r"\d+", puzzle.question):
            break
    told = narrate(rng, puzzle)
    steps = tuple(step.text for step in puzzle.steps)
    return ToyProblem(
        id=f"toy{VERSION}-{seed}-{split}-{index}",
        family=family,
        difficulty=difficulty,
        question=puzzle.question,
        solution=" ".join([*steps, ANSWER.format(puzzle.answer)]),
        answer=str(puzzle.answer),
        sufficient_end=told.marks[puzzle.needed - 1] if puzzle.needed else 0,
        steps=steps,
        **told._asdict(),
    )
