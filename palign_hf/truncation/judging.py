"""Base class for a criterion of your own: a name, and a function from question and prefix to a margin.

The rest has defaults: token counts, how much of a trace fits the context, and what the questions cost.
`docs/extending.md` has a complete example.
"""

import bisect
import inspect
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from palign_hf.config import described
from palign_hf.engines.base import Engine, RequestFailed, Sampling
from palign_hf.errors import shown
from palign_hf.generation.rendering import JudgePrompt
from palign_hf.prompts import Template
from palign_hf.students import TextTokenizer
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, Case, Probe


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# A whole message of the user.
_MESSAGE = Template("criterion", "{question}", ("question",))
# Mistakes in a user's code, which are errors of their row; others, such as a lost engine, end the run.
_MISTAKES = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


class PrefixCriterion(ABC):
    """A definition of "sufficient" that you write yourself.

    A subclass sets `name` and implements `judge`. If it is a dataclass, its fields are its parameters, in Python
    and in recipes; else its public attributes are. They are part of the fingerprint, with `name` and `version`.

    Args:
        name (`str`):
            Class attribute. Names the criterion in fingerprints, reports and cards.
        version (`int`, defaults to `1`):
            Class attribute. Raise it when `judge` changes: answers in the ledger belong to one version.
        room (`int`, defaults to `512`):
            Class attribute. Tokens that one request needs besides the question and the prefix: your instructions, the
            chat template and the reply. Prefixes that leave less room in the context are not judged.

    Example:

    ```python
    class LongEnough(PrefixCriterion):
        name = "long-enough"

        def judge(self, student, question, prefix):
            return len(prefix) - 200
    ```
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    room: ClassVar[int] = 512

    @abstractmethod
    def judge(self, student: "JudgeRequests", question: str, prefix: str) -> "Awaitable[float | None] | float | None":
        """Whether a prefix suffices; may be `async`.

        Args:
            student (`JudgeRequests`):
                The student: `await student.generate(message)` and `await student.score(message, labels)`.
            question (`str`):
                The problem.
            prefix (`str`):
                The beginning of the trace; empty at the first cut.

        Returns:
            `float` or `None`: The margin. Above 0 the prefix is sufficient; `None` if there is no verdict.
        """

    def describe(self) -> dict[str, Any]:
        """JSON-able; everything that can change a margin."""
        return described(self)

    def bind(self, tokenizer: "PreTrainedTokenizerBase", student: str, context: int) -> "BoundPrefixCriterion":
        """The criterion for one student, whose requests hold at most `context` tokens."""
        return BoundPrefixCriterion(self, tokenizer, student, context)


class JudgeRequests:
    """The student as a criterion's `judge` sees it, for one cut of one problem. It counts the tokens that it sends."""

    def __init__(self, bound: "BoundPrefixCriterion", engine: Engine, problem: str) -> None:
        self._bound, self._engine, self._problem = bound, engine, problem
        self.prompt_tokens = self.cached_tokens = 0

    async def generate(self, message: str, max_tokens: int = 256) -> str:
        """The student's greedy reply to a user message.

        Args:
            message (`str`):
                The whole message; the student's chat template is added.
            max_tokens (`int`, defaults to `256`):
                Most tokens of the reply.

        Returns:
            `str`: The reply.
        """
        prompt = self._bound.prompt(())
        ids = self._bound.ids(prompt, message, max_tokens)
        answer = await self._engine.generate(ids, Sampling(max_tokens=max_tokens), self._problem)
        self._count(answer.prompt_tokens, answer.cached_tokens)
        return self._bound.text(answer.samples[0].token_ids)

    async def score(self, message: str, labels: tuple[str, str]) -> float:
        """How much likelier the reply begins with the first label than with the second.

        Args:
            message (`str`):
                The whole message; the student's chat template is added.
            labels (`tuple[str, str]`):
                Two texts, the one for "sufficient" first. They must differ in one token.

        Returns:
            `float`: The difference of their log-probabilities.
        """
        prompt = self._bound.prompt(labels)
        answer = await self._engine.score(self._bound.ids(prompt, message, 1), prompt.label_ids, self._problem)
        self._count(answer.prompt_tokens, answer.cached_tokens)
        return answer.logprobs[0] - answer.logprobs[1]

    def _count(self, prompt: int, cached: int) -> None:
        self.prompt_tokens, self.cached_tokens = self.prompt_tokens + prompt, self.cached_tokens + cached


class BoundPrefixCriterion:
    """A `PrefixCriterion` for one student."""

    def __init__(
        self, criterion: PrefixCriterion, tokenizer: "PreTrainedTokenizerBase", student: str, context: int
    ) -> None:
        self._criterion, self._tokenizer = criterion, tokenizer
        self._student, self._context = student, context
        self._texts = TextTokenizer(tokenizer, student)
        self._prompts: dict[tuple[str, ...], JudgePrompt] = {}

    def open(self, name: str, question: str, trace: str, ends: Sequence[int]) -> Case:
        """Count the tokens of one problem, and find the last cut that leaves `room` in the context."""
        tokens = self._texts.count_before(trace, ends)
        shortest = len(self._texts.encode(question)) + self._criterion.room
        return Case(
            name=name,
            ends=ends,
            tokens=tokens,
            reach=bisect.bisect_right(tokens, self._context - shortest) - 1,
            shortest=shortest,
            head_tokens=shortest - self._criterion.room,
            prompt=(question, trace),
        )

    async def ask(self, engine: Engine, case: Case, segments: int) -> Probe:
        """Judge one prefix; a mistake in the user's code is an error of its row."""
        question, trace = case.prompt
        requests = JudgeRequests(self, engine, case.name)
        try:
            found = self._criterion.judge(requests, question, trace[: case.ends[segments]])
            margin = await found if inspect.isawaitable(found) else found
            sufficient = margin is not None and margin > 0
        except _MISTAKES as error:
            raise RequestFailed(
                f"`{self._criterion.name}` raised {type(error).__name__}: {shown(str(error))}"
            ) from error
        return Probe(
            segments=segments,
            verdict=UNPARSABLE if margin is None else ENOUGH if sufficient else NOT_ENOUGH,
            margin=margin,
            label_mass=None,
            top_is_label=None,
            prompt_tokens=requests.prompt_tokens,
            cached_tokens=requests.cached_tokens,
        )

    def prompt(self, labels: tuple[str, ...]) -> JudgePrompt:
        """The student's rendering of a user message, with the labels that are read behind it."""
        if labels not in self._prompts:
            self._prompts[labels] = JudgePrompt(self._tokenizer, _MESSAGE, labels, self._student, forced=bool(labels))
        return self._prompts[labels]

    def ids(self, prompt: JudgePrompt, message: str, reply: int) -> list[int]:
        """The tokens of a request; refused where they and the reply don't fit, or hold control tokens of the text."""
        ids = prompt.ids(message)
        if len(ids) + reply > self._context:
            raise RequestFailed(
                f"the request of `{self._criterion.name}` has {len(ids)} tokens and its reply {reply}, and the "
                f"context holds {self._context}; raise its `room`"
            )
        template = Counter(prompt.head_ids + prompt.tail_ids + prompt.forced_ids)
        if control := prompt.control((Counter(ids) - template).elements()):
            raise RequestFailed(
                f"this student's tokenizer can't distinguish {', '.join(control)} in the text from control tokens"
            )
        return ids

    def text(self, ids: Sequence[int]) -> str:
        """A reply as text."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
