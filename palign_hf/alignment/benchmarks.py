"""The questions of benchmarks, so that none of them is trained on."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from palign_hf.alignment.decontamination import Index
from palign_hf.benchmarks import BENCHMARKS, check_benchmarks, open_benchmark


def load_benchmark(name: str, path: str | Path | None = None) -> list[str]:
    """The questions of a benchmark: from the Hub, or from a file or folder that holds a copy of it."""
    check_benchmarks([name])
    rows = open_benchmark(name, None if path is None else {name: path})
    return list(rows[BENCHMARKS[name].column])


def load_index(
    names: Iterable[str] = tuple(BENCHMARKS),
    paths: Mapping[str, str | Path] | None = None,
    corpus: Iterable[str] = (),
) -> Index:
    """An index of several benchmarks; `paths` says where local copies of some lie."""
    paths = paths or {}
    check_benchmarks(names, paths)
    return Index({name: load_benchmark(name, paths.get(name)) for name in names}, corpus)
