"""The steps of a chain, and which of them have to run. Pure.

A step is one stage for one student, arm and seed. Its signature is a hash of the settings that can change its result,
of the signatures of the steps whose results it reads, and of the content of all else that it reads. A step is done if
its record has that signature and its files are there. So a changed setting makes its own step stale, and all that read
from it, and nothing else.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from palign_hf.config.settings import walk
from palign_hf.errors import UserError, listed, nearest, shown


DONE, STALE, MISSING = "done", "stale", "missing"


@dataclass(frozen=True)
class ChainStep:
    """One stage of the chain, for one student, arm and seed.

    Args:
        name (`str`): Unique in the chain, such as `train/p-align/seed-0`.
        stage (`str`): The stage that it runs.
        folder (`str`): Where its result goes, within the folder of the run.
        values (`Mapping`): The settings, as a recipe has them.
        settings (`Any`): The same, checked.
        reads (`Mapping[str, str]`): The step that each of these settings (by dotted key) gets its value from.
        runner (`str`): What steps must have in common to share an engine; empty for a step in a process of its own.
    """

    name: str
    stage: str
    folder: str
    values: Mapping[str, Any]
    settings: Any
    reads: Mapping[str, str] = field(default_factory=dict)
    runner: str = ""

    @property
    def deciding(self) -> dict[str, Any]:
        """The settings that can change the result, by dotted key, without those that name what is read."""
        return deciding(self.settings, self.reads)


@dataclass(frozen=True)
class State:
    """Whether a step has to run, and why."""

    step: ChainStep
    signature: str
    state: str
    why: str = ""


def deciding(settings: Any, without: Iterable[str] = ()) -> dict[str, Any]:
    """The settings that can change a result, as plain data by dotted key.

    Args:
        settings (`Any`): A dataclass of declared settings.
        without (`Iterable[str]`): Dotted keys to leave out.
    """
    found = {}
    for one in walk(type(settings)):
        if one.key in without or one.field.metadata.get("neutral"):
            continue
        value, present = settings, True
        for name in one.key.split("."):
            if value is None:
                present = False
                break
            value = getattr(value, name)
        if present:
            found[one.key] = plain(value)
    if (own := getattr(settings, "deciding_training", None)) is not None:
        found["training"] = plain(own())
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it; objects of a user's own by what they say of themselves."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return plain(value.describe()) if hasattr(value, "describe") else str(value)


def signature_of(step: ChainStep, before: Mapping[str, str], content: Mapping[str, Any]) -> str:
    """The signature of a step.

    Args:
        step (`ChainStep`): The step.
        before (`Mapping[str, str]`): The signatures of the steps that it reads from.
        content (`Mapping[str, Any]`): What identifies all else that it reads, by setting.
    """
    what = {
        "stage": step.stage,
        "settings": step.deciding,
        "reads": {key: before[name] for key, name in step.reads.items()},
        "content": dict(content),
    }
    text = json.dumps(what, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def states(
    steps: Sequence[ChainStep],
    recorded: Mapping[str, Mapping[str, Any]],
    content: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    damaged: Callable[[Mapping[str, Any]], str],
    force: Iterable[str] = (),
) -> list[State]:
    """Whether each step has to run.

    Args:
        steps (`Sequence[ChainStep]`): The steps, each after those that it reads from.
        recorded (`Mapping`): What `run.json` has of each step that has ended.
        content (`Callable`): What identifies the sources that no step makes, by a step's deciding settings.
        damaged (`Callable`): What is wrong with the files of a record; empty if nothing is.
        force (`Iterable[str]`): Stages that run again in any case.
    """
    found: dict[str, State] = {}
    signatures: dict[str, str] = {}
    for step in steps:
        read = content(step.deciding)
        signatures[step.name] = mine = signature_of(step, signatures, read)
        held = recorded.get(step.name)
        before = [found[name] for name in dict.fromkeys(step.reads.values()) if found[name].state != DONE]
        if held is None:
            found[step.name] = State(step, mine, MISSING, "it has not run")
        elif step.stage in force:
            found[step.name] = State(step, mine, STALE, f"--force {step.stage}")
        elif changes := _changes(step, held, read):
            found[step.name] = State(step, mine, STALE, changes)
        elif before:
            found[step.name] = State(step, mine, STALE, f"{listed(one.step.name for one in before)} runs again")
        elif held.get("signature") != mine:
            found[step.name] = State(step, mine, STALE, "what it reads has changed")
        elif broken := damaged(held):
            found[step.name] = State(step, mine, STALE, broken)
        else:
            found[step.name] = State(step, mine, DONE)
    return list(found.values())


def _changes(step: ChainStep, held: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    """The settings and sources that differ from those of the record."""
    then, now = dict(held.get("settings") or {}), step.deciding
    words = [
        f"`{step.stage}.{key}` {_short(then, key)} -> {_short(now, key)}"
        for key in {**then, **now}
        if then.get(key) != now.get(key)
    ]
    known = dict(held.get("content") or {})
    words += [f"`{step.stage}.{key}` has other content" for key in content if known.get(key) != content[key]]
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _short(values: Mapping[str, Any], key: str) -> str:
    return shown(json.dumps(values[key]) if key in values else "unset", 40)


def chosen(found: Sequence[State], first: str | None, last: str | None, stages: Sequence[str]) -> list[State]:
    """The steps to run between two stages.

    Args:
        found (`Sequence[State]`): The states of all steps.
        first (`str`, *optional*): The first stage; those before it must be done.
        last (`str`, *optional*): The last stage.
        stages (`Sequence[str]`): All stages in order.
    """
    for name, option in ((first, "--from"), (last, "--until")):
        if name is not None and name not in stages:
            near = nearest(shown(name), stages)
            raise UserError(f"`{option} {shown(name)}` is no stage of this chain{near}. It has {listed(stages)}.")
    begin = stages.index(first) if first else 0
    end = stages.index(last) if last else len(stages) - 1
    if begin > end:
        raise UserError(f"`--from {first}` comes after `--until {last}`. Give them in the order of the chain.")
    early = [one for one in found if stages.index(one.step.stage) < begin and one.state != DONE]
    needed = {
        name for one in found if begin <= stages.index(one.step.stage) <= end for name in one.step.reads.values()
    }
    if undone := [one for one in early if one.step.name in needed]:
        raise UserError(
            f"`--from {first}` needs {listed(one.step.name for one in undone)}, which is {undone[0].state}: "
            f"{undone[0].why}. Leave `--from` out."
        )
    return [one for one in found if begin <= stages.index(one.step.stage) <= end and one.state != DONE]


def in_groups(todo: Sequence[State]) -> Iterator[list[State]]:
    """Steps to run, in order, by process: inference that follows each other is together, a training alone."""
    group: list[State] = []
    for one in todo:
        if group and not (one.step.runner and group[-1].step.runner):
            yield group
            group = []
        group.append(one)
    if group:
        yield group
