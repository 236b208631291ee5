"""Which benchmarks were asked in part, or from a copy with other content: told beside every figure of theirs. Pure.

Each sample carries the reason in the column `partial`, so that whatever is made of samples can say it: a report, a
comparison, a card. Where there is no such column, or it is empty, a benchmark is whole as far as it is known.
"""

from collections.abc import Iterable, Mapping

from palign_hf.evaluation.samples import Sample


PARTIAL = "partial"


def partial_of(samples: Iterable[Sample]) -> dict[str, str]:
    """The reason of each benchmark that isn't whole, by its name."""
    found: dict[str, str] = {}
    for sample in samples:
        if reason := sample.about.get(PARTIAL):
            found.setdefault(sample.benchmark, reason)
    return found


def told(reasons: Mapping[str, str]) -> str:
    """All reasons in a line."""
    return ", ".join(f"{name} {reason}" for name, reason in reasons.items())


def heading(name: str, reasons: Mapping[str, str]) -> str:
    """What stands above figures: of the benchmark of that name, else of all benchmarks."""
    if not reasons:
        return name
    return f"{name} (partial: {reasons.get(name) or told(reasons)})"


def remarks(reasons: Mapping[str, str]) -> list[str]:
    """What is to be said about the figures."""
    return [
        f"{name} is partial ({reason}): these are no figures of the whole benchmark, and no leaderboard gets them"
        for name, reason in reasons.items()
    ]
