"""Base class of the transforms that draw and grade samples: graders, ledger and rates of the progress bar."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any, TypeVar

from palign_hf.asking.identity import SamplesIdentity
from palign_hf.asking.jobs import ExpectedOutput
from palign_hf.asking.samples import Sample
from palign_hf.asking.settings import SamplingSettings
from palign_hf.asking.transform import StudentTransform
from palign_hf.asking.usage import Usage
from palign_hf.engines.base import Generation, Sampling
from palign_hf.grading import Grader, GraderPool, make_grader
from palign_hf.progress import Progress


S = TypeVar("S", bound=Sample)

Ask = Callable[[list[int], Sampling, str], Coroutine[Any, Any, Generation]]


class DrawingTransform(StudentTransform[S, Usage], ABC):
    """A transform whose rows are problems, and whose answers are samples that are graded."""

    settings: SamplingSettings
    grader: Grader
    resolved = StudentTransform.resolved | {"grader"}
    runtime = StudentTransform.runtime | {"_pool", "_live"}
    counters = Usage

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
