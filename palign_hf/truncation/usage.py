"""Counts and costs of a truncation's probes."""

from collections.abc import Iterable
from dataclasses import dataclass

from palign_hf.runs.counters import Counters
from palign_hf.truncation.criteria import UNPARSABLE, Probe


@dataclass
class Usage(Counters):
    """Counts over all probes of the rows; `asked` were computed in this run, the others in earlier ones."""

    probes: int = 0
    asked: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    floor_tokens: int = 0
    mass_sum: float = 0.0
    mass_probes: int = 0
    top_is_label: int = 0

    def add(self, probes: Iterable[Probe], asked: int, floor_tokens: int) -> None:
        """Count one problem."""
        self.asked += asked
        self.floor_tokens += floor_tokens
        for probe in probes:
            self.probes += 1
            self.unparsable += probe.verdict == UNPARSABLE
            self.prompt_tokens += probe.prompt_tokens
            self.cached_tokens += probe.cached_tokens
            if probe.label_mass is not None:
                self.mass_sum += probe.label_mass
                self.mass_probes += 1
                self.top_is_label += bool(probe.top_is_label)

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that no cache saved."""
        return self.prompt_tokens - self.cached_tokens
