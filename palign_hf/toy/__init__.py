"""The toy world: small problems with known answers and known sufficient prefixes, for two CPU cores.

`world/` generates problems and measures cuts, `student/` holds the weights of the shipped student (`examples/toy`
builds them), `demo/` is `palign demo`. The name `palign-toy` resolves to a student and to a source of traces (see
`palign_hf.students`).
"""

from pathlib import Path
from typing import TYPE_CHECKING

from palign_hf.schema import TRACES
from palign_hf.toy.world.problems import ROWS, SPLITS, toy_traces


if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["NAME", "SPLITS", "problems", "student_folder", "traces"]

NAME = "palign-toy"


def student_folder() -> Path:
    """Folder of the shipped student, in the layout that `from_pretrained` and vLLM load."""
    return Path(__file__).parent / "student" / "weights"


def traces(split: str) -> "Dataset":
    """Return a split of TRACES with its fixed number of rows; `toy_traces` generates any number, with the truth."""
    return toy_traces(split, ROWS[split]).select_columns(list(TRACES.columns))


def problems(split: str) -> "Dataset":
    """Return the problems of a split with their family and difficulty, without traces."""
    return toy_traces(split, ROWS[split]).select_columns(["id", "question", "answer", "family", "difficulty"])
