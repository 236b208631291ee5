"""The contract of an engine: token ids in, log-probabilities or completions out.

Token ids, not text: each problem is tokenised once, and all engines see the same bytes. An engine never decides: it
answers, or raises. `EngineDied` means that nothing it was asked will be answered any more (restart it);
`RequestFailed` concerns one request (the row becomes an error, with this text as its reason).
"""

import math
from dataclasses import dataclass
from typing import Protocol

from palign_hf.errors import UserError


@dataclass(frozen=True, slots=True)
class Score:
    """The labels' log-probabilities as the next token, and what reading them cost."""

    logprobs: tuple[float, ...]
    top_is_label: bool
    prompt_tokens: int
    cached_tokens: int

    def __post_init__(self) -> None:
        # A NaN compares as "not enough" and would be stored as a verdict that nobody gave.
        if not all(math.isfinite(logprob) for logprob in self.logprobs):
            raise RequestFailed(f"the labels' log-probabilities are no finite numbers: {list(self.logprobs)}")

    @property
    def label_mass(self) -> float:
        """Probability of all labels together: near 0 means that the student would have said something else."""
        return sum(math.exp(logprob) for logprob in self.logprobs)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate; greedy unless told otherwise."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    n: int = 1
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class EngineIdentity:
    """Which engine gave an answer: its name, its release, and the number format the weights were loaded in."""

    name: str
    version: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated answer; `finish_reason` is `stop` or `length`, so a cut answer is never taken for a whole one."""

    token_ids: tuple[int, ...]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int


class Engine(Protocol):
    """What truncation and alignment ask of a runtime. `problem` names whose prompt it is: one cache, one server."""

    name: str

    async def start(self) -> None:
        """Load the student; called once, on the loop that will ask."""

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """Log-probabilities of `label_ids` as the token after `prompt_ids`."""

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> list[Completion]:
        """`sampling.n` completions of `prompt_ids`."""

    async def close(self) -> None:
        """Give back memory and processes; safe to call twice."""

    @property
    def capacity(self) -> tuple[int, int]:
        """`(problems, tokens)`: how many to keep in flight, and the prompt tokens whose cache fits in memory."""


class EngineDied(RuntimeError):
    """The engine is gone: its process ended, or it can't be reached any more."""


class RequestFailed(RuntimeError):
    """One request was refused or answered with something that can't be read."""


class EngineUnavailable(UserError):
    """The engine can't be started as asked; the message says what is missing."""
