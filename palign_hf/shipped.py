"""What the package answers to by a name of its own: a student and traces that need no Hub.

Looked up, not imported: a shipped world stands above the stages it is for, so its module is loaded only when somebody
asks for its name.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast


if TYPE_CHECKING:
    from datasets import Dataset

# A repository of the Hub has an owner before its name, so none of these can be mistaken for one.
_HOMES = {"palign-toy": "palign_hf.toy"}


class Shipped(Protocol):
    """What such a module offers."""

    NAME: str
    SPLITS: tuple[str, ...]

    def student_folder(self) -> Path:
        """The student, as `from_pretrained` and vLLM load it."""

    def traces(self, split: str) -> "Dataset":
        """One of its `SPLITS` as a table of TRACES."""

    def problems(self, split: str) -> "Dataset":
        """The same problems to be solved: `id`, `question`, `answer`, and what they can be told apart by."""


def shipped(name: str) -> Shipped | None:
    """The module behind a name, or None for every other student and source."""
    home = _HOMES.get(name)
    return cast(Shipped, import_module(home)) if home else None
