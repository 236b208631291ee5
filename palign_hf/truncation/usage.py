"""What a run asked and what it cost: counters that can be added up over batches and processes."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

from palign_hf.truncation.criteria import UNPARSABLE, Probe


@dataclass
class Usage:
    """Counts over all probes that the rows rest on; `asked` were answered in this run, the others in earlier ones."""

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

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, field.name) - getattr(other, field.name) for field in fields(self)))

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that no cache saved."""
        return self.prompt_tokens - self.cached_tokens

    def as_dict(self) -> dict[str, int | float]:
        """For JSON; `Usage(**d)` takes it back."""
        return asdict(self)
