"""Measures of samples: one total and one weight per problem, so that intervals use the same numbers.

* `pass@k`: the chance that at least one of k samples is right, estimated without bias from the n of a problem; its
  mean over problems. So `pass@1` is the share of right samples, not the verdict on the first one.
* `avg@n`: the share of right samples of a problem, its mean over problems: the same figure as `pass@1`.
* `maj@n`: whether the most frequent answer among n samples is right. Answers are compared as numbers or, without their
  layout, as texts; samples without an answer don't vote, and a problem without any vote is wrong. Where answers tie,
  the share of them that is right counts. A strict vote needs a box.
* rates, tokens and the share of the draft: means over samples.

Each of the first three has a strict and a lenient form. n is the least number of samples of a problem: `maj@n` takes
the first n of each problem, the others take all.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from palign_hf.engines.base import sample_seed
from palign_hf.errors import UserError
from palign_hf.evaluation.samples import Sample
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.generation.sampling import Ask, StoredSample
from palign_hf.generation.store import AnswerTable
from palign_hf.grading.compare import LONGEST
from palign_hf.grading.normalization import bare, compact
from palign_hf.grading.numerals import read_number
from palign_hf.repetition import loops


VERDICTS = ("strict", "lenient")
RATES = ("draft", "closed", "boxed", "cut", "loop")
_SHARE = (0.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """A figure: the sum of `totals` over that of `weights`, one of each per problem; `bounds` limit all values."""

    totals: np.ndarray
    weights: np.ndarray
    bounds: tuple[float, float] | None = _SHARE

    @property
    def value(self) -> float:
        """Over all problems."""
        return float(self.totals.sum() / self.weights.sum())


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """All measures of one set of samples, by name ("strict pass@1", "closed", "tokens").

    `n` is the least number of samples of a problem, `most` the largest. A measure that not all samples support is left
    out.
    """

    problems: tuple[tuple[str, str], ...]
    samples: int
    n: int
    most: int
    correct: Mapping[str, int]
    of: Mapping[str, Measure]
    tokens: np.ndarray | None

    def value(self, name: str) -> float | None:
        """A figure; None if it isn't known."""
        return self.of[name].value if name in self.of else None


def pass_curve(n: int, right: np.ndarray) -> np.ndarray:
    """`pass@k` for k = 1..n of problems with `right` right samples of n: one row a problem.

    As a product of k factors, none of which can overflow: the chance that the first is wrong, and the second, ...
    """
    right, drawn = np.asarray(right)[:, None], np.arange(n)
    wrong = np.clip(n - right - drawn, 0, None) / (n - drawn)
    # The first is the plain share, to the last digit.
    return np.hstack([right / n, 1 - np.cumprod(wrong, axis=1)[:, 1:]])


def shown_ks(n: int) -> list[int]:
    """The displayed k of `pass@k`: all if few, else the powers of two, and n."""
    return list(range(1, n + 1)) if n <= 4 else [*(2**power for power in range(n.bit_length()) if 2**power < n), n]


def majority(votes: Iterable[tuple[str, bool]]) -> float:
    """The share of right ones among the most frequent answers; 0 without any."""
    counts = Counter(votes)
    most = max(counts.values(), default=0)
    winners = [right for (_, right), count in counts.items() if count == most]
    return sum(winners) / len(winners) if winners else 0.0


@lru_cache(maxsize=65536)
def same_answer(answer: str) -> str:
    """Key of equal answers: the value of a number, the text without layout of anything else."""
    if len(answer) > LONGEST:
        return answer.strip()
    text = bare(answer)
    number = read_number(text)
    return f"{number.value}{'%' if number.percent else ''}" if number else compact(text)


def measure(samples: Iterable[Sample]) -> Measures:
    """All measures of samples, problems in the order of their names; order of the samples doesn't matter."""
    problems: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        problems.setdefault(sample.problem, []).append(sample)
    if not problems:
        raise UserError("There are no samples, so nothing can be measured. Give the outputs of at least one problem.")
    problems = {key: sorted(problems[key], key=lambda sample: sample.sample) for key in sorted(problems)}
    groups = list(problems.values())
    counts = np.array([len(group) for group in groups])
    n, every = int(counts.min()), [sample for group in groups for sample in group]
    of: dict[str, Measure] = {}
    for verdict in VERDICTS:
        of |= {f"{verdict} {name}": one for name, one in _rightness(groups, counts, verdict).items()}
    for rate in RATES:
        if all(getattr(sample, rate) is not None for sample in every):
            of[rate] = _mean([[float(getattr(sample, rate)) for sample in group] for group in groups])
    of["draft_share"] = _mean([[sample.draft_share for sample in group] for group in groups])
    for name in ("tokens", "draft_tokens"):
        if all(getattr(sample, name) is not None for sample in every):
            of[name] = _mean([[getattr(sample, name) for sample in group] for group in groups], bounds=None)
    return Measures(
        problems=tuple(problems),
        samples=len(every),
        n=n,
        most=int(counts.max()),
        correct={verdict: sum(getattr(sample, verdict) for sample in every) for verdict in VERDICTS},
        of=of,
        tokens=np.array([sample.tokens for sample in every]) if "tokens" in of else None,
    )


def _rightness(groups: Sequence[Sequence[Sample]], counts: np.ndarray, verdict: str) -> dict[str, Measure]:
    """`pass@k` of all k, `avg@n` and `maj@n`."""
    right = np.array([sum(getattr(sample, verdict) for sample in group) for group in groups])
    n, once = int(counts.min()), np.ones(len(groups))
    curve = np.empty((len(groups), n))
    for count in np.unique(counts):
        curve[counts == count] = pass_curve(int(count), right[counts == count])[:, :n]
    votes = [majority(_votes(group[:n], verdict)) for group in groups]
    found = {f"pass@{k}": Measure(curve[:, k - 1], once) for k in range(1, n + 1)}
    return found | {"avg@n": Measure(right / counts, once), "maj@n": Measure(np.array(votes), once)}


def _votes(group: Iterable[Sample], verdict: str) -> list[tuple[str, bool]]:
    """An answer and whether it is right; what a box held is a strict vote, any answer a lenient one."""
    return [
        (same_answer(sample.answer), getattr(sample, verdict))
        for sample in group
        if sample.answer is not None and (sample.boxed or verdict == "lenient")
    ]


def _mean(values: Sequence[Sequence[float]], bounds: tuple[float, float] | None = _SHARE) -> Measure:
    """The mean over samples."""
    return Measure(
        np.array([sum(group) for group in values], float), np.array([len(v) for v in values], float), bounds
    )


# Finish reason of a sample that was stopped in a loop; other samples have the engine's.
LOOPED = "loop"
# Tokens between two checks for a loop.
LOOK_EVERY = 512


@dataclass(frozen=True, slots=True)
class Written(StoredSample):
    """A sample; `forced_at` is the number of tokens after which its draft was closed, if it was."""

    forced_at: int | None = None


WRITTEN = AnswerTable(Written, "samples", key=("sample",), told_by="finish_reason")


class Writer:
    """Writes single samples; `text` turns tokens into text, `ids` the other way."""

    def __init__(
        self,
        settings: EvaluationSettings,
        ask: Ask,
        text: Callable[[list[int]], str],
        ids: Callable[[str], list[int]],
    ) -> None:
        self._settings, self._ask, self._text, self._ids = settings, ask, text, ids

    async def __call__(self, number: int, prompt: list[int], room: int, seed: int, problem: str) -> Written:
        """One sample of at most `room` tokens."""
        written: list[int] = []
        cached: int | None = None
        forced_at: int | None = None
        budget, piece = self._settings.max_draft_tokens, 0
        while True:
            most = room - len(written)
            stop: tuple[str, ...] = ()
            if budget is not None:
                most, stop = min(most, budget - len(written)), (self._close.rstrip("\n"),)
            if self._settings.stop_loops:
                most = min(most, LOOK_EVERY)
            sampling = self._settings.drawing(most, sample_seed(seed, piece), stop)
            reply = await self._ask(prompt + written, sampling, problem)
            (answer,) = reply.samples
            cached = reply.cached_tokens if cached is None else cached
            written += answer.token_ids
            piece += 1
            if answer.finish_reason == "stop" and answer.stop is None:
                reason = "stop"
                break
            if len(written) >= room:
                reason = "length"
                break
            if self._settings.stop_loops and loops(self._text(written)):
                reason = LOOPED
                break
            if budget is not None and not self._drafting(written):
                budget = None
            elif budget is not None and len(written) >= budget:
                closing = self._ids(self._close)
                budget = None
                if len(written) + len(closing) < room:
                    forced_at = len(written)
                    written += closing
        return Written(number, tuple(written), reason, seed, len(prompt), cached, forced_at)

    @property
    def _close(self) -> str:
        return self._settings.style.close

    def _drafting(self, written: list[int]) -> bool:
        """Whether a draft is open, or may be about to begin."""
        tags, text = self._settings.style, self._text(written).lstrip()
        return tags.open.startswith(text) or (text.startswith(tags.open) and not tags.split(text)[2])
