"""Names that resolve to shipped students and traces, without the Hub.

The module of a name is imported on demand, since it depends on the stages above this one.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast


if TYPE_CHECKING:
    from datasets import Dataset

# Repositories of the Hub have an owner before their name, so these names are unambiguous.
_HOMES = {"palign-toy": "palign_hf.toy"}


class Shipped(Protocol):
    """The interface of such a module."""

    NAME: str
    SPLITS: tuple[str, ...]

    def student_folder(self) -> Path:
        """The student's folder, in the layout that `from_pretrained` and vLLM load."""

    def traces(self, split: str) -> "Dataset":
        """One of its `SPLITS` as a table of TRACES."""

    def problems(self, split: str) -> "Dataset":
        """The same problems without traces: `id`, `question`, `answer`, and columns to group by."""


def shipped(name: str) -> Shipped | None:
    """The module of a name, or None for every other student and source."""
    home = _HOMES.get(name)
    return cast(Shipped, import_module(home)) if home else None
