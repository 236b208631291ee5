"""Preference pairs: matches kept and rejected samples of the same problem and prefix."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from palign_hf.alignment.selection import BALANCE


def matches(rows: Iterable[Mapping[str, Any]], per_problem: int | None) -> list[tuple[int, int]]:
    """Return positions of (kept, rejected) samples, by problem in the order of their first kept sample.

    Within a problem the kept samples are ordered by number, and each is matched with the rejected ones after the same
    prefix: wrong answers first, then right ones with a flaw, by number; the first `per_problem` are taken.
    """
    kept: dict[str, list[tuple[int, int, str | None]]] = defaultdict(list)
    rejected: dict[tuple[str, str | None], list[tuple[bool, int, int]]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row["status"] == "kept":
            kept[row["id"]].append((row["sample"], at, row["prefix"]))
        elif row["status"] == "rejected" and _for_what_it_says(row):
            right = bool(row.get("strict") or row.get("lenient"))
            rejected[row["id"], row["prefix"]].append((right, row["sample"], at))
    found: list[tuple[int, int]] = []
    for problem, samples in kept.items():
        of_one = [
            (at, other)
            for _, at, prefix in sorted(samples, key=lambda sample: sample[:2])
            for _, _, other in sorted(rejected.get((problem, prefix), ()))
        ]
        found += of_one[:per_problem]
    return found


def _for_what_it_says(row: Mapping[str, Any]) -> bool:
    """Whether a sample was rejected for its content, not by a balance cap or a failed grader."""
    return not (row["reason"] or "").startswith(BALANCE) and row.get("grading_error") is None
