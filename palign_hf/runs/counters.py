"""What a run asked and what it cost, as numbers that add up over batches, parts and processes."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self


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
