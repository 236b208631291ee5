"""Teacher traces: a puzzle becomes a long trace that restates, makes mistakes, corrects itself, and checks repeatedly.

Wrong tries occur only before the last required step, checks only after the answer. So every prefix longer than a
sufficient one is sufficient too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from random import Random
from typing import Any, NamedTuple

from palign_hf.toy.world import phrases
from palign_hf.toy.world.puzzle import LARGEST, Puzzle, Step, Sum, Try, capital, pick, shuffled


SHORTEST, LONGEST = 600, 2500
FEWEST_SENTENCES, MOST_SENTENCES = 15, 60
# Characters and sentences that must be left to begin another check.
_ROOM, _SENTENCES_LEFT = 330, 11
# Above this required share of the trace, the teacher makes a wrong try at every step.
_STUCK = 0.8


class Narration(NamedTuple):
    """A trace with the end of each solution step, the spans of the wrong tries, and their wrong values."""

    trace: str
    marks: tuple[int, ...]
    sufficient_segments: int
    detours: tuple[tuple[int, int], ...]
    wrong_values: tuple[int, ...]


class _Text(list[str]):
    """Sentences with their separators; positions are counted in sentences until the text is complete."""

    def say(self, *sentences: str) -> None:
        self += [f"{sentence} " for sentence in sentences]

    def paragraph(self) -> None:
        self[-1] = self[-1].rstrip() + "\n\n"


def narrate(rng: Random, puzzle: Puzzle) -> Narration:
    """Write the solution of `puzzle` at length; easy ones have no wrong try.

    The share of the trace that must be shown is drawn first; checks extend the trace to about the length that gives
    it.
    """
    text, marks = _Text(), [0] * len(puzzle.steps)
    tries: list[Try] = []
    detours: list[tuple[int, int]] = []
    needed, share = puzzle.needed, 0.04 + 0.92 * rng.random() ** 2.5
    stuck = share > _STUCK
    wordy = 1.0 if stuck else rng.random() ** 1.5
    _restate(rng, text, puzzle, wordy)
    muses = iter(shuffled(rng, phrases.MUSES))
    for number, step in enumerate(puzzle.steps):
        if step.leads or rng.random() < 0.3 * wordy:
            text.say(*islice(muses, 1 + (rng.random() < wordy - 0.3)))
        text.say(*step.leads)
        likely = 1.0 if stuck else (0.45 if step.hard else 0.1) + 0.2 * wordy
        may_stray = number < needed and len(detours) < (4 if stuck else 3)
        if may_stray and rng.random() < likely and (wrong := _wrong_try(rng, step, puzzle.answer)):
            tries.append(wrong)
            detours.append(_stray(rng, text, wrong))
        text.say(capital(pick(rng, step.wordings)))
        marks[number] = len(text)
        if rng.random() < 0.2:
            text.paragraph()
    text.say(pick(rng, phrases.FOUND).format(puzzle.result))
    shown = sum(map(len, text[: marks[needed - 1]])) if needed else 0
    _check_at_length(rng, text, puzzle, shown / share if needed else SHORTEST + 1200 * share)
    text.paragraph()
    text.say(phrases.ANSWER.format(puzzle.answer))
    ends = [0, *accumulate(map(len, text))]
    return Narration(
        trace="".join(text).rstrip(),
        marks=tuple(ends[mark] for mark in marks),
        sufficient_segments=marks[needed - 1] if needed else 0,
        detours=tuple((ends[begin], ends[end]) for begin, end in detours),
        wrong_values=tuple(wrong.value for wrong in tries),
    )


def _restate(rng: Random, text: _Text, puzzle: Puzzle, wordy: float) -> None:
    text.say(pick(rng, phrases.OPENINGS).format(theme=puzzle.theme))
    facts = puzzle.facts[: 2 + int(3 * wordy)]
    text.say(capital(pick(rng, phrases.SAYS).format(facts[0])))
    text.say(*(pick(rng, phrases.SAYS_MORE).format(fact) for fact in facts[1:]))
    text.say(pick(rng, phrases.ASKS).format(puzzle.asked))
    if rng.random() < wordy - 0.4:
        text.paragraph()
        text.say(pick(rng, phrases.READS_AGAIN), *(f"{capital(fact)}." for fact in puzzle.facts[-2:]))
    text.paragraph()


def _wrong_try(rng: Random, step: Step, answer: int) -> Try | None:
    """A mistake of the family, or a slip in the computation; its value is neither the answer nor the right one."""
    right = step.sum.value if step.sum else None
    possible = [wrong for wrong in step.tries if 0 < wrong.value <= LARGEST and wrong.value not in (answer, right)]
    if step.sum and (not possible or rng.random() < 0.4):
        left, (sign, n), value = *step.sum, step.sum.value + pick(rng, (-2, -1, 1, 2, 10))
        slip = Try(value, (f"{left} {sign} {n} = {value}",))
        possible = [slip] if 0 < value <= LARGEST and value != answer else possible
    return pick(rng, possible) if possible else None


def _stray(rng: Random, text: _Text, wrong: Try) -> tuple[int, int]:
    """Write a wrong try and its rejection; return its begin and end, in sentences."""
    if rng.random() < 0.6:
        text.paragraph()
    begin = len(text)
    if wrong.reason and rng.random() < 0.6:
        text.say(pick(rng, phrases.STRAYS))
    text.say(*(f"{capital(clause)}." for clause in wrong.clauses))
    if rng.random() < 0.5:
        text.say(pick(rng, phrases.SO_FAR).format(wrong.value))
    if wrong.reason:
        text.say(pick(rng, phrases.BUTS).format(wrong.reason), *(["So that is not it."] if rng.random() < 0.4 else []))
    else:
        text.say(pick(rng, phrases.REJECTS))
    end = len(text)
    if rng.random() < 0.6:
        text.say(pick(rng, phrases.RETURNS))
    return begin, end


def _check_at_length(rng: Random, text: _Text, puzzle: Puzzle, wanted: float) -> None:
    """Add correct checks in varying forms until the wanted length is reached."""
    intros = _forever(lambda: shuffled(rng, phrases.CHECKS))
    passages = _forever(lambda: shuffled(rng, _passages(rng, puzzle)))
    for intro, passage in zip(intros, passages, strict=False):
        count, length = len(text), sum(len(sentence.rstrip()) + 1 for sentence in text)
        long_enough = length >= max(wanted - 60, SHORTEST) and count >= FEWEST_SENTENCES
        if long_enough or length > LONGEST - _ROOM or count > MOST_SENTENCES - _SENTENCES_LEFT:
            return
        text.paragraph()
        text.say(intro, *passage)
        if rng.random() < 0.6:
            text.say(pick(rng, phrases.AGREES).format(puzzle.answer))


def _forever(more: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    while True:
        yield from more()


def _passages(rng: Random, puzzle: Puzzle) -> list[Sequence[str]]:
    computed = [step.sum for step in puzzle.steps if step.sum]
    return [*puzzle.checks, _again(rng, computed), _undone(computed), _read(rng, puzzle), _sense(rng, puzzle)]


def _again(rng: Random, sums: Sequence[Sum]) -> list[str]:
    first, *rest = (f"{sum_}, {pick(rng, phrases.RIGHTS)}." for sum_ in sums)
    return [f"I had {first}", *(f"Then {line}" for line in rest)]


def _undone(sums: Sequence[Sum]) -> list[str]:
    lines = []
    for sum_ in sums[-3:]:
        back = Sum(sum_.value, sum_.op.inverse)
        lines += [f"Is {sum_.left} {sum_.op.sign} {sum_.op.n} really {sum_.value}?", f"Yes, because {back}."]
    return lines


def _read(rng: Random, puzzle: Puzzle) -> list[str]:
    facts = [pick(rng, ("It says that {}.", "We have that {}.", "Yes, {}.")).format(fact) for fact in puzzle.facts[:4]]
    return ["Did I read the problem right?", *facts, f"And they want to know {puzzle.asked}."]


def _sense(rng: Random, puzzle: Puzzle) -> list[str]:
    return [sentence.format(puzzle.answer) for sentence in pick(rng, phrases.SENSIBLE)]
