"""Pairs of the toy world that no student had to be asked for: each trace is cut at a third, and goes on as it did."""

from typing import Any

from datasets import Dataset

from palign_hf.data.traces import load_traces
from palign_hf.schema import PAIRS
from palign_hf.segmentation import cuts


def toy_pairs(count: int, rejected: tuple[int, ...] = ()) -> tuple[Dataset, Dataset]:
    """Pairs of the shortest traces, those at some places rejected; and the traces."""
    traces = sorted(load_traces("palign-toy", split="train", max_samples=200), key=lambda row: len(row["trace"]))[
        :count
    ]
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(traces):
        ends = cuts(row["trace"])
        at = ends[len(ends) // 3]
        told = {name: row[name] for name in ("id", "question", "answer", "source")}
        parts = {"prefix": row["trace"][:at], "continuation": row["trace"][at:]}
        outcome = {"status": "rejected" if number in rejected else "kept", "sample": 0}
        rows.append(dict.fromkeys(PAIRS.columns) | told | parts | outcome)
    return Dataset.from_list(rows, features=PAIRS.features), Dataset.from_list(traces)
