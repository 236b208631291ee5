"""Benchmark questions for decontamination."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from palign_hf.alignment.decontamination import Index
from palign_hf.benchmarks import BENCHMARKS, check_benchmarks, open_benchmark


def load_benchmark(name: str, path: str | Path | None = None) -> list[str]:
    """Load the questions of a benchmark from the Hub, or from a local file or folder."""
    check_benchmarks([name])
    rows = open_benchmark(name, None if path is None else {name: path})
    return list(rows[BENCHMARKS[name].column])


def load_index(
    names: Iterable[str] = tuple(BENCHMARKS),
    paths: Mapping[str, str | Path] | None = None,
    corpus: Iterable[str] = (),
) -> Index:
    """Build an index of several benchmarks; `paths` maps names to local copies."""
    paths = paths or {}
    check_benchmarks(names, paths)
    return Index({name: load_benchmark(name, paths.get(name)) for name in names}, corpus)
