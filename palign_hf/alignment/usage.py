"""What an alignment drew and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from palign_hf.runs.counters import Counters


class Drawn(Protocol):
    """A sample with its costs, as a ledger has it."""

    @property
    def token_ids(self) -> Sequence[int]:
        """What was generated."""

    @property
    def prompt_tokens(self) -> int:
        """What it was generated from; 0 for the further samples of a prompt that was read once."""

    @property
    def cached_tokens(self) -> int:
        """How much of the prompt was known before."""


@dataclass
class Usage(Counters):
    """Counts over all samples that the rows rest on; `asked` were drawn in this run, the others in earlier ones."""

    samples: int = 0
    asked: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    asked_tokens: int = 0

    def add(self, sample: Drawn, fresh: bool) -> None:
        """Count one sample; a `fresh` one was drawn in this run."""
        tokens = len(sample.token_ids)
        self.samples += 1
        self.prompt_tokens += sample.prompt_tokens
        self.cached_tokens += sample.cached_tokens
        self.generated_tokens += tokens
        if fresh:
            self.asked += 1
            self.asked_tokens += tokens

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that no cache saved."""
        return self.prompt_tokens - self.cached_tokens
