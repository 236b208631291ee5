"""Which rejected sample a kept one is preferred to: same problem, same prefix, and rejected for what it says. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from palign_hf.alignment.selection import BALANCE


def matches(rows: Iterable[Mapping[str, Any]], per_problem: int | None) -> list[tuple[int, int]]:
    """Positions of (kept, rejected) samples, problem by problem in the order in which these first have a kept one.

    Within a problem the kept samples go by their numbers, and each is matched with the rejected ones after the same
    prefix: wrong answers first, then right ones with a flaw, by their numbers; the first `per_problem` are taken.
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
    """Not by a cap on its kind, and not because its answer could not be graded."""
    return not (row["reason"] or "").startswith(BALANCE) and row.get("grading_error") is None
