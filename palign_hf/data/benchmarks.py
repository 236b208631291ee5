"""Benchmarks: their pinned revisions, local copies, and questions for decontamination."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from palign_hf.config import folder_of
from palign_hf.data.decontamination import Index
from palign_hf.data.sources import SourceError, open_source
from palign_hf.errors import UserError, listed, nearest


if TYPE_CHECKING:
    from datasets import Dataset


# A whole number as a float is written.
_WHOLE = re.compile(r"^(-?\d+)\.0+$")
# Variable with the folder of copies of benchmarks, where no setting names one.
VARIABLE = "PALIGN_BENCHMARKS"


class Benchmark(NamedTuple):
    """Where the problems of a benchmark are, and how they are read.

    Args:
        hub_id (`str`): Its dataset on the Hub.
        split (`str`): The split with the problems.
        column (`str`): The column of the questions.
        config (`str`, *optional*): The configuration of the dataset.
        revision (`str`, *optional*): The commit that is read.
        answer (`str`, defaults to `"answer"`): The column of the gold answers.
        name (`str`, *optional*, defaults to `"id"`): The column of the ids; with `None` a question is its own id.
        about (`tuple[str, ...]`, *optional*): Further columns to report by, such as the difficulty.
        rows (`int`, defaults to 0): The number of problems, to tell a part from the whole; 0 if unknown.
        content (`str`, *optional*): The hash of all problems (`hash_of`), to tell a changed copy.
        task (`str`, *optional*): The name for `--tasks`; without one it serves only to decontaminate.
        hashed (`bool`, defaults to `False`): Whether the answer is what follows the last `####` of its column.
    """

    hub_id: str
    split: str
    column: str
    config: str | None = None
    revision: str | None = None
    answer: str = "answer"
    name: str | None = "id"
    about: tuple[str, ...] = ()
    rows: int = 0
    content: str | None = None
    task: str | None = None
    hashed: bool = False


# The commits are those that public projects have pinned in their code, each of them by several. Contents were hashed
# from copies with the columns and texts of the Hub's; those of AIME are left out, since the copies at hand were made
# from other sources, and whether they have the Hub's texts to the letter isn't known.
BENCHMARKS = {
    "MATH-500": Benchmark(
        "HuggingFaceH4/MATH-500",
        "test",
        "problem",
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
        name="unique_id",
        about=("subject", "level"),
        rows=500,
        content="3af1ca9fcf17d19177a9e06b3c102993",
        task="math_500",
    ),
    "AIME24": Benchmark(
        "HuggingFaceH4/aime_2024",
        "train",
        "problem",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
        rows=30,
        task="aime24",
    ),
    "AIME25": Benchmark(
        "yentinglin/aime_2025",
        "train",
        "problem",
        revision="6f71d77b0b89b9dabe07ab466c51df33f514df7f",
        rows=30,
        task="aime25",
    ),
    "AMC12": Benchmark(
        "AI-MO/aimo-validation-amc",
        "train",
        "problem",
        revision="69d78a4a2c840e82d69af6bc742bda09005f6316",
        rows=83,
        content="104ba4953bc9409b924b327abe96be7b",
        task="amc12",
    ),
    "GSM8K": Benchmark(
        "openai/gsm8k",
        "test",
        "question",
        "main",
        "740312add88f781978c0658806c59bc2815b9866",
        name=None,
        rows=1319,
        content="39abe5f05f2bbf0b945fab35b975de07",
        task="gsm8k",
        hashed=True,
    ),
}

Places = Mapping[str, str | Path] | str | Path | None


def check_benchmarks(names: Iterable[str], places: Places = None) -> None:
    """Refuse unknown benchmarks and missing copies before anything is loaded."""
    paths = places if isinstance(places, Mapping) else {}
    for name in (*names, *paths):
        if name not in BENCHMARKS:
            raise UserError(f"`{name}` is no benchmark{nearest(name, BENCHMARKS)}. Choose from {listed(BENCHMARKS)}.")
    for name, path in paths.items():
        if not str(path).strip():
            raise UserError(f"`benchmarks` has no path for `{name}`. Give a file or folder, or leave `{name}` out.")


def place_of(name: str, places: Places = None) -> str | None:
    """The file or folder of a benchmark's copy; None for the Hub's."""
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
        given_as = f"`benchmarks={places}`" if places else f"`{VARIABLE}={folder}`"
        raise UserError(
            f"{given_as} has no copy of {name}: `{place}` is no folder. Put it there, or name its place: "
            f"`benchmarks={{{name}: ...}}`."
        )
    return str(place)


def hash_of(name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """Hash of a benchmark's questions and answers, independent of order, file format and other columns."""
    known = BENCHMARKS[name]
    digests = sorted(_digest(row.get(known.column), row.get(known.answer)) for row in rows)
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def departure(name: str, rows: "Dataset", places: Places = None) -> str | None:
    """How these rows differ from the whole benchmark; None if they don't, as far as known.

    Rows of the Hub's pinned commit are counted; those of a copy are also compared with the hash of that commit.
    """
    known = BENCHMARKS[name]
    if known.rows and len(rows) != known.rows:
        fewer = len(rows) < known.rows
        return f"{len(rows)} of {known.rows} problems" if fewer else f"{len(rows)} problems instead of {known.rows}"
    copied = place_of(name, places) is not None
    if copied and known.content is not None and hash_of(name, rows) != known.content:
        return f"{len(rows)} problems, not all of them those of the pinned revision"
    return None


def _digest(*values: Any) -> bytes:
    """Digest of a row; 142, 142.0 and "142.0" are equal, since formats store numbers differently."""
    total = hashlib.blake2b(digest_size=16)
    for value in values:
        text = "" if value is None else str(value).strip()
        data = _WHOLE.sub(r"\1", text).encode("utf-8", "surrogatepass")
        total.update(len(data).to_bytes(8, "big") + data)
    return total.digest()


def open_benchmark(name: str, places: Places = None) -> "Dataset":
    """Open the rows of a benchmark from the Hub, or from a local file or folder."""
    check_benchmarks([name], places)
    known, path = BENCHMARKS[name], place_of(name, places)
    # A file has one split, whatever it is called.
    split = known.split if path is None or os.path.isdir(path) else None
    config, revision = (known.config, known.revision) if path is None else (None, None)
    opened: Any
    try:
        opened, _ = open_source(path or known.hub_id, split=split, config=config, revision=revision, streaming=False)
    except SourceError as error:
        copy = f"`hf download --repo-type dataset {known.hub_id} --local-dir {name}`"
        raise UserError(
            f"{error.problem} Make a copy of {name} with {copy}, and name its place: `benchmarks={{{name}: ...}}`."
        ) from error
    columns = opened.column_names or []
    if known.column not in columns:
        raise UserError(
            f"`{path or known.hub_id}` has no column `{known.column}`, where the questions of {name} are; it has "
            f"{listed(columns)}. Rename the column of the questions."
        )
    found: Dataset = opened
    return found


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
