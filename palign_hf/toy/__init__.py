"""A small world whose truth is known, for two CPU cores.

`world/` has its problems and measures, `student/` the shipped student and how it is made, `demo/` what `palign demo`
shows. By its name `palign-toy` it is a student and a source of traces (see `palign_hf.shipped`).
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
    """The student, as `from_pretrained` and vLLM load it."""
    return Path(__file__).parent / "student" / "weights"


def traces(split: str) -> "Dataset":
    """A split of TRACES with a fixed number of rows; `toy_traces` makes as many as one likes, with their truth."""
    return toy_traces(split, ROWS[split]).select_columns(list(TRACES.columns))


def problems(split: str) -> "Dataset":
    """The problems of a split, to be solved: with their family and difficulty."""
    return toy_traces(split, ROWS[split]).select_columns(["id", "question", "answer", "family", "difficulty"])
