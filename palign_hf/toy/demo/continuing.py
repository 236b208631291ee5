"""What the student makes of its prefixes, against the truth: right from exact cuts, from others, and from nothing."""

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
    """Samples from one kind of prefix, and how many of them are right by the truth."""

    name: str
    problems: int
    samples: int
    right: int

    @property
    def share(self) -> float | None:
        """How often a sample is right."""
        return self.right / self.samples if self.samples else None


def measure_continuations(
    truncation: "PrefixTruncation", alignment: "PrefixAlignment", traces: "Dataset", prefixes: "Dataset", pairs: Any
) -> list[Continued]:
    """The samples of `pairs` by how far their cuts lie from the true ones, and as many from no prefix at all.

    Those are drawn here, with the engine and the ledger of `alignment`.
    """
    bare = traces.map(truncation.with_search("none"), batched=True, load_from_cache_file=False)
    alignment.expect(len(bare), "from no prefix")
    return [*by_cut(pairs, prefixes), counted(NONE, alignment.stream(bare))]


def by_cut(pairs: Iterable[Mapping[str, Any]], prefixes: "Dataset") -> list[Continued]:
    """The samples of found prefixes, all of them and by kind of cut."""
    cut = prefixes.filter(lambda segments: segments is not None, input_columns="prefix_segments")
    kinds = {
        row_id: EXACT if off == 0 else SHORT if off < 0 else LONG
        for row_id, off in zip(cut["id"], distances(cut), strict=True)
    }
    rows = [row for row in pairs if row["fallback"] is None]
    parts = (counted(kind, (row for row in rows if kinds.get(row["id"]) == kind)) for kind in (EXACT, SHORT, LONG))
    return [counted(FOUND, rows), *parts]


def counted(name: str, rows: Iterable[Mapping[str, Any]]) -> Continued:
    """Samples and right ones of some rows of PAIRS."""
    found: Counter[str] = Counter()
    ids = set()
    for row in rows:
        if row["status"] in ("kept", "rejected"):
            ids.add(row["id"])
            found["samples"] += 1
            found["right"] += right_by_truth(row["id"], row["continuation"])
    return Continued(name, len(ids), found["samples"], found["right"])


def kept_right(pairs: Iterable[Mapping[str, Any]]) -> float | None:
    """The share of the kept pairs that are right by the truth: all of them, if the grader is."""
    found = [right_by_truth(row["id"], row["continuation"]) for row in pairs if row["status"] == "kept"]
    return sum(found) / len(found) if found else None
