"""Base class of the transforms that draw and grade samples: graders, ledger and rates of the progress bar."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Generic, Protocol, Self, TypeVar

from palign_hf.engines.base import EngineIdentity, Generation, Sampling, sample_seed
from palign_hf.generation.jobs import ExpectedOutput
from palign_hf.generation.settings import SamplesIdentity, SamplingSettings
from palign_hf.generation.store import AnswerTable
from palign_hf.generation.transform import StudentTransform
from palign_hf.grading import Grader, GraderPool, make_grader
from palign_hf.terminal import Progress


@dataclass
class Counters:
    """A subclass is a dataclass whose fields are numbers with a default of zero; `add` of its own counts one thing."""

    def __add__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: Self) -> Self:
        return type(self)(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))

    def as_dict(self) -> dict[str, Any]:
        """For JSON; `Usage(**d)` takes it back."""
        return asdict(self)


class CountedSample(Protocol):
    """A sample with its costs."""

    @property
    def tokens(self) -> int:
        """Generated tokens."""

    @property
    def prompt_tokens(self) -> int:
        """Prompt tokens."""

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that were cached."""

    @property
    def fresh(self) -> bool:
        """Whether it was drawn in this run."""

    @property
    def error(self) -> str | None:
        """Why there is no sample, or None."""


@dataclass
class SamplingUsage(Counters):
    """Counts over all samples of the rows; `asked` were drawn in this run, the others in earlier ones."""

    samples: int = 0
    asked: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    asked_tokens: int = 0

    def add(self, sample: CountedSample) -> None:
        """Count one sample, if there is one."""
        if sample.error is not None:
            return
        self.samples += 1
        self.prompt_tokens += sample.prompt_tokens
        self.cached_tokens += sample.cached_tokens
        self.generated_tokens += sample.tokens
        if sample.fresh:
            self.asked += 1
            self.asked_tokens += sample.tokens

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that no cache saved."""
        return self.prompt_tokens - self.cached_tokens


# Seeds stay whole in any JSON number.
_SEEDS = 2**53


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One stored sample of a student."""

    sample: int
    token_ids: tuple[int, ...]
    finish_reason: str
    seed: int
    prompt_tokens: int
    cached_tokens: int


SAMPLES = AnswerTable(StoredSample, "samples", key=("sample",), told_by="finish_reason")

S = TypeVar("S", bound=StoredSample)


def seed_of(key: bytes, seed: int, sample: int) -> int:
    """The seed of one sample of a problem, derived from its content."""
    own = int.from_bytes(hashlib.sha256(f"{seed}/{key.hex()}".encode()).digest()[:8], "big") % _SEEDS
    return sample_seed(own, sample)


class SampleMemory(Protocol[S]):
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

    def __init__(self, ledger: SampleMemory[S], key: bytes, engine: Callable[[], EngineIdentity | None]) -> None:
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


Ask = Callable[[list[int], Sampling, str], Coroutine[Any, Any, Generation]]


class DrawingTransform(StudentTransform[S, SamplingUsage], ABC):
    """A transform whose rows are problems, and whose answers are samples that are graded."""

    settings: SamplingSettings
    grader: Grader
    resolved = StudentTransform.resolved | {"grader"}
    runtime = StudentTransform.runtime | {"_pool", "_live"}
    counters = SamplingUsage

    def __init__(self, settings: SamplingSettings) -> None:
        self.grader = make_grader(settings.grader)
        super().__init__(settings)

    def close(self) -> None:
        """End the engine, the ledger and the graders; a later call opens them again."""
        try:
            super().close()
        finally:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.close()

    _pool: GraderPool | None
    _live: tuple[int, int]

    @cached_property
    @abstractmethod
    def _identity(self) -> SamplesIdentity[Any]:
        """What decides a sample, with its fingerprint."""

    def _ledger(self) -> tuple[str, dict[str, Any]]:
        about = self._identity.describe_samples() | {"student_name": self._identity.student.name}
        return self._identity.samples_fingerprint, about

    def _settle(self, runner: Any) -> None:
        super()._settle(runner)
        self._pool, self._live = None, (0, 0)

    def _new_bar(self, rows: int | None, what: str, leave: bool = True) -> Progress:
        self._live = 0, 0
        return super()._new_bar(rows, what, leave)

    def _asking(self, bar: Progress, expected: ExpectedOutput) -> Ask:
        """The engine for single samples; answers are counted for the bar and for the expected length."""

        async def ask(prompt: list[int], sampling: Sampling, problem: str) -> Generation:
            generation = await self._runner.engine.generate(prompt, sampling, problem)
            tokens = len(generation.samples[0].token_ids)
            expected.saw(tokens)
            # What was drawn for rows that still wait for others before them counts for the bar.
            self._live = self._live[0] + 1, self._live[1] + tokens
            bar.answered()
            return generation

        return ask

    def _graders(self) -> GraderPool:
        if self._pool is None:
            settings = self.settings
            self._pool = GraderPool(self.grader, workers=settings.grading_workers, limit_s=settings.grading_seconds)
        return self._pool

    def _details(self, seconds: float) -> dict[str, str]:
        samples, tokens = self._live
        return {
            "samples/s": f"{samples / seconds:.1f}" if seconds else "0",
            "tokens/s": f"{tokens / seconds:,.0f}" if seconds else "0",
        }
