"""Counts and costs of a stage's samples."""

from dataclasses import dataclass
from typing import Protocol

from palign_hf.runs.counters import Counters


class Drawn(Protocol):
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
class Usage(Counters):
    """Counts over all samples of the rows; `asked` were drawn in this run, the others in earlier ones."""

    samples: int = 0
    asked: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    asked_tokens: int = 0

    def add(self, sample: Drawn) -> None:
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
