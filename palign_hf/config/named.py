"""Resolution of names and parameters, and of `module:name` of a user's own code, in Python and in recipes alike.

`fixed(ratio=0.25)` as text and `{name: fixed, ratio: 0.25}` as a mapping are the same. One `Resolver` for each kind of
part (search, criterion, grader) holds the shipped ones by name, and what one of the user's own must have.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.located import Uncalled, check_kind, is_location, located, made, may_call
from palign_hf.prompts import Template


T = TypeVar("T")

_SPEC = re.compile(r"\s*([\w.:-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)
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
    """

    what: str
    known: Mapping[str, Callable[..., T]]
    attributes: tuple[str, ...]
    methods: tuple[str, ...]
    stand_in: Callable[[str, dict[str, Any], Any], Any]
    example: str
    prepare: Callable[[Any, str, dict[str, Any]], dict[str, Any]] = lambda kind, name, parameters: parameters

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
            if isinstance(kind, type) or self._lacking(kind):
                check_kind(self.what, kind, name, self.methods, self.attributes)
            elif parameters:
                raise UserError(
                    f"`{shown(name)}` takes no {listed(parameters)}: it is an object and no class. Leave them out."
                )
            if not may_call():
                return cast(T, self.stand_in(name, parameters, kind))
            if not isinstance(kind, type):
                return self._checked(kind, name)
        else:
            raise UserError(
                f"`{shown(name)}` is no {self.what}{nearest(shown(name), self.known)}. Choose one of "
                f"{listed(self.known)}, or `module:name` of your own."
            )
        return self._checked(made(self.what, kind, name, self.prepare(kind, str(name), parameters)), str(name))

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


def read_spec(spec: Any, what: str, known: Collection[str], example: str) -> tuple[Any, dict[str, Any]]:
    """The name and the parameters as they were given; `what` is how messages call such a part."""
    if isinstance(spec, Mapping):
        parameters = dict(spec)
        return parameters.pop("name", None), parameters
    if isinstance(spec, str) and (match := _SPEC.fullmatch(spec)):
        return match[1], _parameters(spec, match[2] or "")
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


def _parameters(spec: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise UserError(
                f"`{shown(part.strip())}` in `{shown(spec)}` is no number for a parameter. Write `name=number`."
            ) from None
        if key in found:
            raise UserError(f"`{shown(spec)}` gives `{shown(key)}` twice. Leave one of them out.")
        found[key] = number
    return found
