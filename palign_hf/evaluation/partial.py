"""Partial benchmarks (a part of the problems, or a copy with other content), marked beside every figure.

Each sample carries the reason in the column `partial`, so that reports, comparisons and cards can show it. Where the
column is missing or empty, a benchmark is complete as far as known.
"""

from collections.abc import Iterable, Mapping

from palign_hf.evaluation.samples import Sample


PARTIAL = "partial"


def partial_of(samples: Iterable[Sample]) -> dict[str, str]:
    """Map each partial benchmark to its reason."""
    found: dict[str, str] = {}
    for sample in samples:
        if reason := sample.about.get(PARTIAL):
            found.setdefault(sample.benchmark, reason)
    return found


def told(reasons: Mapping[str, str]) -> str:
    """All reasons in one line."""
    return ", ".join(f"{name} {reason}" for name, reason in reasons.items())


def heading(name: str, reasons: Mapping[str, str]) -> str:
    """Heading of figures: of the benchmark of that name, else of all benchmarks."""
    if not reasons:
        return name
    return f"{name} (partial: {reasons.get(name) or told(reasons)})"


def remarks(reasons: Mapping[str, str]) -> list[str]:
    """Remarks below the figures."""
    return [
        f"{name} is partial ({reason}): these are no figures of the whole benchmark, and no leaderboard gets them"
        for name, reason in reasons.items()
    ]
