"""Longer beginnings of a trace, for a problem that no sample solved from the found one. Pure.

A truncation has asked about several cuts. The next ones up from the one that it found are in the row's probes, so that
what truncation thought enough and alignment found too little is mended without judging anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from palign_hf.segmentation import Granularity, cuts


def longer_ends(row: Mapping[str, Any], most: int) -> list[int]:
    """Where the next probed cuts above the prefix end in the trace, the nearest first."""
    segments = row["prefix_segments"]
    probed = [probe["segments"] for probe in row["probes"] or () if probe is not None]
    above = sorted({cut for cut in probed if None not in (cut, segments) and cut > segments})
    ends = _ends(row) if above else None
    return [ends[cut] for cut in above[:most] if cut < len(ends)] if ends else []


def full_end(row: Mapping[str, Any]) -> list[int]:
    """The end of the trace, if more is known of it than the prefix."""
    whole = len(row["trace"])
    return [whole] if row["status"] != "published" and row["prefix_end"] < whole else []


def _ends(row: Mapping[str, Any]) -> Sequence[int] | None:
    """The cut points that the row was made with: those that give its number of segments and the end of its prefix."""
    tried: Iterable[list[int]] = ([0, *cuts(row["trace"], granularity)] for granularity in get_args(Granularity))
    for ends in tried:
        if len(ends) - 1 == row["n_segments"] and row["prefix_end"] in ends:
            if ends.index(row["prefix_end"]) == row["prefix_segments"]:
                return ends
    return None
