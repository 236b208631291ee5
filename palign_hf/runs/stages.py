"""The list of stages: each command with its line in `palign --help` and the home of its stage.

The list is plain text, so that `palign --help` imports no stage; `find_stage` imports the one that is used. To add a
stage to the package takes a folder and one line here; `register` adds a stage of another package.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from palign_hf.errors import UserError, listed
from palign_hf.runs.launch import Stage


@dataclass(frozen=True)
class StageEntry:
    """One stage of the list: `home` is the stage, or `MODULE:NAME` in this package."""

    home: str | Stage[Any]
    help: str

    def load(self) -> Stage[Any]:
        """The stage itself; its module is imported by now."""
        if not isinstance(self.home, str):
            return self.home
        module, _, name = self.home.partition(":")
        return cast(Stage[Any], getattr(importlib.import_module(f"palign_hf.{module}"), name))


# In the order of the flow.
STAGES: dict[str, StageEntry] = {
    "truncate": StageEntry("truncation.stage:TRUNCATE", "find the shortest sufficient prefix of each trace"),
    "align": StageEntry(
        "alignment.stage:ALIGN", "continue each prefix with the student, and keep the verified samples"
    ),
    "train": StageEntry("training.stage:TRAIN", "train the student on its pairs, or on a baseline of them"),
    "evaluate": StageEntry("evaluation.stage:EVALUATE", "sample a student on benchmarks, and grade every sample"),
}


def register(stage: Stage[Any]) -> None:
    """Add a stage to the list.

    From then on it has a command, a table on the settings page and, if it has an `artifact`, `palign publish`.

    Args:
        stage (`Stage`): The stage; its `name` becomes the command.

    Raises:
        UserError: The list already has a stage of that name.
    """
    if stage.name in STAGES:
        raise UserError(f"The stage `{stage.name}` is registered already. Give the new one another `name`.")
    STAGES[stage.name] = StageEntry(stage, stage.help)


def find_stage(name: str) -> Stage[Any]:
    """The stage of a command.

    Args:
        name (`str`): The command, such as `truncate`.

    Raises:
        UserError: No stage of that name is registered.
    """
    if name not in STAGES:
        raise UserError(
            f"The stage `{name}` is not registered; known are {listed(STAGES)}. Import the package that declares it, "
            f"which calls `register`."
        )
    return STAGES[name].load()


def all_stages() -> Iterator[Stage[Any]]:
    """Every stage in the order of the flow; each is imported when its turn comes."""
    for entry in list(STAGES.values()):
        yield entry.load()
