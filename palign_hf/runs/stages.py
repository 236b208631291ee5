"""The list of commands: each stage with its line in `palign --help` and its home, and the commands around them.

The list is plain text, so that `palign --help` imports no stage; `find_stage` imports the one that is used. To add a
stage to the package takes a folder and one line here. A stage of another package is found by its entry point in the
group `palign_hf.stages`, or is added with `register`.
"""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from palign_hf.errors import UserError, listed, shown
from palign_hf.runs.launch import Stage
from palign_hf.terminal import print_err


# Commands around those of the stages; a module of `palign_hf.cli` runs each.
BEFORE = {
    "demo": "see the method work on small problems whose truth is known",
    "run": "run a whole chain, from traces to a table of numbers, from one recipe",
    "jobs": "run a whole chain on a machine of the Hub, after a forecast that it fits",
    "traces": "inspect teacher traces before spending time on them",
}
AFTER = {
    "publish": "push the folder of a finished run to the Hub, with its card",
    "grade": "grade and count existing outputs, without a model",
    "compare": "compare graded outputs of several models",
    "recipes": "list the shipped recipes, and copy one to start from",
    "ledger": "show what the ledgers of earlier runs hold",
}
GROUP = "palign_hf.stages"
# What the commands use of a stage; `PushedStage` has the last three, `ready` and `follow`.
_METHODS = ("open", "ready", "forecast", "follow")
_NEEDED = ("name", "help", "settings", *_METHODS, "reads", "writes", "together")


@dataclass(frozen=True)
class StageEntry:
    """One stage of the list: `home` is the stage, `MODULE:NAME` in this package, or another package's entry point."""

    home: str | Stage[Any] | EntryPoint
    help: str

    def load(self) -> Stage[Any]:
        """The stage itself; its module is imported by now."""
        if isinstance(self.home, EntryPoint):
            return _loaded(self.home)
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
        UserError: It is no stage, or there is a command of that name.
    """
    check_stage(stage)
    if stage.name in STAGES:
        raise UserError(f"The stage `{stage.name}` is registered already. Give the new one another `name`.")
    if stage.name in BEFORE or stage.name in AFTER:
        raise UserError(f"`palign {stage.name}` is a command of this package. Give the stage another `name`.")
    STAGES[stage.name] = StageEntry(stage, stage.help)


def check_stage(stage: Any) -> None:
    """Refuse what is no stage, with what it lacks."""
    if isinstance(stage, type):
        raise UserError(f"`{stage.__name__}` is a class, and a stage is an object. Give `{stage.__name__}()`.")
    what = f"The stage `{shown(str(getattr(stage, 'name', type(stage).__name__)))}`"
    if lacking := [one for one in _NEEDED if not hasattr(stage, one)]:
        raise UserError(
            f"{what} lacks {listed(lacking)}. Write what is missing; `palign_hf.hub.publish.PushedStage` is a base "
            f"class with defaults."
        )
    if wrong := [one for one in _METHODS if not callable(getattr(stage, one))]:
        raise UserError(
            f"{what} has {listed(wrong)} as data. Make each a method, as in `palign_hf.runs.launch.Stage`."
        )
    if not isinstance(stage.settings, type) or not is_dataclass(stage.settings):
        raise UserError(f"{what} has `settings={shown(repr(stage.settings))}`, which is no dataclass. Give the class.")


def known_stages() -> dict[str, StageEntry]:
    """The list with the stages of installed packages, which are not imported."""
    return STAGES | {name: entry for name, entry in _installed().items() if name not in STAGES}


@cache
def _installed() -> dict[str, StageEntry]:
    """The stages of other packages by their entry points; a name that is taken is reported, and left out."""
    found: dict[str, StageEntry] = {}
    for one in entry_points(group=GROUP):
        if one.name in BEFORE or one.name in AFTER or one.name in STAGES or one.name in found:
            print_err(f"palign: {_package(one)} has a stage `{shown(one.name)}`, a command that is there already")
        else:
            found[one.name] = StageEntry(one, f"a stage of {_package(one)}")
    return found


def _loaded(point: EntryPoint) -> Stage[Any]:
    """The stage behind an entry point; refused in one line if it can't be imported, or is none."""
    try:
        stage = point.load()
        check_stage(stage)
        if stage.name != point.name:
            raise UserError(f"The stage is called `{shown(stage.name)}`. Give it the name of the entry point.")
    except Exception as error:  # another package may fail with anything
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        raise UserError(
            f"The stage `{shown(point.name)}` of {_package(point)} can't be used: {kind}{shown(str(error), 300)}"
        ) from error
    return cast(Stage[Any], stage)


def _package(point: EntryPoint) -> str:
    return f"the package `{shown(point.dist.name)}`" if point.dist else "another package"


def find_stage(name: str) -> Stage[Any]:
    """The stage of a command.

    Args:
        name (`str`): The command, such as `truncate`.

    Raises:
        UserError: No stage of that name is registered.
    """
    stages = known_stages()
    if name not in stages:
        raise UserError(
            f"The stage `{name}` is not registered; known are {listed(stages)}. Install the package that declares it, "
            f"or import the module that calls `register`."
        )
    return stages[name].load()


def all_stages() -> Iterator[Stage[Any]]:
    """Every stage in the order of the flow; each is imported when its turn comes, and a broken one is reported."""
    for entry in known_stages().values():
        try:
            stage = entry.load()
        except UserError as error:
            print_err(f"palign: {error}")
            continue
        yield stage
