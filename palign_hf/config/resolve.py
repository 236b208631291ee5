"""Resolution of names and parameters, and of `module:name` of a user's own code, in Python and in recipes alike.

`fixed(ratio=0.25)` as text and `{name: fixed, ratio: 0.25}` as a mapping are the same. One `Resolver` for each kind of
part (search, criterion, grader) holds the shipped ones by name, and what one of the user's own must have.
"""

import contextlib
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, ParamSpec, Self, TypeVar, cast

from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.prompts import Template


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


_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_CALLING: ContextVar[bool] = ContextVar("calling", default=True)


class Uncalled:
    """Stands for an object of a user's own class where nothing of it may be called, as in `--dry-run`."""

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        self.name, self.parameters = name, dict(parameters)


@contextmanager
def uncalled() -> Iterator[None]:
    """Within, a user's own parts are imported and checked, and an `Uncalled` stands for what they would make."""
    token = _CALLING.set(False)
    try:
        yield
    finally:
        _CALLING.reset(token)


def may_call() -> bool:
    """Whether a user's own code may be called."""
    return _CALLING.get()


def is_location(name: object) -> bool:
    """Whether a name is `module:name`."""
    return isinstance(name, str) and name.count(":") == 1


def located(what: str, name: str) -> Any:
    """The object behind `module:name`, not called; `what` is what it is to be, for the message."""
    module, _, attribute = name.partition(":")
    _add_working_directory()
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # one's own module may fail with anything
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise UserError(
                f"The {what} `{shown(name)}` can't be imported: there is no module `{shown(error.name)}`. Run the "
                f"command in the folder of that module, or set the variable `PYTHONPATH` to the folder."
            ) from error
        raise UserError(
            f"The {what} `{shown(name)}` can't be imported: {type(error).__name__}: {error}. Give `module:name` of "
            f"one that this environment can import."
        ) from error


def _add_working_directory() -> None:
    """Make the modules of the working directory importable, which a console script doesn't as `python -m` does.

    It goes to the end of the path, where no file in it can take the place of a library.
    """
    with contextlib.suppress(OSError):  # the directory was deleted
        if "" not in sys.path and (here := os.getcwd()) not in sys.path:
            sys.path.append(here)


def check_kind(
    what: str, found: Any, name: str, methods: Collection[str], attributes: Collection[str] = ("name",)
) -> None:
    """Refuse a class without the methods of such a thing, and what is no class, before it is called.

    `attributes` may be set by its constructor; the message about a refused class names those that it lacks.
    """
    needs = f"Give `module:name` of a class with {listed((*attributes, *methods))}."
    if not isinstance(found, type):
        raise UserError(f"`{shown(name)}` is no {what} but a `{type(found).__name__}`, and was not called. {needs}")
    if not all(callable(getattr(found, method, None)) for method in methods):
        lacking = [one for one in (*attributes, *methods) if not hasattr(found, one)]
        raise UserError(
            f"`{shown(name)}` is no {what}: the class lacks {listed(lacking)}, and was not called. {needs}"
        )
    if inspect.isabstract(found):
        abstract = sorted(getattr(found, "__abstractmethods__", ()))
        raise UserError(
            f"`{shown(name)}` is no {what} yet: the class lacks {listed(abstract)}, and was not called. Write what is "
            f"missing."
        )


def check_arguments(what: str, kind: Callable[..., Any], name: str, parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that the constructor doesn't take, or that it lacks, without a call of it."""
    try:
        signature = inspect.signature(kind)
        signature.bind(**parameters)
    except ValueError:  # a constructor of C has no signature
        return
    except TypeError:
        named = {one: takes for one, takes in signature.parameters.items() if takes.kind in _BY_NAME}
        if not any(takes.kind is inspect.Parameter.VAR_KEYWORD for takes in signature.parameters.values()):
            check_parameters(shown(name), parameters, named)
        lacking = [one for one, takes in named.items() if takes.default is takes.empty and one not in parameters]
        raise UserError(
            f"The {what} `{shown(name)}` needs {listed(lacking)}, which is not given. It takes {listed(named)}: write "
            f"`{{name: {shown(name)}, {', '.join(f'{one}: ...' for one in lacking)}}}`."
        ) from None


def check_function(what: str, found: Any, name: str, arguments: Collection[str]) -> None:
    """Refuse what isn't a function of a user's own that takes these arguments, before it is called."""
    home = str(getattr(found, "__module__", None) or type(found).__module__).partition(".")[0]
    reason = ""
    if not callable(found):
        reason = "it can't be called"
    elif home in sys.stdlib_module_names or inspect.isbuiltin(found):
        reason = f"it is a function of Python itself (`{home}`)"
    else:
        try:
            inspect.signature(found).bind(*arguments)
        except (TypeError, ValueError) as error:
            reason = f"it can't be called with {listed(arguments)}: {error}"
    if reason:
        raise UserError(
            f"`{shown(name)}` is no {what}: {reason}, and it was not called. Give `module:name` of a function "
            f"`({', '.join(arguments)})` of your own, or of a class."
        )


def made(what: str, kind: Callable[..., Any], name: object, parameters: Mapping[str, Any]) -> Any:
    """An object of that kind; `UserError` names the parameters that it can't be made from."""
    try:
        return kind(**parameters)
    except UserError:
        raise
    except Exception as error:  # one's own class may fail with anything
        raise UserError(
            f"The {what} `{shown(name)}` can't be made from `{shown(repr(dict(parameters)))}`: {error}. Check its "
            f"parameters."
        ) from error


T = TypeVar("T")

_SPEC = re.compile(r"\s*([\w.:-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z][\w.-]*")
_MODULE_AND_NAME = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Resolver(Generic[T]):
    """Finds the part that a user means: an object, a name, `module:name`, or a mapping with parameters.

    Args:
        what (`str`):
            How messages call such a part, as `"search"`.
        known (`Mapping[str, Callable]`):
            The shipped ones by name.
        attributes (`tuple[str, ...]`), methods (`tuple[str, ...]`):
            What every such part has.
        stand_in (`Callable[[str, dict, Any], Any]`):
            Makes a placeholder from name, parameters and the user's class or object, where neither may be called.
        example (`str`):
            A spelling with parameters, for messages.
        prepare (`Callable[[Any, str, dict], dict]`, *optional*):
            Turns plain values of a recipe into what the class takes.
        from_function (`Callable[[str], Any]`, *optional*):
            Makes the part from a user's function, given as `module:name`, where a function is enough.
    """

    what: str
    known: Mapping[str, Callable[..., T]]
    attributes: tuple[str, ...]
    methods: tuple[str, ...]
    stand_in: Callable[[str, dict[str, Any], Any], Any]
    example: str
    prepare: Callable[[Any, str, dict[str, Any]], dict[str, Any]] = lambda kind, name, parameters: parameters
    from_function: Callable[[str], T] | None = None

    def resolve(self, spec: Any) -> T:
        """The part that `spec` names; `UserError` in one line if there is none.

        Within `located.uncalled()` a part of the user's own is imported and checked, and its `stand_in` is returned.
        """
        if not isinstance(spec, str | Mapping):
            return self._checked(spec, shown(repr(spec)))
        name, parameters = read_spec(spec, self.what, self.known, self.example)
        if isinstance(name, str) and name in self.known:
            kind: Any = self.known[name]
        elif is_location(name):
            kind = located(self.what, name)
            if parameters and not isinstance(kind, type):
                raise UserError(f"`{shown(name)}` takes no {listed(parameters)}: it is no class. Leave them out.")
            if (
                self.from_function
                and not isinstance(kind, type)
                and not any(hasattr(kind, one) for one in self.methods)
            ):
                return self.from_function(name)
            if isinstance(kind, type) or self._lacking(kind):
                check_kind(self.what, kind, name, self.methods, self.attributes)
            if not isinstance(kind, type):
                return self._checked(kind, name) if may_call() else cast(T, self.stand_in(name, parameters, kind))
        else:
            raise UserError(
                f"`{shown(name)}` is no {self.what}{nearest(shown(name), self.known)}. Choose one of "
                f"{listed(self.known)}, or `module:name` of your own."
            )
        prepared = self.prepare(kind, str(name), parameters)
        check_arguments(self.what, kind, str(name), prepared)
        if is_location(name) and not may_call():
            return cast(T, self.stand_in(str(name), parameters, kind))
        return self._checked(made(self.what, kind, name, prepared), str(name))

    def _is_function(self, part: Any) -> bool:
        """Whether this is a function, rather than a class or an object with the methods."""
        return not isinstance(part, type) and not any(hasattr(part, one) for one in self.methods)

    def _lacking(self, part: Any) -> list[str]:
        return [one for one in (*self.attributes, *self.methods) if not hasattr(part, one)]

    def _checked(self, part: Any, given: str) -> T:
        if isinstance(part, type) or self._lacking(part):
            lacks = "is a class" if isinstance(part, type) else f"lacks {listed(self._lacking(part))}"
            raise UserError(
                f"`{given}` is no {self.what}: it {lacks}. Give one of {listed(self.known)}, `module:name` of your "
                f"own, or an object with {listed((*self.attributes, *self.methods))}."
            )
        return cast(T, part)


def read_spec(
    spec: Any, what: str, known: Collection[str], example: str, words: bool = False
) -> tuple[Any, dict[str, Any]]:
    """The name and the parameters as they were given; `what` is how messages call such a part.

    With `words` a parameter in brackets may be a word, too; without, it must be a number.
    """
    if isinstance(spec, Mapping):
        parameters = dict(spec)
        return parameters.pop("name", None), parameters
    if isinstance(spec, str) and (match := _SPEC.fullmatch(spec)):
        return match[1], _parameters(spec, match[2] or "", words)
    raise UserError(f"`{shown(spec)}` names no {what}. Give one of {listed(known)}, as `{example}`.")


def read_named(spec: Any, what: str, known: Collection[str], example: str) -> tuple[str, dict[str, Any]]:
    """As `read_spec`, where nothing but the given shipped ones can be meant."""
    name, parameters = read_spec(spec, what, known, example)
    if not isinstance(name, str) or name not in known:
        raise UserError(f"`{shown(name)}` is no {what}{nearest(name, known)}. Give one of {listed(known)}.")
    return name, parameters


def read_template(base: Template, spec: str | Template | None) -> Template:
    """A prompt: `base` itself, an object, a text file with the same slots, or `module:name` of a `Template`."""
    if spec is None:
        return base
    if not isinstance(spec, str):
        return spec
    if not _MODULE_AND_NAME.fullmatch(spec) or Path(spec).exists():
        return base.from_file(spec)
    found = located("template", spec)
    if not isinstance(found, Template):
        raise UserError(
            f"`{shown(spec)}` is no template but a `{type(found).__name__}`. Give `module:name` of a `Template`, or a "
            f"text file."
        )
    return found


def described(part: Any) -> dict[str, Any]:
    """Name, version and parameters of a part: the fields of a dataclass, else its public attributes.

    A value with a `describe()` of its own is described by it.
    """
    values = {one.name: getattr(part, one.name) for one in fields(part)} if is_dataclass(part) else vars(part)
    plain = {
        name: value.describe() if hasattr(value, "describe") else value
        for name, value in values.items()
        if not name.startswith("_")
    }
    return {"name": part.name, "version": part.version, **plain}


def uncalled_description(part: Uncalled) -> dict[str, Any]:
    """What is known of a part that was not made: its name, and the parameters that it would be made from."""
    return {"name": part.name, "parameters": {key: shown(repr(one)) for key, one in part.parameters.items()}}


def check_parameters(name: str, given: Iterable[object], known: Collection[str]) -> None:
    """Refuse unknown parameters."""
    for parameter in given:
        if parameter not in known:
            has = f"It takes {listed(known)}" if known else "It takes none"
            raise UserError(f"`{shown(parameter)}` is no parameter of `{name}`{nearest(parameter, known)}. {has}.")


def _parameters(spec: str, text: str, words: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            if words and _WORD.fullmatch(value):
                found[key] = value
                continue
            raise UserError(
                f"`{shown(part.strip())}` in `{shown(spec)}` is no number for a parameter. Write `name=number`."
            ) from None
        if key in found:
            raise UserError(f"`{shown(spec)}` gives `{shown(key)}` twice. Leave one of them out.")
        found[key] = number
    return found
