"""The benchmarks that students are measured by, so that none of their questions is trained on."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from palign_hf.alignment.decontamination import Index
from palign_hf.errors import UserError, listed, nearest
from palign_hf.traces.sources import open_source


class Benchmark(NamedTuple):
    """Where a benchmark lives on the Hub, and in which column its questions are."""

    hub_id: str
    split: str
    column: str
    config: str | None = None


BENCHMARKS = {
    "MATH-500": Benchmark("HuggingFaceH4/MATH-500", "test", "problem"),
    "AIME24": Benchmark("HuggingFaceH4/aime_2024", "train", "problem"),
    "AIME25": Benchmark("yentinglin/aime_2025", "train", "problem"),
    "AMC12": Benchmark("AI-MO/aimo-validation-amc", "train", "problem"),
    "GSM8K": Benchmark("openai/gsm8k", "test", "question", "main"),
}


def check_benchmarks(names: Iterable[str], paths: Mapping[str, str | Path] | None = None) -> None:
    """Refuse what is no benchmark, and a copy that is nowhere, before anything is loaded."""
    for name in (*names, *(paths or ())):
        if name not in BENCHMARKS:
            raise UserError(f"`{name}` is no benchmark{nearest(name, BENCHMARKS)}. Choose from {listed(BENCHMARKS)}.")
    for name, path in (paths or {}).items():
        if not str(path).strip():
            raise UserError(f"`benchmarks` has no path for `{name}`. Give a file or folder, or leave `{name}` out.")


def load_benchmark(name: str, path: str | Path | None = None) -> list[str]:
    """The questions of a benchmark: from the Hub, or from a file or folder that holds a copy of it."""
    check_benchmarks([name])
    known = BENCHMARKS[name]
    if path is None:
        opened, _ = open_source(known.hub_id, split=known.split, config=known.config, revision=None, streaming=False)
    else:
        # A file has one split, whatever it is called.
        split = known.split if os.path.isdir(path) else None
        opened, _ = open_source(path, split=split, config=None, revision=None, streaming=False)
    columns = opened.column_names or []
    if known.column not in columns:
        raise UserError(
            f"`{path or known.hub_id}` has no column `{known.column}`, where the questions of {name} are; it has "
            f"{listed(columns)}. Rename the column of the questions."
        )
    return list(opened[known.column])


def load_index(
    names: Iterable[str] = tuple(BENCHMARKS),
    paths: Mapping[str, str | Path] | None = None,
    corpus: Iterable[str] = (),
) -> Index:
    """An index of several benchmarks; `paths` says where local copies of some lie."""
    paths = paths or {}
    check_benchmarks(names, paths)
    return Index({name: load_benchmark(name, paths.get(name)) for name in names}, corpus)
