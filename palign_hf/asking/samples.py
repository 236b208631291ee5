"""Stored samples of a student: content, seed, and lookup in the ledger before drawing.

A sample is read from the ledger or drawn and then committed. Its seed is derived from its problem's content, so it
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
    """One stored sample of a student."""

    sample: int
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int
    prompt_tokens: int
    cached_tokens: int


SAMPLES = AnswerTable(Sample, "samples", key=("sample",), told_by="finish_reason")

S = TypeVar("S", bound=Sample)


def seed_of(key: bytes, seed: int, sample: int) -> int:
    """The seed of one sample of a problem, derived from its content."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{key.hex()}".encode()).digest()[:8], "big") % _SEEDS
    return sample_seed(own, sample)


class Memory(Protocol[S]):
    """The ledger interface that drawing needs."""

    def recall(self, problem: bytes) -> dict[int, S]:
        """The stored samples of a problem."""

    def engines_of(self, problem: bytes) -> dict[int, EngineIdentity | None]:
        """The engines that drew them."""

    async def record(self, problem: bytes, answer: S, engine: EngineIdentity | None = None) -> S:
        """Store a sample and return the stored one."""


@dataclass(frozen=True, slots=True)
class Known(Generic[S]):
    """A sample with its engine; `fresh` is False for one of an earlier run."""

    sample: S
    engine: EngineIdentity | None
    fresh: bool
    error: None = None

    @property
    def tokens(self) -> int:
        """Generated tokens."""
        return len(self.sample.token_ids)

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens."""
        return self.sample.prompt_tokens

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were cached."""
        return self.sample.cached_tokens


class Remembered(Generic[S]):
    """The samples of one problem: those of the ledger, and those drawn and stored on demand."""

    def __init__(self, ledger: Memory[S], key: bytes, engine: Callable[[], EngineIdentity | None]) -> None:
        self._ledger, self._key, self._engine = ledger, key, engine
        self._known = ledger.recall(key)
        self._engines = ledger.engines_of(key) if self._known else {}

    async def get(self, number: int, draw: Callable[[], Awaitable[S]]) -> Known[S]:
        """Return the sample of that number; an exception of `draw` is passed on, and nothing is stored."""
        if (known := self._known.get(number)) is not None:
            return Known(known, self._engines.get(number), fresh=False)
        sample = await draw()
        engine = self._engine()
        return Known(await self._ledger.record(self._key, sample, engine), engine, fresh=True)
