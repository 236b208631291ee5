"""Teacher traces: a puzzle becomes a long trace that restates, makes mistakes, corrects itself, and checks repeatedly.

Wrong tries occur only before the last required step, checks only after the answer. So every prefix longer than a
sufficient one is sufficient too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, islice
from random import Random
from typing import Any, NamedTuple

from palign_hf.toy.world.puzzle import LARGEST, Puzzle, Step, Sum, Try, capital, pick, shuffled


OPENINGS = (
    "Okay, let me read this slowly.", "Alright, let me see what we have here.", "Okay, so this is about {theme}.",
    "Hmm, this one is about {theme}.", "Let me begin by reading the problem.",
    "Okay, a problem about {theme}, I like those.",
)  # fmt: skip
SAYS = ("It says that {}.", "So {}.", "First, {}.", "We know that {}.")
SAYS_MORE = ("And {}.", "Also, {}.", "It also says that {}.", "Then I read that {}.")
ASKS = ("The question is {}.", "They want to know {}.", "I have to find out {}.", "So what I look for is {}.")
READS_AGAIN = ("Let me read that again.", "Wait, let me read it once more.", "Not so fast, what does it say?")
MUSES = (
    "Hmm.", "Let me think.", "I have to be careful here.", "This is a little tricky.", "There is no hurry.",
    "One thing at a time.", "Where do I begin?", "I need a pencil for this.", "Let me write it down.",
    "My tea is getting cold, but this is fun.", "Hmm, how does this go?",
)  # fmt: skip
STRAYS = (
    "Maybe there is a short way.", "Let me just try something.", "Perhaps it is easy.", "I think I see it.",
    "Here is an idea.",
)  # fmt: skip
SO_FAR = ("So that would be {}.", "So I would have {}.", "Then I would go on with {}.", "Is it {} then?")
REJECTS = (
    "Wait, that is not right.", "Wait, no, that cannot be right.", "Hmm, no, something is wrong here.",
    "Oh no, that was a mistake.", "Wait, I went the wrong way.",
)  # fmt: skip
BUTS = ("But wait, {}.", "Wait, {}.", "No, {}.", "Hmm, but {}.")
RETURNS = ("Let me go back.", "Okay, once more from there.", "Let me do this part again.", "Forget that.")
FOUND = ("So {}.", "That means {}.", "And so {}.", "There it is, {}.")
CHECKS = (
    "Wait, let me check this once more.", "Let me make sure.", "I want to be sure, so I go over it again.",
    "Hold on, did I get that right?", "It never hurts to check twice.",
    "Wait, I should look at this in another way.", "Hmm, am I really sure?", "Before I stop, let me look again.",
    "Let me be slow and careful here.", "One more look, just to be safe.", "Wait, what if I made a slip?",
)  # fmt: skip
RIGHTS = ("yes", "good", "that is right", "no slip there", "fine")
AGREES = (
    "So it is {} again.", "Good, {} it is.", "Yes, {} looks right.", "So {} stays.", "I get {} once more.",
    "Everything fits.", "No mistake so far.", "That makes me happy.",
)  # fmt: skip
SENSIBLE = (
    ("Is {} a sensible number here?", "I think so, it is not too big and not too small."),
    ("Could it be something else than {}?", "I do not see how, each step had only one way."),
    ("Would I bet my lunch on {}?", "Yes, I would, even if there is cake."),
    ("Should I trust {}?", "I did each step by itself, so yes."),
    ("Is {} a whole number?", "Yes, and it should be, nothing here is cut in pieces."),
)
ANSWER = r"The answer is \boxed{{{}}}."
CORRECTION = "Wait, that is not right."


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
    muses = iter(shuffled(rng, MUSES))
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
    text.say(pick(rng, FOUND).format(puzzle.result))
    shown = sum(map(len, text[: marks[needed - 1]])) if needed else 0
    _check_at_length(rng, text, puzzle, shown / share if needed else SHORTEST + 1200 * share)
    text.paragraph()
    text.say(ANSWER.format(puzzle.answer))
    ends = [0, *accumulate(map(len, text))]
    return Narration(
        trace="".join(text).rstrip(),
        marks=tuple(ends[mark] for mark in marks),
        sufficient_segments=marks[needed - 1] if needed else 0,
        detours=tuple((ends[begin], ends[end]) for begin, end in detours),
        wrong_values=tuple(wrong.value for wrong in tries),
    )


def _restate(rng: Random, text: _Text, puzzle: Puzzle, wordy: float) -> None:
    text.say(pick(rng, OPENINGS).format(theme=puzzle.theme))
    facts = puzzle.facts[: 2 + int(3 * wordy)]
    text.say(capital(pick(rng, SAYS).format(facts[0])))
    text.say(*(pick(rng, SAYS_MORE).format(fact) for fact in facts[1:]))
    text.say(pick(rng, ASKS).format(puzzle.asked))
    if rng.random() < wordy - 0.4:
        text.paragraph()
        text.say(pick(rng, READS_AGAIN), *(f"{capital(fact)}." for fact in puzzle.facts[-2:]))
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
        text.say(pick(rng, STRAYS))
    text.say(*(f"{capital(clause)}." for clause in wrong.clauses))
    if rng.random() < 0.5:
        text.say(pick(rng, SO_FAR).format(wrong.value))
    if wrong.reason:
        text.say(pick(rng, BUTS).format(wrong.reason), *(["So that is not it."] if rng.random() < 0.4 else []))
    else:
        text.say(pick(rng, REJECTS))
    end = len(text)
    if rng.random() < 0.6:
        text.say(pick(rng, RETURNS))
    return begin, end


def _check_at_length(rng: Random, text: _Text, puzzle: Puzzle, wanted: float) -> None:
    """Add correct checks in varying forms until the wanted length is reached."""
    intros = _forever(lambda: shuffled(rng, CHECKS))
    passages = _forever(lambda: shuffled(rng, _passages(rng, puzzle)))
    for intro, passage in zip(intros, passages, strict=False):
        count, length = len(text), sum(len(sentence.rstrip()) + 1 for sentence in text)
        long_enough = length >= max(wanted - 60, SHORTEST) and count >= FEWEST_SENTENCES
        if long_enough or length > LONGEST - _ROOM or count > MOST_SENTENCES - _SENTENCES_LEFT:
            return
        text.paragraph()
        text.say(intro, *passage)
        if rng.random() < 0.6:
            text.say(pick(rng, AGREES).format(puzzle.answer))


def _forever(more: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    while True:
        yield from more()


def _passages(rng: Random, puzzle: Puzzle) -> list[Sequence[str]]:
    computed = [step.sum for step in puzzle.steps if step.sum]
    return [*puzzle.checks, _again(rng, computed), _undone(computed), _read(rng, puzzle), _sense(rng, puzzle)]


def _again(rng: Random, sums: Sequence[Sum]) -> list[str]:
    first, *rest = (f"{sum_}, {pick(rng, RIGHTS)}." for sum_ in sums)
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
    return [sentence.format(puzzle.answer) for sentence in pick(rng, SENSIBLE)]
