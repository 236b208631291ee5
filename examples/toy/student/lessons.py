"""The toy student's curriculum: solve easy problems, finish a started solution, and judge whether it could.

A lesson is a prompt of `prompts.py` with the right reply, in tokens. Harder problems are answered only from a
sufficient prefix, never from the bare question; the traces in the judge prompt are learned at a fifth of the weight.
So a sufficient prefix makes a difference to the student, and prefixes are worth learning from.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

from examples.toy.student.tree import Text, Tree, grow
from palign_hf.errors import UserError
from palign_hf.generation.rendering import ChatPrompt, JudgePrompt, ProblemPrompt
from palign_hf.prompts import ALIGN, JUDGE, LABELS, SOLVE
from palign_hf.segmentation import cuts
from palign_hf.toy.world.problems import SEED, ToyProblem, continuation, problems


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# Token weights: a verdict, a word of a reply, and the text before them, which teaches language and sums at no further
# cost.
LABEL, REPLY, READ = 1.0, 0.5, 0.1
# Cuts this close to the true one are the hard ones: all of them are judged, with double weight.
CLOSE = 4
# The smallest head size that vLLM's attention supports on every device.
HEAD = 32
# Number of problem streams that lessons are drawn from, each with its own seed.
_STREAMS = 4
# The first difficulty needs no prefix: only these problems are trained without one.
_EASY = 1

_SUM = re.compile(r"(\d+ [-+*/] \d+) = (\d+)")


@dataclass(frozen=True)
class LessonPlan:
    """Everything that determines the weights, by default of the shipped student; the counts are problems in a step."""

    seed: int = 0
    steps: int = 2400
    judging: int = 1
    finishing: int = 5
    solving: int = 4
    sums: int = 20
    rate: float = 2e-3
    matrix_rate: float = 4e-3
    warm_up: int = 50
    layers: int = 6
    width: int = 192
    inner: int = 512
    vocabulary: int = 1280
    texts: int = 2000

    def __post_init__(self) -> None:
        most = SEED // _STREAMS - 1
        if not 0 <= self.seed <= most:
            raise UserError(f"`seed={self.seed}` is outside the seeds of lessons. Give 0 to {most}.")
        for name in ("steps", "layers", "inner", "texts", "warm_up"):
            if getattr(self, name) < 1:
                raise UserError(f"`{name}={getattr(self, name)}` is too small. Give 1 or more.")
        if self.width < HEAD or self.width % HEAD:
            raise UserError(f"`width={self.width}` can't be split into heads of {HEAD}. Give a multiple of {HEAD}.")
        counts = {name: getattr(self, name) for name in ("judging", "finishing", "solving", "sums")}
        if min(counts.values()) < 0 or not any(counts.values()):
            raise UserError(f"A step of {counts} teaches nothing. Give counts of 0 or more, and not only zeros.")

    def stream(self, number: int, count: int, **kinds: Any) -> Iterator[ToyProblem]:
        """Training problems with seeds below those of users' rows; a change of one count leaves the other streams
        alone.
        """
        return problems("train", count, _STREAMS * self.seed + number, **kinds)


def curriculum(plan: LessonPlan, tokenizer: "PreTrainedTokenizerFast", first: int = 0) -> Iterator[list[list[Tree]]]:
    """Yield the trees of each step from `first` on, in groups of equal weight."""
    teacher = Teacher(tokenizer)

    def stream(number: int, count: int, **kinds: Any) -> Iterator[ToyProblem]:
        return islice(plan.stream(number, sys.maxsize, **kinds), first * count, None)

    judging, finishing, sums = stream(0, plan.judging), stream(1, plan.finishing), stream(3, plan.sums)
    easy = stream(2, plan.solving, difficulties=(_EASY,))
    for step in range(first, plan.steps):
        rng = Random(f"{plan.seed} {step}")
        solving = [teacher.solving(problem) for problem in islice(easy, plan.solving)]
        groups = [
            [teacher.judging(problem, rng) for problem in islice(judging, plan.judging)],
            [teacher.finishing(problem, rng) for problem in islice(finishing, plan.finishing)],
            [solving] if solving else [],
            [[teacher.sums(islice(sums, plan.sums))]] if plan.sums else [],
        ]
        yield [[grow(texts) for texts in group] for group in groups if group]


class Teacher:
    """Builds training texts from problems, for one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._tokenizer = tokenizer
        self._end = tokenizer.eos_token_id
        self._solve, self._align = ChatPrompt(tokenizer, SOLVE, "toy"), ChatPrompt(tokenizer, ALIGN, "toy")
        self._judge = JudgePrompt(tokenizer, JUDGE, LABELS, "toy")
        self._forced = len(self._judge.forced_ids)
        # After the forced beginning: the deciding token, then the rest of the label.
        self._labels = [tokenizer.encode(label, add_special_tokens=False)[self._forced :] for label in LABELS]

    def judging(self, problem: ToyProblem, rng: Random) -> list[Text]:
        """The judge prompt at all cuts near the true one and some others, with the true verdict."""
        ends = [0, *cuts(problem.trace)]
        enough = problem.sufficient_segments
        last = len(ends) - 1
        if rng.random() < 0.6:
            last = min(last, enough + 3 + int(10 * rng.random()))
        prompt = self._judge.problem(problem.question, problem.trace)
        shown = [k for k in range(last + 1) if abs(k - enough) <= CLOSE or k in (0, last) or rng.random() < 0.35]
        whole = shown[int(len(shown) * rng.random())]
        texts = [self._judge_at(prompt, ends[k], k >= enough, k == whole, abs(k - enough) <= CLOSE) for k in shown]
        # The longest text is learned from the first word of the trace on.
        read = range(prompt.head_tokens, len(prompt.ids(ends[last])) - len(self._judge.tail_ids))
        ids, weights = texts[-1]
        texts[-1] = Text(ids, [max(weight, READ) if at in read else weight for at, weight in enumerate(weights)])
        return texts

    def _judge_at(self, prompt: ProblemPrompt, end: int, enough: bool, whole: bool, near: bool) -> Text:
        """One verdict: its deciding token, and for one cut the rest of the label, so that it can be written out."""
        ids = prompt.ids(end)
        label, *rest = self._labels[0 if enough else 1]
        forced = self._forced if whole else 0
        rest = [*rest, self._end] if whole else []
        weights = [0.0] * (len(ids) - forced) + [READ] * forced + [LABEL if near else LABEL / 2] + [READ] * len(rest)
        return Text([*ids, label, *rest], weights)

    def finishing(self, problem: ToyProblem, rng: Random) -> list[Text]:
        """The align prompt at three sufficient cuts, most of them near the first, with the remaining solution."""
        ends = [0, *cuts(problem.trace)]
        enough = problem.sufficient_segments
        chosen = {enough}
        while len(chosen) < min(3, len(ends) - enough):
            chosen.add(min(len(ends) - 1, enough + int((len(ends) - enough) * rng.random() ** 4)))
        return [self._finished(problem, ends[cut]) for cut in sorted(chosen)]

    def solving(self, problem: ToyProblem) -> Text:
        """The solve prompt with the clean solution."""
        return self._replied(self._solve.ids(problem.question), self._solve.reply_ids(problem.solution))

    def sums(self, chosen: Iterable[ToyProblem]) -> Text:
        """The computations of some solutions, one after the other, without their problems; the results are learned."""
        ids: list[int] = []
        weights: list[float] = []
        for problem in chosen:
            for asked, result in _SUM.findall(problem.solution):
                for text, weight in ((f" {asked} =", 0.0), (f" {result}", REPLY), (".", 0.0)):
                    reply_ids = self._tokenizer.encode(text, add_special_tokens=False)
                    ids += reply_ids
                    weights += [weight] * len(reply_ids)
        return Text(ids, weights)

    def _finished(self, problem: ToyProblem, end: int) -> Text:
        prompt = self._align.ids(problem.question, problem.trace[:end])
        return self._replied(prompt, self._align.reply_ids(continuation(problem, end)))

    def _replied(self, prompt: list[int], reply_ids: list[int]) -> Text:
        return Text([*prompt, *reply_ids, self._end], [0.0] * len(prompt) + [REPLY] * (len(reply_ids) + 1))
