"""The benchmarks that students are measured by: where they are, at which commit, and in which columns.

Training data is kept free of their questions, and evaluation asks them. A copy on disk stands for the Hub's, by its
folder or file (`{AIME25: folder}`), or by one folder that holds copies as OWNER/NAME.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palign_hf.config import folder_of
from palign_hf.errors import UserError, listed, nearest
from palign_hf.traces.sources import open_source


if TYPE_CHECKING:
    from datasets import Dataset

# The folder with copies of benchmarks, where no setting names one.
VARIABLE = "PALIGN_BENCHMARKS"


class Benchmark(NamedTuple):
    """Where a benchmark lives on the Hub, and in which columns its questions, answers and names are."""

    hub_id: str
    split: str
    column: str
    config: str | None = None
    revision: str | None = None
    answer: str = "answer"
    name: str | None = "id"
    about: tuple[str, ...] = ()


# The commits are those that public projects have pinned in their code, each of them by several.
BENCHMARKS = {
    "MATH-500": Benchmark(
        "HuggingFaceH4/MATH-500",
        "test",
        "problem",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        name="unique_id",
        about=("subject", "level"),
    ),
    "AIME24": Benchmark(
        "HuggingFaceH4/aime_2024", "train", "problem", revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a"
    ),
    "AIME25": Benchmark(
        "yentinglin/aime_2025", "train", "problem", revision="6f71d77b0b89b9dabe07ab466c51df33f514df7f"
    ),
    "AMC12": Benchmark(
        "AI-MO/aimo-validation-amc", "train", "problem", revision="69d78a4a2c840e82d69af6bc742bda09005f6316"
    ),
    "GSM8K": Benchmark(
        "openai/gsm8k", "test", "question", "main", "740312add88f781978c0658806c59bc2815b9866", name=None
    ),
}

Places = Mapping[str, str | Path] | str | Path | None


def check_benchmarks(names: Iterable[str], places: Places = None) -> None:
    """Refuse what is no benchmark, and a copy that is nowhere, before anything is loaded."""
    paths = places if isinstance(places, Mapping) else {}
    for name in (*names, *paths):
        if name not in BENCHMARKS:
            raise UserError(f"`{name}` is no benchmark{nearest(name, BENCHMARKS)}. Choose from {listed(BENCHMARKS)}.")
    for name, path in paths.items():
        if not str(path).strip():
            raise UserError(f"`benchmarks` has no path for `{name}`. Give a file or folder, or leave `{name}` out.")


def place_of(name: str, places: Places = None) -> str | None:
    """The file or folder with a copy of a benchmark; None if the Hub is to be asked."""
    if isinstance(places, Mapping):
        if name in places:
            return str(places[name])
        places = None
    folder = places or os.environ.get(VARIABLE)
    if not folder:
        return None
    known = BENCHMARKS[name]
    place = folder_of(folder) / known.hub_id / (known.config or "")
    if not os.path.isdir(place):  # also of a text that can't be a path
        said = f"`benchmarks={places}`" if places else f"`{VARIABLE}={folder}`"
        raise UserError(
            f"{said} has no copy of {name}: `{place}` is no folder. Put it there, or name its place: "
            f"`benchmarks={{{name}: ...}}`."
        )
    return str(place)


def open_benchmark(name: str, places: Places = None) -> "Dataset":
    """The rows of a benchmark: from the Hub, or from a file or folder that holds a copy of it."""
    check_benchmarks([name], places)
    known, path = BENCHMARKS[name], place_of(name, places)
    opened: Any
    if path is None:
        opened, _ = open_source(
            known.hub_id, split=known.split, config=known.config, revision=known.revision, streaming=False
        )
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
    found: Dataset = opened
    return found
