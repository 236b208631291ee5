"""Samples of a student, for every stage that draws them: what is kept of one, by which seed, and drawn only once.

A sample is looked up in the ledger, else drawn, then committed. Its seed comes from the content that it answers, so it
depends on no other row, no order and no number of processes.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from palign_hf.asking.store import AnswerTable
from palign_hf.engines.base import EngineIdentity, sample_seed


# Seeds stay whole in any JSON number.
_SEEDS = 2**53


@dataclass(frozen=True, slots=True)
class Sample:
    """One text of a student, as it was drawn."""

    sample: int
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int
    prompt_tokens: int
    cached_tokens: int


SAMPLES = AnswerTable(Sample, "samples", key=("sample",), told_by="finish_reason")

S = TypeVar("S", bound=Sample)


def seed_of(key: bytes, seed: int, sample: int) -> int:
    """The seed of one sample of a problem: by its content, so that it depends on no other row and no order."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{key.hex()}".encode()).digest()[:8], "big") % _SEEDS
    return sample_seed(own, sample)


class Memory(Protocol[S]):
    """What drawing asks of a ledger."""

    def recall(self, problem: bytes) -> dict[int, S]:
        """What is known of a problem."""

    def engines_of(self, problem: bytes) -> dict[int, EngineIdentity | None]:
        """Who drew it."""

    async def record(self, problem: bytes, answer: S, engine: EngineIdentity | None = None) -> S:
        """Store a sample; what is stored comes back."""


@dataclass(frozen=True, slots=True)
class Known(Generic[S]):
    """A sample, who drew it, and whether that was now; `fresh` is False for one of an earlier run."""

    sample: S
    engine: EngineIdentity | None
    fresh: bool
    error: None = None

    @property
    def tokens(self) -> int:
        """What was generated."""
        return len(self.sample.token_ids)

    @property
    def prompt_tokens(self) -> int:
        """What it was generated from."""
        return self.sample.prompt_tokens

    @property
    def cached_tokens(self) -> int:
        """How much of the prompt was known before."""
        return self.sample.cached_tokens


class Remembered(Generic[S]):
    """The samples of one problem: those of the ledger, and those that are drawn and stored as they are asked for."""

    def __init__(self, ledger: Memory[S], key: bytes, engine: Callable[[], EngineIdentity | None]) -> None:
        self._ledger, self._key, self._engine = ledger, key, engine
        self._known = ledger.recall(key)
        self._told = ledger.engines_of(key) if self._known else {}

    async def get(self, number: int, draw: Callable[[], Awaitable[S]]) -> Known[S]:
        """The sample of that number; what `draw` raises is raised, and nothing is stored then."""
        if (known := self._known.get(number)) is not None:
            return Known(known, self._told.get(number), fresh=False)
        sample = await draw()
        engine = self._engine()
        return Known(await self._ledger.record(self._key, sample, engine), engine, fresh=True)
