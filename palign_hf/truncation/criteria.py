"""Criteria of sufficiency: a criterion turns question and prefix into a margin, and above 0 the prefix is sufficient.

`SelfJudge` is the criterion of the paper; `judging.PrefixCriterion` is the base class for one of your own. A text
without a verdict is `unparsable`, a state of its own, and a failed request is an exception: neither counts as
NOT_ENOUGH.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from palign_hf.config import Resolver, check_parameters, read_template
from palign_hf.config.resolve import Uncalled, uncalled_description
from palign_hf.engines.base import Engine, Sampling
from palign_hf.errors import UserError, nearest, shown
from palign_hf.generation.rendering import JudgePrompt, ProblemPrompt
from palign_hf.prompts import JUDGE, LABELS, Template
from palign_hf.students import TextTokenizer


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How many tokens a parted word may have more than the whole one.
_PARTED = 8

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
    """One problem, ready to be judged at any cut.

    Args:
        name (`str`):
            Names the problem in requests, so that one server and one cache serve all of them.
        ends (`Sequence[int]`):
            Offsets in the trace where its first 0, 1, 2, ... segments end.
        tokens (`Sequence[int]`):
            Tokens of the trace before each of these offsets.
        reach (`int`):
            The last cut that fits the context, -1 if none does.
        shortest (`int`, defaults to `0`):
            Tokens of a request without any prefix, its answer included; for the message about a row that doesn't fit.
        head_tokens (`int`, defaults to `0`), suffix_tokens (`int`, defaults to `0`):
            Tokens of a request before and behind the prefix; for the costs in the report.
        prompt (`Any`, *optional*):
            What the criterion keeps for its questions; dropped when the search has ended.
        refused (`str`, *optional*):
            Why the text can't be judged at all.
    """

    name: str
    ends: Sequence[int]
    tokens: Sequence[int]
    reach: int
    shortest: int = 0
    head_tokens: int = 0
    suffix_tokens: int = 0
    prompt: Any = None
    refused: str | None = None


class Judge(Protocol):
    """A criterion bound to a student."""

    def open(self, name: str, question: str, trace: str, ends: Sequence[int]) -> Case:
        """Prepare one problem; `ends[k]` is where its first k segments end, from 0."""

    async def ask(self, engine: Engine, case: Case, segments: int) -> Probe:
        """Judge the prefix of the first `segments` segments."""


@runtime_checkable
class Criterion(Protocol):
    """A definition of sufficiency: a name, a version, and parameters that go into fingerprints."""

    name: ClassVar[str]

    def describe(self) -> dict[str, Any]:
        """JSON-able; everything that can change a margin."""

    def bind(self, tokenizer: "PreTrainedTokenizerBase", student: str, max_model_len: int) -> Judge:
        """Check that this student can be judged so, and get ready."""


@dataclass(frozen=True)
class SelfJudge:
    """The student itself judges whether a prefix is sufficient: the criterion of the paper, and the default.

    Args:
        verdict (`str`, defaults to `"margin"`):
            `margin` is the difference of the two labels' log-probabilities, exact and repeatable; `generate` reads a
            free text, as the published code does.
        template (`Template` or `str`, *optional*):
            The judge prompt, with `{question}` and `{prefix}`. In a recipe a text file, or `module:name` of a
            `Template`.
        labels (`tuple[str, str]`, defaults to `("[ENOUGH]", "[NOT_ENOUGH]")`):
            The texts of the two verdicts, the one for "sufficient" first.
        max_tokens (`int`, defaults to `256`):
            Most tokens of a free text.

    Example:

    ```python
    >>> from palign_hf import PrefixTruncation, SelfJudge

    >>> truncation = PrefixTruncation("palign-toy", criterion=SelfJudge(verdict="generate", max_tokens=64))
    >>> truncation.describe()["criterion"]["verdict"]
    'generate'
    ```
    """

    verdict: str = "margin"
    template: Template = JUDGE
    labels: tuple[str, str] = LABELS
    max_tokens: int = 256

    name: ClassVar[str] = "self-judge"
    version: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.verdict not in ("margin", "generate"):
            raise UserError(
                f"`verdict={self.verdict!r}` is unknown{nearest(shown(self.verdict), ('margin', 'generate'))}. "
                f"Choose `margin` (log-probabilities of the labels) or `generate` (free text, as the reference reads)."
            )
        texts = isinstance(self.labels, tuple) and all(isinstance(label, str) and label for label in self.labels)
        if not texts or len(self.labels) != 2 or self.labels[0] == self.labels[1]:
            raise UserError(
                f"`labels={self.labels!r}` can't tell a verdict. Give two different texts, the one for enough first."
            )
        if not isinstance(self.max_tokens, int) or isinstance(self.max_tokens, bool) or self.max_tokens < 1:
            raise UserError(f"`max_tokens={self.max_tokens!r}` must be a whole number of at least 1.")
        if not isinstance(self.template, Template):
            raise UserError(f"`template={shown(repr(self.template))}` is no template: use `JUDGE.from_file(path)`.")
        if set(self.template.slots) != set(JUDGE.slots):
            raise UserError(
                f"The `{self.template.name}` template has the slots {list(self.template.slots)}, but a judge is shown "
                f"`{{question}}` and `{{prefix}}`. Give a template with both, as `JUDGE.from_file(path)`."
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

    def bind(self, tokenizer: "PreTrainedTokenizerBase", student: str, max_model_len: int) -> "BoundSelfJudge":
        """Find the labels in the student's tokens, and refuse a student without a usable chat template."""
        return BoundSelfJudge(self, tokenizer, student, max_model_len)


class BoundSelfJudge:
    """`SelfJudge` for one tokenizer."""

    def __init__(
        self, criterion: SelfJudge, tokenizer: "PreTrainedTokenizerBase", student: str, max_model_len: int
    ) -> None:
        self._criterion = criterion
        self._tokenizer = tokenizer
        self._max_model_len = max_model_len
        self._generates = criterion.verdict == "generate"
        self.prompt = JudgePrompt(tokenizer, criterion.template, criterion.labels, student, forced=not self._generates)
        self._room = criterion.max_tokens if self._generates else 1

    def open(self, name: str, question: str, trace: str, ends: Sequence[int]) -> Case:
        """Tokenise the problem once, and see how much of it fits the context."""
        prompt = self.prompt.problem(question, trace)
        shortest = len(prompt.ids(0)) + self._room
        refused = None
        if control := prompt.control:
            named = ", ".join(control)
            refused = f"this student's tokenizer can't distinguish {named} in the text from control tokens"
        return Case(
            name=name,
            ends=ends,
            tokens=prompt.tokens_before(ends),
            reach=-1 if refused else self._reach(prompt, ends, shortest),
            shortest=shortest,
            head_tokens=prompt.head_tokens,
            suffix_tokens=self.prompt.suffix_tokens,
            prompt=prompt,
            refused=refused,
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
        generation = await engine.generate(ids, Sampling(max_tokens=self._criterion.max_tokens), case.name)
        (answer,) = generation.samples
        verdict = read_verdict(str(self._tokenizer.decode(list(answer.token_ids))), self._criterion.labels)
        return Probe(
            segments=segments,
            verdict=verdict,
            margin={ENOUGH: 1.0, NOT_ENOUGH: -1.0}.get(verdict),
            label_mass=None,
            top_is_label=None,
            prompt_tokens=generation.prompt_tokens,
            cached_tokens=generation.cached_tokens,
        )

    def _reach(self, prompt: ProblemPrompt, ends: Sequence[int], shortest: int) -> int:
        """The last cut up to which all prompts leave room for the answer, by bisection: prompts grow with the cut.

        Nearly: where a cut parts a word, the prompt may be a token longer than that of the next cut. So those just
        below the limit are checked one by one.
        """
        if shortest > self._max_model_len:
            return -1
        room = self._max_model_len - self._room

        def spare(cut: int) -> int:
            return room - len(prompt.ids(ends[cut]))

        low, high = 0, len(ends) - 1
        if (left := spare(high)) >= 0:
            if left > _PARTED:
                return high
            low = high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if spare(middle) >= 0 else (low, middle)
        for cut in range(low - 1, 0, -1):
            left = spare(cut)
            if left > _PARTED:
                break
            low = cut - 1 if left < 0 else low
        return low


class NoJudge:
    """For searches that cut by a rule: counts the tokens of a problem, and judges nothing."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", student: str) -> None:
        self._texts = TextTokenizer(tokenizer, student)

    def open(self, name: str, question: str, trace: str, ends: Sequence[int]) -> Case:
        """Count the tokens before each cut."""
        tokens = self._texts.count_before(trace, ends)
        return Case(name, ends, tokens, reach=len(ends) - 1)

    async def ask(self, engine: Engine, case: Case, segments: int) -> Probe:
        """Never: a rule asks nothing."""
        raise NotImplementedError("a search that cuts by a rule has asked a judge")


class UncalledCriterion(Uncalled):
    """Placeholder for a user's own criterion where it must not be made: traces are counted, its costs are unknown."""

    def describe(self) -> dict[str, Any]:
        """Its name and what it would be made from."""
        return uncalled_description(self)

    def bind(self, tokenizer: "PreTrainedTokenizerBase", student: str, max_model_len: int) -> Judge:
        """One that counts tokens and judges nothing."""
        return NoJudge(tokenizer, student)


# Criteria that a recipe can name; a user's own are given as `module:name`.
CRITERIA: dict[str, type[Criterion]] = {SelfJudge.name: SelfJudge}


def make_criterion(spec: "str | Mapping[str, Any] | Criterion | None" = None) -> Criterion:
    """The criterion that a user means.

    Args:
        spec (`str`, `Mapping` or `Criterion`, *optional*):
            A name, `module:name` of your own, `{name: ..., parameter: ...}`, or an object. The self-judge by default.

    Returns:
        `Criterion`: The criterion; a placeholder for one of your own within `located.uncalled()`.
    """
    return SelfJudge() if spec is None else _CRITERION.resolve(spec)


def _plain_parameters(kind: Any, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Plain values of a recipe as `SelfJudge` and its subclasses take them."""
    if not (isinstance(kind, type) and issubclass(kind, SelfJudge)):
        return given
    if kind is SelfJudge:
        check_parameters(name, given, [one.name for one in fields(kind)])
    parameters = dict(given)
    if isinstance(parameters.get("template"), str):
        parameters["template"] = read_template(JUDGE, parameters["template"])
    if isinstance(parameters.get("labels"), list):
        parameters["labels"] = tuple(parameters["labels"])
    return parameters


_CRITERION = Resolver[Criterion](
    "criterion",
    CRITERIA,
    attributes=("name",),
    methods=("describe", "bind"),
    stand_in=lambda name, parameters, kind: UncalledCriterion(name, parameters),
    example="{name: self-judge, verdict: generate}",
    prepare=_plain_parameters,
)


def read_verdict(text: str, labels: Sequence[str]) -> str:
    """The verdict in a free text: it must name exactly one of the labels."""
    # The longer label first: `ENOUGH` inside `NOT_ENOUGH` names the latter only.
    spelled = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    named = set(re.findall(spelled, text))
    if len(named) != 1:
        return UNPARSABLE
    return ENOUGH if labels[0] in named else NOT_ENOUGH
