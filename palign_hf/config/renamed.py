"""Settings that have another name now, and the one line that gives it: for recipes, options and keyword arguments."""

import functools
import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from typing import Any, ParamSpec, Self, TypeVar

from palign_hf.errors import UserError, shown


P = ParamSpec("P")
R = TypeVar("R")

# The old name of a setting -> its new names: the first that a class, command or function has is meant.
RENAMED: dict[str, tuple[str, ...]] = {
    "limit": ("max_samples",),
    "output": ("output_dir", "output_file"),
    "out": ("output_file", "output_dir"),
    "replace": ("overwrite",),
    "context": ("max_model_len",),
    "in_flight": ("max_concurrency",),
    "licence": ("license",),
    "name": ("source_name",),
    "tags": ("tag_style",),
    "check": ("sanity_checks",),
}
# Old name -> the setting that it is a parameter of now, and how it is written there.
MOVED = {
    "verdict": ("criterion", "criterion: {name: self-judge, verdict: generate}"),
    "judge_template": ("criterion", "criterion: {name: self-judge, template: FILE}"),
}
# What else a new name needs to be understood.
_ALSO = {"source_name": "; the configuration of a Hub dataset is `config`"}


def new_name(old: str, known: Collection[str]) -> str | None:
    """The name that `old` has now, if it is none of `known` itself."""
    if old in known:
        return None
    return next((name for name in RENAMED.get(old, ()) if name in known), None)


def renamed(name: object, known: Collection[str]) -> str | None:
    """What to write instead of an old name, where `known` has the setting that it belongs to; None for other names."""
    place, spelling = MOVED.get(str(name), ("", ""))
    return f"`{name}` is now a parameter of `{place}`. Write `{spelling}`." if place in known else None


def refuse_renamed(
    names: Iterable[str], known: Collection[str], error: type[UserError] = UserError, section: str = ""
) -> None:
    """Refuse the first of `names` that has another name now, in one line that gives it."""
    for old in names:
        if new := new_name(old, known):
            raise error(f"`{section}{shown(old)}` is now `{section}{new}`{_ALSO.get(new, '')}.")


class KnowsOldNames:
    """A dataclass of settings whose constructor answers an old name with the new one."""

    __slots__ = ()

    def __new__(cls, *given: Any, **named: Any) -> Self:
        """Look at the names before the constructor does."""
        if named.keys() & RENAMED.keys():
            refuse_renamed(named, {one.name for one in fields(cls) if one.init})  # type: ignore[arg-type]
        return super().__new__(cls)


def knows_old_names(function: Callable[P, R]) -> Callable[P, R]:
    """A function that answers an old keyword argument with the new one."""
    known = inspect.signature(function).parameters

    @functools.wraps(function)
    def checked(*given: P.args, **named: P.kwargs) -> R:
        if named.keys() & RENAMED.keys():
            refuse_renamed(named, known)
        return function(*given, **named)

    return checked
