"""What the toy student is taught: solve easy problems, finish a started solution, and judge whether it could.

A lesson is a prompt of `prompts.py` with the right reply, in tokens. The harder problems are replied to from a
sufficient prefix only, never from the bare question; their traces are read along in the judge prompt at a fifth of the
weight. So a sufficient prefix makes a difference to it, and there is something left to learn from prefixes.
"""

import re
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

from palign_hf.asking.rendering import JudgePrompt, ProblemPrompt
from palign_hf.prompts import ALIGN, JUDGE, LABELS, NO_PREFIX, SOLVE
from palign_hf.segmentation import cuts
from palign_hf.toy.student.tree import Text
from palign_hf.toy.world.problems import ToyProblem, continuation


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# What a token counts: a verdict, a word of a reply, and what is read along on the way to them, which teaches language
# and sums at no further cost.
LABEL, REPLY, READ = 1.0, 0.5, 0.1
# Verdicts so few cuts from the true one are the hard ones: all of them are asked, and they count double.
CLOSE = 4

_SUM = re.compile(r"(\d+ [-+*/] \d+) = (\d+)")


class Teacher:
    """Turns problems into texts to learn, for one tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerFast") -> None:
        self._tokenizer = tokenizer
        self._end = tokenizer.eos_token_id
        self._judge = JudgePrompt(tokenizer, JUDGE, LABELS, "toy")
        whole = [tokenizer.encode(label, add_special_tokens=False) for label in LABELS]
        forced = len(self._judge.forced_ids)
        # What follows the forced beginning: the token that tells, then the rest of the label.
        self._labels = [ids[forced:] for ids in whole]
        self._forced = forced

    def judging(self, problem: ToyProblem, rng: Random) -> list[Text]:
        """The judge prompt at all cuts near the true one and some others, up to a point after it, with the truth."""
        ends = [0, *cuts(problem.trace)]
        enough = problem.sufficient_segments
        last = len(ends) - 1
        if rng.random() < 0.6:
            last = min(last, enough + 3 + int(10 * rng.random()))
        prompt = self._judge.problem(problem.question, problem.trace)
        shown = [k for k in range(last + 1) if abs(k - enough) <= CLOSE or k in (0, last) or rng.random() < 0.35]
        whole = shown[int(len(shown) * rng.random())]
        texts = [self._judge_at(prompt, ends[k], k >= enough, k == whole, abs(k - enough) <= CLOSE) for k in shown]
        trunk = len(prompt.ids(ends[last])) - len(self._judge.tail_ids)
        texts[-1] = self._read_along(texts[-1], prompt.head_tokens, trunk)
        return texts

    def _judge_at(self, prompt: ProblemPrompt, end: int, enough: bool, whole: bool, near: bool) -> Text:
        """One verdict: its telling token, and now and then the rest of the label so that it can be written out."""
        ids = prompt.ids(end)
        label = self._labels[0 if enough else 1]
        forced = self._forced if whole else 0
        rest = [*label[1:], self._end] if whole else []
        weights = [0.0] * (len(ids) - forced) + [READ] * forced + [LABEL if near else LABEL / 2] + [READ] * len(rest)
        return Text([*ids, label[0], *rest], weights)

    def finishing(self, problem: ToyProblem, rng: Random, count: int = 3) -> list[Text]:
        """The align prompt at some sufficient cuts, most of them near the first, with what remains to be said."""
        ends = [0, *cuts(problem.trace)]
        enough = problem.sufficient_segments
        chosen = {enough}
        while len(chosen) < min(count, len(ends) - enough):
            chosen.add(min(len(ends) - 1, enough + int((len(ends) - enough) * rng.random() ** 4)))
        return [self._finish(problem, ends[cut]) for cut in sorted(chosen)]

    def sums(self, problems: Iterable[ToyProblem]) -> list[Text]:
        """The sums of some solutions, without their problems and one after the other; their results are learnt."""
        ids: list[int] = []
        weights: list[float] = []
        for problem in problems:
            for asked, result in _SUM.findall(problem.solution):
                for text, weight in ((f" {asked} =", 0.0), (f" {result}", REPLY), (".", 0.0)):
                    said = self._tokenizer.encode(text, add_special_tokens=False)
                    ids += said
                    weights += [weight] * len(said)
        return [Text(ids, weights)]

    def solving(self, problem: ToyProblem) -> list[Text]:
        """The solve prompt with the clean solution."""
        return [self._reply(SOLVE.render(question=problem.question), problem.solution)]

    def _finish(self, problem: ToyProblem, end: int) -> Text:
        draft = problem.trace[:end].rstrip()
        prompt = ALIGN.render(question=problem.question, prefix=draft or NO_PREFIX)
        return self._reply(prompt, continuation(problem, end))

    def _reply(self, prompt: str, reply: str) -> Text:
        ids = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        said = self._tokenizer.encode(reply, add_special_tokens=False)
        return Text([*ids, *said, self._end], [0.0] * len(ids) + [REPLY] * (len(said) + 1))

    @staticmethod
    def _read_along(text: Text, begin: int, end: int) -> Text:
        weights = [max(weight, READ) if begin <= at < end else weight for at, weight in enumerate(text.weights)]
        return Text(text.ids, weights)
