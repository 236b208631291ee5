"""Accuracy of continuations by kind of cut: exact, too short, too long, and without a prefix."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palign_hf.toy.world.truth import distances, right_by_truth


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.alignment.transform import PrefixAlignment
    from palign_hf.truncation.transform import PrefixTruncation

FOUND, EXACT, SHORT, LONG, NONE = "found cut", "exact cut", "too short", "too long", "no prefix"


@dataclass(frozen=True)
class Continued:
    """Samples from one kind of prefix, and how many of them have the true answer."""

    name: str
    problems: int
    samples: int
    right: int

    @property
    def share(self) -> float | None:
        """Share of samples with the true answer."""
        return self.right / self.samples if self.samples else None


def measure_continuations(
    truncation: "PrefixTruncation", alignment: "PrefixAlignment", traces: "Dataset", prefixes: "Dataset", pairs: Any
) -> list[Continued]:
    """Group the samples of `pairs` by distance of their cut from the true one, and add samples without a prefix.

    The samples without a prefix are generated here, with the engine and the ledger of `alignment`.
    """
    bare = traces.map(truncation.with_search("none"), batched=True, load_from_cache_file=False)
    alignment.expect(len(bare), "from no prefix")
    return [*by_cut(pairs, prefixes), counted(NONE, alignment.stream(bare))]


def by_cut(pairs: Iterable[Mapping[str, Any]], prefixes: "Dataset") -> list[Continued]:
    """Count the samples of found prefixes, in total and by kind of cut."""
    cut = prefixes.filter(lambda segments: segments is not None, input_columns="prefix_segments")
    kinds = {
        row_id: EXACT if off == 0 else SHORT if off < 0 else LONG
        for row_id, off in zip(cut["id"], distances(cut), strict=True)
    }
    rows = [row for row in pairs if row["fallback"] is None]
    parts = (counted(kind, (row for row in rows if kinds.get(row["id"]) == kind)) for kind in (EXACT, SHORT, LONG))
    return [counted(FOUND, rows), *parts]


def counted(name: str, rows: Iterable[Mapping[str, Any]]) -> Continued:
    """Count samples and correct samples in rows of PAIRS."""
    found: Counter[str] = Counter()
    ids = set()
    for row in rows:
        if row["status"] in ("kept", "rejected"):
            ids.add(row["id"])
            found["samples"] += 1
            found["right"] += right_by_truth(row["id"], row["continuation"])
    return Continued(name, len(ids), found["samples"], found["right"])


def kept_right(pairs: Iterable[Mapping[str, Any]]) -> float | None:
    """Share of the kept pairs that have the true answer; 1.0 if the grader is correct."""
    found = [right_by_truth(row["id"], row["continuation"]) for row in pairs if row["status"] == "kept"]
    return sum(found) / len(found) if found else None
