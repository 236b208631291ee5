"""What a truncation run is made of, split by one question: does it change the result?

`Recipe` holds what does; its fingerprint names caches and ledgers, across processes and days. `Runtime` holds what
doesn't: engine, memory, folders, the progress bar; the few engine options that do change it are in both. The search
has a fingerprint on top of the judge's, so two searches over the same judge share one ledger and ask nothing twice.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from palign_hf import segmentation
from palign_hf.errors import UserError, listed, nearest
from palign_hf.schema import SCHEMA_VERSION
from palign_hf.students import Student
from palign_hf.truncation.criteria import Criterion
from palign_hf.truncation.search import Search


# Raised when the same settings may give other rows than before.
TRANSFORM_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """Everything that can change a row of the result, and nothing else."""

    student: Student
    criterion: Criterion
    search: Search
    granularity: str
    context: int | None
    audit: float
    altered: Mapping[str, Any] = field(default_factory=dict)  # engine options that change the student's numbers

    def __post_init__(self) -> None:
        if self.granularity not in segmentation.GRANULARITIES:
            raise UserError(
                f"`granularity={self.granularity!r}` is unknown"
                f"{nearest(self.granularity, segmentation.GRANULARITIES)}. Choose one of "
                f"{listed(segmentation.GRANULARITIES)}."
            )
        if not 0.0 <= self.audit <= 1.0:
            raise UserError(f"`audit={self.audit}` is no share. Give a number from 0 (none) to 1 (every problem).")
        if self.context is not None and self.context < 1:
            raise UserError(f"`context={self.context}` is no number of tokens. Leave it out for the student's own.")

    def describe_judge(self) -> dict[str, Any]:
        """What decides a margin at a cut."""
        return {
            "student": self.student.identity,
            "criterion": self.criterion.describe(),
            "segmentation": {"granularity": self.granularity, "version": segmentation.VERSION},
            "context": self.context,
            **({"altered": dict(self.altered)} if self.altered else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        return self.describe_judge() | {
            "search": self.search.describe(),
            "audit": self.audit,
            "schema": SCHEMA_VERSION,
            "transform": TRANSFORM_VERSION,
        }

    @property
    def judge_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_judge())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())


@dataclass(frozen=True)
class Runtime:
    """How the run is carried out: any of it may change from one run to the next without changing a row."""

    engine: str = "auto"
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    trust_remote_code: bool = False
    ledger: str | None = None
    in_flight: int | None = None
    progress: bool | None = None

    @property
    def ledger_folder(self) -> Path:
        """Where ledgers lie: as given, else under PALIGN_HOME, else in the user's cache folder."""
        if self.ledger:
            return Path(self.ledger).expanduser()
        home = os.environ.get("PALIGN_HOME")
        return (Path(home).expanduser() if home else Path.home() / ".cache" / "palign") / "ledgers"


def fingerprint(description: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a JSON-able description; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
