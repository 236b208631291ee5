"""What "sufficient" means: a criterion turns (question, beginning of the trace) into a margin; above 0 is sufficient.

`SelfJudge` is the paper's: the student reads its own judge prompt. By default the verdict is the difference of the two
labels' log-probabilities, one exact and repeatable read; `verdict="generate"` reads free text as the reference does.
A text with no verdict in it is `unparsable`, a state of its own, and a failed request is an exception: neither is ever
taken for NOT_ENOUGH.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from palign_hf.engines.base import Engine, Sampling
from palign_hf.errors import UserError
from palign_hf.prompts import JUDGE, LABELS, Template
from palign_hf.schema import nearest
from palign_hf.truncation.rendering import JudgePrompt, ProblemPrompt


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ENOUGH, NOT_ENOUGH, UNPARSABLE = "enough", "not_enough", "unparsable"


@dataclass(frozen=True, slots=True)
class Probe:
    """One answered question: how many segments were shown, what came back, what it cost."""

    segments: int
    verdict: str
    margin: float | None
    label_mass: float | None
    top_is_label: bool | None
    prompt_tokens: int
    cached_tokens: int


@dataclass(slots=True)
class Case:
    """One problem, ready to be judged at any cut. `reach` is the last cut that fits the context, -1 if none does."""

    name: str
    ends: Sequence[int]
    tokens: Sequence[int]
    reach: int
    shortest: int
    head_tokens: int
    suffix_tokens: int
    prompt: Any


class Judge(Protocol):
    """A criterion bound to a student."""

    def open(self, name: str, question: str, trace: str, ends: Sequence[int]) -> Case:
        """Prepare one problem; `ends[k]` is where its first k segments end, from 0."""

    async def ask(self, engine: Engine, case: Case, segments: int) -> Probe:
        """Judge the prefix of so many segments."""


class Criterion(Protocol):
    """A definition of sufficiency: a name, a version, and parameters that go into fingerprints."""

    name: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """JSON-able; everything that can change a margin."""

    def bind(self, tokenizer: "PreTrainedTokenizerBase", student: str, context: int) -> Judge:
        """Check that this student can be judged so, and get ready."""


@dataclass(frozen=True)
class SelfJudge:
    """The student's own word for it, as a label margin (`verdict="margin"`) or as free text (`verdict="generate"`)."""

    verdict: str = "margin"
    template: Template = JUDGE
    labels: tuple[str, str] = LABELS
    max_tokens: int = 256

    name: ClassVar[str] = "self-judge"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.verdict not in ("margin", "generate"):
            raise UserError(
                f"`verdict={self.verdict!r}` is unknown{nearest(self.verdict, ('margin', 'generate'))}. "
                f"Choose `margin` (log-probabilities of the labels) or `generate` (free text, as the reference reads)."
            )

    def describe(self) -> dict[str, Any]:
        """JSON-able; everything that can change a margin."""
        free_text = {"max_tokens": self.max_tokens} if self.verdict == "generate" else {}
        return {
            "name": self.name,
            "version": self.version,
            "verdict": self.verdict,
            "prompt": self.template.hash,
            "labels": list(self.labels),
            **free_text,
        }

    def bind(self, tokenizer: "PreTrainedTokenizerBase", student: str, context: int) -> "BoundSelfJudge":
        """Find the labels in the student's tokens, and refuse a student that can't be asked."""
        return BoundSelfJudge(self, tokenizer, student, context)


class BoundSelfJudge:
    """`SelfJudge` for one tokenizer."""

    def __init__(self, criterion: SelfJudge, tokenizer: "PreTrainedTokenizerBase", student: str, context: int) -> None:
        self._criterion = criterion
        self._tokenizer = tokenizer
        self._context = context
        self._generates = criterion.verdict == "generate"
        self.prompt = JudgePrompt(tokenizer, criterion.template, criterion.labels, student, forced=not self._generates)
        self._room = criterion.max_tokens if self._generates else 1

    def open(self, name: str, question: str, trace: str, ends: Sequence[int]) -> Case:
        """Tokenise the problem once, and see how much of it fits the context."""
        prompt = self.prompt.problem(question, trace)
        shortest = len(prompt.ids(0))
        return Case(
            name=name,
            ends=ends,
            tokens=prompt.tokens_before(ends),
            reach=self._reach(prompt, ends, shortest),
            shortest=shortest,
            head_tokens=prompt.head_tokens,
            suffix_tokens=self.prompt.suffix_tokens,
            prompt=prompt,
        )

    async def ask(self, engine: Engine, case: Case, segments: int) -> Probe:
        """One read of the labels, or one free text."""
        ids = case.prompt.ids(case.ends[segments])
        if self._generates:
            return await self._read_text(engine, case, segments, ids)
        score = await engine.score(ids, self.prompt.label_ids, case.name)
        margin = score.logprobs[0] - score.logprobs[1]
        return Probe(
            segments=segments,
            verdict=ENOUGH if margin > 0 else NOT_ENOUGH,
            margin=margin,
            label_mass=score.label_mass,
            top_is_label=score.top_is_label,
            prompt_tokens=score.prompt_tokens,
            cached_tokens=score.cached_tokens,
        )

    async def _read_text(self, engine: Engine, case: Case, segments: int, ids: list[int]) -> Probe:
        (answer,) = await engine.generate(ids, Sampling(max_tokens=self._criterion.max_tokens), case.name)
        verdict = read_verdict(str(self._tokenizer.decode(list(answer.token_ids))), self._criterion.labels)
        return Probe(
            segments=segments,
            verdict=verdict,
            margin={ENOUGH: 1.0, NOT_ENOUGH: -1.0}.get(verdict),
            label_mass=None,
            top_is_label=None,
            prompt_tokens=answer.prompt_tokens,
            cached_tokens=answer.cached_tokens,
        )

    def _reach(self, prompt: ProblemPrompt, ends: Sequence[int], shortest: int) -> int:
        """The last cut whose prompt leaves room for the answer; prompts only grow, so bisection finds it."""
        room = self._context - self._room
        if shortest > room:
            return -1
        if len(prompt.ids(ends[-1])) <= room:
            return len(ends) - 1
        low, high = 0, len(ends) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if len(prompt.ids(ends[middle])) <= room else (low, middle)
        return low


def read_verdict(text: str, labels: Sequence[str]) -> str:
    """The verdict in a free text: it must name exactly one of the labels."""
    enough, not_enough = (label in text for label in labels)
    if enough == not_enough:
        return UNPARSABLE
    return ENOUGH if enough else NOT_ENOUGH
