"""Recipes of a chain: a head with what all stages share, and one section a stage.

    student: palign-toy
    output_dir: runs/toy
    truncate: truncate.yaml            # the stage's own recipe, from the same folder
    align: {recipe: align.yaml, n: 8}  # with other values
    arms: [p-align, trace]

A section has the keys of its stage. What it leaves out comes from the head, and the tables come from the stage before:
each stage declares which of its settings those are (`inputs`, `from_head`). A section's own keys win over the head,
and the head over the recipe that a section names.
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from palign_hf.config import check_folder, check_settings, folder_of, setting
from palign_hf.config.recipes import find_recipe, override, put, read_recipe
from palign_hf.config.resolve import KnowsOldNames, read_spec
from palign_hf.config.settings import ConfigError, build, refuse_secrets
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.hub.settings import HubSettings, check_repo
from palign_hf.redact import remember_in
from palign_hf.runs.stages import STAGES


# Settings of the head that a stage takes under the same name, if it has one.
SHARED = ("student", "revision", "engine", "engine_options", "max_model_len", "trust_remote_code", "seed")
_RECIPE = "recipe"
# Values of the head that are sections.
_SECTIONS = ("launch", "publish")


@dataclass(frozen=True, kw_only=True)
class LaunchSettings(KnowsOldNames):
    """How `accelerate launch` starts the training."""

    processes: int = setting(default=1, least=1, help="processes on this machine")
    config: str | None = setting(
        default=None, help="configuration of accelerate: a file, or one of recipes/accelerate, as ddp"
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class PublishSettings(HubSettings):
    """Where and how all of a chain is published: the options of `palign publish RUN OWNER/NAME`."""

    config_name: str | None = setting(default=None, help="not for a chain: its tables have names of their own")
    repo_id: str = setting(metavar="OWNER/NAME", help="the dataset for the tables, and the model for the student")
    arm: str | None = setting(
        default=None,
        help="arm whose student is published, as trace or trace/seed-1; else the first one",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_repo(self.repo_id, f"repo_id={self.repo_id}")
        if self.config_name is not None:
            raise UserError(
                f"`config_name={self.config_name}` names one configuration, and a chain has several, each with a name "
                f"of its own. Leave it out, or publish the folder of one stage."
            )


@dataclass(frozen=True, kw_only=True)
class Head(KnowsOldNames):
    """What all stages of a chain share."""

    student: str = setting(default="", help="the student: name of a model on the Hub, or a folder")
    students: tuple[str, ...] | dict[str, str] = setting(
        default=(), metavar="STUDENT", help="several instead: the chain of each, side by side"
    )
    revision: str | None = setting(default=None, help="branch, tag or commit of a Hub student")
    output_dir: str = setting(help="folder of the run: every stage has a folder in it")
    seed: int = setting(default=0, least=0, most=2**31 - 1, help="seed of sampling and training")
    seeds: tuple[int, ...] = setting(
        default=(), help="several seeds instead: training and evaluation are repeated with each"
    )
    engine: str = setting(default="auto", help="where the student runs: auto, vllm, server or transformers")
    engine_options: dict[str, Any] = setting(default_factory=dict, help="passed to the engine")
    max_model_len: int | None = setting(default=None, least=1, help="most tokens of a request and its reply")
    max_samples: int | None = setting(default=None, least=1, help="maximum number of traces that are read")
    trust_remote_code: bool = setting(default=False, help="run code that comes with the student")
    arms: tuple[str, ...] = setting(
        default=("p-align",),
        metavar="ARM",
        help="training targets to compare, with fields of PAlignConfig in brackets: p-align(tag_style=none)",
    )
    max_failed: float = setting(
        default=0.0, least=0.0, most=1.0, help="share of a stage's rows that may fail before the chain stops"
    )
    launch: LaunchSettings | None = setting(default=None, help="start the training under accelerate")
    publish: PublishSettings | None = setting(
        default=None, help="after the comparison, push tables, student and results to the Hub"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if bool(self.student) == bool(self.students):
            raise UserError("Name one student in `student=...`, or several in `students=[..., ...]`.")
        if len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"`seeds={list(self.seeds)}` has a seed twice. Give each once.")
        if not self.arms or len(set(self.arms)) < len(self.arms):
            raise UserError(f"`arms={list(self.arms)}` needs at least one arm, and each once.")
        check_folder("output_dir", self.output_dir, written=True)

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return folder_of(self.output_dir)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds of trainings and evaluations."""
        return self.seeds or (self.seed,)

    def all_students(self) -> dict[str, str]:
        """The students, each with the name of its folder in the run; one alone has none."""
        if not self.students:
            return {"": self.student}
        if isinstance(self.students, Mapping):
            return dict(self.students)
        names = {Path(one).name.lower(): one for one in self.students}
        if len(names) < len(self.students):
            raise UserError(
                f"`students={list(self.students)}` has one name twice. Name them, as "
                f"`students={{small: ..., large: ...}}`."
            )
        return names


@dataclass(frozen=True)
class Recipe:
    """A chain as its recipe has it: the head, and the given values of each section."""

    head: Head
    given: frozenset[str]
    sections: Mapping[str, Mapping[str, Any]]
    beneath: Mapping[str, Mapping[str, Any]]
    where: str

    def of_head(self, name: str) -> Any:
        """A value of the head, or None where the recipe leaves it out."""
        return getattr(self.head, name) if name in self.given else None

    def values(self, stage: str, wired: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a stage: its own recipe, then `usual`, then `wired`, then the section; `wired` by dotted key.

        A section may not give what the chain wires.
        """
        values = copy.deepcopy(dict(self.beneath.get(stage, {})))
        section = self.sections.get(stage, {})
        for key, value in (*usual.items(), *flat(section), *wired.items()):
            put(values, key, value, f"`{stage}.{key}`")
        return values

    def whole(self) -> dict[str, Any]:
        """All values, as `chain_of` takes them, with the recipes that sections name."""
        head = {name: getattr(self.head, name) for name in sorted(self.given)}
        for name in _SECTIONS:
            if (section := getattr(self.head, name)) is not None:
                head[name] = {one.name: getattr(section, one.name) for one in fields(section)}
        return head | {
            name: {**section, **({_RECIPE: dict(self.beneath[name])} if self.beneath[name] else {})}
            for name, section in self.sections.items()
        }

    def build(self, stage: str, kind: type, values: Mapping[str, Any]) -> Any:
        """The settings of a stage, checked."""

        def origin(key: str) -> str | None:
            return None if key else self.where

        return build(kind, values, origin, f"{stage}.")


def read_chain(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read the recipe of a chain.

    Args:
        path (`str` or `Path`): The file, or a shipped recipe such as `toy/pipeline.yaml`.
        overrides (`Sequence[str]`): Values as `section.key=value`, or `key=value` for the head.

    Raises:
        UserError: A key or a value is wrong; the message names it.
    """
    file = find_recipe(path)
    values = read_recipe(file)
    values |= {name: {_RECIPE: values[name]} for name in STAGES if isinstance(values.get(name), str)}
    override(values, overrides)
    return chain_of(values, f"`{path}`", file.parent)


def chain_of(values: Mapping[str, Any], where: str, home: Path) -> Recipe:
    """A chain from plain values; recipes that sections name are looked for in `home`."""
    remember_in(values)
    refuse_secrets(values, ConfigError)
    known = [one.name for one in fields(Head)]
    if unknown := [name for name in values if name not in known and name not in STAGES]:
        raise ConfigError(
            f"{where} has the unknown key `{shown(unknown[0])}`{nearest(shown(unknown[0]), [*known, *STAGES])}. The "
            f"head has {listed(known)}; the sections are {listed(STAGES)}."
        )
    head = build(Head, {name: value for name, value in values.items() if name in known}, where)
    sections, beneath = {}, {}
    for name in STAGES:
        if name in values:
            sections[name], beneath[name] = _section(name, values[name], where, home)
    return Recipe(head, frozenset(name for name in values if name in known), sections, beneath, where)


def _section(name: str, given: Any, where: str, home: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A section's own values, and those of the recipe that it names."""
    if given is None:
        return {}, {}
    if isinstance(given, str):
        given = {_RECIPE: given}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: `{name}` must be a section, or the name of a recipe, not `{shown(repr(given))}`.")
    own = {key: value for key, value in given.items() if key != _RECIPE}
    if (file := given.get(_RECIPE)) is None:
        return own, {}
    if isinstance(file, Mapping):  # as a run keeps it
        return own, dict(file)
    if not isinstance(file, str):
        raise ConfigError(f"{where}: `{name}.recipe` must be a file, not `{shown(repr(file))}`.")
    beside = home / file
    return own, read_recipe(beside if beside.is_file() else find_recipe(file))


def flat(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted key; an empty mapping is a value."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


@dataclass(frozen=True)
class Arm:
    """One training target of a comparison.

    Args:
        spec (`str`): As the recipe has it, such as `p-align(tag_style=none)`.
        baseline (`str` or `Mapping`): The setting `baseline` of the training.
        training (`Mapping`): Fields of `PAlignConfig` that it changes.
        tagged (`bool`): Whether its targets have tags around a prefix.
    """

    spec: str
    baseline: Any
    training: Mapping[str, Any]
    tagged: bool

    @property
    def folder(self) -> str:
        """A name for its folder."""
        kept = [char if char.isalnum() or char in ".-" else "-" for char in self.spec]
        return "-".join(filter(None, "".join(kept).split("-")))


def read_arm(spec: str, kinds: Mapping[str, type[Any]], tagged: Sequence[str]) -> Arm:
    """An arm by its spelling: a baseline, its parameters, and fields of `PAlignConfig`.

    Args:
        spec (`str`): As `fixed(ratio=0.5)`.
        kinds (`Mapping`): The baselines by name, as classes.
        tagged (`Sequence[str]`): Names of those whose targets have tags.
    """
    name, parameters = read_spec(spec, "arm", kinds, "fixed(ratio=0.5)", words=True)
    if name not in kinds:
        raise UserError(f"`{shown(spec)}` is no arm{nearest(shown(name), kinds)}. Choose among {listed(kinds)}.")
    own = {one.name for one in dataclasses.fields(kinds[name])}
    baseline = {key: value for key, value in parameters.items() if key in own}
    training = {key: value for key, value in parameters.items() if key not in own}
    return Arm(spec, {"name": name, **baseline} if baseline else name, training, name in tagged)
