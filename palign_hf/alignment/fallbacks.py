"""Fallback prefixes: longer beginnings of a trace, for a problem that no sample solved from the found one.

Truncation has probed several cuts. The next sufficient ones above the found prefix are in the row's probes, so no new
judgement is needed.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from palign_hf.segmentation import Granularity, cuts


def longer_ends(row: Mapping[str, Any], most: int) -> list[int]:
    """Ends of the next probed cuts above the prefix, the nearest first."""
    segments = row["prefix_segments"]
    probed = [probe["segments"] for probe in row["probes"] or () if probe is not None]
    above = sorted({cut for cut in probed if None not in (cut, segments) and cut > segments})
    ends = _ends(row) if above else None
    return [ends[cut] for cut in above[:most] if cut < len(ends)] if ends else []


def full_end(row: Mapping[str, Any]) -> list[int]:
    """The end of the trace, if the row has more of it than the prefix."""
    whole = len(row["trace"])
    return [whole] if row["status"] != "published" and row["prefix_end"] < whole else []


def _ends(row: Mapping[str, Any]) -> Sequence[int] | None:
    """The cut points of the row's truncation: those that match its number of segments and the end of its prefix."""
    tried: Iterable[list[int]] = ([0, *cuts(row["trace"], granularity)] for granularity in get_args(Granularity))
    for ends in tried:
        if len(ends) - 1 == row["n_segments"] and row["prefix_end"] in ends:
            if ends.index(row["prefix_end"]) == row["prefix_segments"]:
                return ends
    return None
