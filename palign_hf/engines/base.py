"""The engine contract: token ids in, log-probabilities or completions out.

Token ids, not text: each problem is tokenized once, and all engines see the same ids. An engine answers or raises:
`EngineDied` means that it will answer no further request (restart it); `RequestFailed` concerns one request (the row
becomes an error, with this text as its reason).
"""

import asyncio
import hashlib
import math
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from palign_hf.errors import UserError, shown
from palign_hf.redact import redact


T = TypeVar("T")

# Derived seeds stay below this: exact in any JSON number.
_SEEDS = 2**53
UNKNOWN = "unknown"
# How far a log-probability may lie above 0, or the labels' probabilities together above 1, by rounding: that of half
# precision, or of figures with a digit or two.
_ROUNDING = 0.05
# No softmax that a float holds is so far below: vLLM gives -9999 for what is impossible.
_LEAST_LOGPROB = -1e6


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Identity of an engine, stored with each answer, because another release or number format may answer differently.

    `version` is that of the runtime and `dtype` that of the weights in memory; a server may report neither.
    """

    name: str
    version: str = UNKNOWN
    dtype: str = UNKNOWN

    @property
    def label(self) -> str:
        """Who answers, as reports and rows name it."""
        return f"{self.name} {self.version} ({self.dtype})"


@dataclass(frozen=True, slots=True)
class Score:
    """The labels' log-probabilities as the next token, and the cost of reading them."""

    logprobs: tuple[float, ...]
    top_is_label: bool
    prompt_tokens: int
    cached_tokens: int

    def __post_init__(self) -> None:
        # A NaN compares as "not enough" and would be stored as a verdict.
        if not all(math.isfinite(logprob) for logprob in self.logprobs):
            raise RequestFailed(f"the labels' log-probabilities are no finite numbers: {list(self.logprobs)}")
        if not all(_LEAST_LOGPROB <= logprob <= _ROUNDING for logprob in self.logprobs):
            raise RequestFailed(
                f"the labels' log-probabilities {list(self.logprobs)} can't be any: they are at most 0, and at least "
                f"{_LEAST_LOGPROB:g}. If these are logits, start the server with `--logprobs-mode raw_logprobs`"
            )
        if self.label_mass > 1 + _ROUNDING:
            raise RequestFailed(
                f"the labels' log-probabilities {list(self.logprobs)} can't belong together: their probabilities add "
                f"up to {self.label_mass:.3g}, more than 1"
            )

    @property
    def label_mass(self) -> float:
        """Probability of all labels together: near 0 if the student would have written something else."""
        return sum(math.exp(logprob) for logprob in self.logprobs)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters; greedy by default, and independent of the student's generation defaults.

    The student's own end tokens always stop generation; `stop_token_ids` and `stop` (texts) are further ones. With a
    seed, sample `i` is drawn with `sample_seed(seed, i)`, whatever the other samples are.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    n: int = 1
    seed: int | None = None
    stop_token_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Lists are what YAML gives; a frozen value has tuples.
        for name in ("stop_token_ids", "stop"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        for name, (fits, meant) in _LIMITS.items():
            if not fits(value := getattr(self, name)):
                raise UserError(f"`{name}={shown(value)}`: must be {meant}.")
        if self.n > 1 and not self.drawn:
            raise UserError(
                f"`n={self.n}` with `temperature=0`: all samples would be the same. Give a temperature, or `n=1`."
            )

    @property
    def drawn(self) -> bool:
        """Whether tokens are sampled; else decoding is greedy and ignores seeds."""
        return self.temperature > 0

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of each sample; all None without a seed or with greedy decoding."""
        if self.seed is None or not self.drawn:
            return (None,) * self.n
        return tuple(sample_seed(self.seed, sample) for sample in range(self.n))


def sample_seed(seed: int, sample: int) -> int:
    """Derive the seed of a sample: `seed` itself for the first, a hash for the others.

    Hashed, not counted up: neighbouring seeds of neighbouring rows must not share their samples.
    """
    if sample == 0:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{sample}".encode()).digest()[:8], "big") % _SEEDS


@dataclass(frozen=True, slots=True)
class Completion:
    """One completion; `finish_reason` is `stop` or `length`, so a cut answer is never mistaken for a complete one.

    `token_ids` are all generated tokens, including the end token or the token that completed the stop text. `stop` is
    the stop id or text that ended it; None after the student's own end token, or at the length limit.
    """

    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int | None = None
    stop: str | int | None = None


def completion(
    sampling: Sampling, token_ids: Iterable[int], finish_reason: str, seed: int | None, text: str | None
) -> Completion:
    """Build a completion the same way for all engines; `text` is the stop text that ended it, if any."""
    ids = tuple(token_ids)
    if len(ids) > sampling.max_tokens:
        raise RequestFailed(f"the engine gave {len(ids)} tokens where at most {sampling.max_tokens} were asked for")
    if text is not None and text not in sampling.stop:
        raise RequestFailed(
            f"the engine ended a completion at the text `{shown(text)}`, which was not among its stop texts, so it "
            f"may be incomplete"
        )
    stop: str | int | None = text
    if text is None and finish_reason == "stop" and ids and ids[-1] in sampling.stop_token_ids:
        stop = ids[-1]
    return Completion(ids, finish_reason, seed, stop)


@dataclass(frozen=True, slots=True)
class Generation:
    """All samples of one prompt, with the tokens of the prompt and its cached part counted once."""

    samples: tuple[Completion, ...]
    prompt_tokens: int
    cached_tokens: int


class Engine(Protocol):
    """The interface between stages and runtime. `problem` identifies a prompt's problem: one cache, one server."""

    name: str

    async def start(self) -> None:
        """Load the student; called once, on the event loop of the requests. If cancelled, it leaves nothing behind."""

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """Log-probabilities of `label_ids` as the token after `prompt_ids`."""

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """`sampling.n` completions of `prompt_ids`."""

    async def close(self) -> None:
        """Release memory and processes; safe to call twice."""

    @property
    def capacity(self) -> tuple[int, int]:
        """`(problems, tokens)`: problems to keep in flight, and the prompt tokens whose cache fits in memory."""

    @property
    def identity(self) -> EngineIdentity:
        """The engine's identity; known once it has started."""


async def side_by_side(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in order; the first failure cancels the others, `EngineDied` is raised first."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failed:
        raise next((e for e in failed.exceptions if isinstance(e, EngineDied)), failed.exceptions[0]) from None
    return [task.result() for task in tasks]


class _EngineError(RuntimeError):
    """An engine's message, which may repeat its input, so secrets are masked."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(one) if isinstance(one, str) else one for one in args))


class EngineDied(_EngineError):
    """The engine is gone: its process ended, or it can't be reached any more."""


class RequestFailed(_EngineError):
    """One request was refused, or its response is invalid."""


class EngineUnavailable(UserError):
    """The engine can't be started as configured; the message names what is missing."""


def _whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


_LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": (lambda value: _whole(value, 1), "a whole number, at least 1"),
    # vLLM takes no more.
    "temperature": (lambda value: _number(value) and 0 <= value <= 2, "from 0 to 2"),
    "top_p": (lambda value: _number(value) and 0 < value <= 1, "above 0 and at most 1"),
    "top_k": (lambda value: _whole(value, 0), "a whole number, at least 0 (0 leaves all tokens in)"),
    "min_p": (lambda value: _number(value) and 0 <= value <= 1, "from 0 to 1"),
    "repetition_penalty": (lambda value: _number(value) and value > 0, "above 0 (1 is none)"),
    "n": (lambda value: _whole(value, 1), "a whole number, at least 1"),
    "seed": (lambda value: value is None or _whole(value, 0, 2**63 - 1), "a whole number from 0 to 2**63 - 1"),
    "stop_token_ids": (
        lambda value: isinstance(value, tuple) and all(_whole(token, 0) for token in value),
        "a list of token ids",
    ),
    "stop": (
        lambda value: isinstance(value, tuple) and all(isinstance(text, str) and text for text in value),
        "a list of texts, none of them empty",
    ),
}
