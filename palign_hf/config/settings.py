"""Settings as dataclasses: declared once with help and range, and built and checked from YAML, options or Python.

A setting that would hold a secret is refused, since settings are written into reports and cards.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

from palign_hf.config.resolve import refuse_renamed, renamed
from palign_hf.config.values import Bounds, Unfit, fit, hints_of, members, shown_value, spelt, type_name
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.redact import is_secret_name, remember_in
from palign_hf.tables import table


T = TypeVar("T")


class ConfigError(UserError):
    """A recipe or an option has an invalid key or value; the message names it and the nearest match."""


def setting(
    *,
    help: str,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    neutral: bool = False,
) -> Any:
    """Declare a setting of a dataclass. Without a default it is required; an infinite bound allows infinity.

    `neutral` settings change no row of the result, as `batch_size`: a chain doesn't run a stage again because of them.
    """
    metadata = {"help": help, "bounds": Bounds(least, most, above, below), "metavar": metavar, "neutral": neutral}
    return field(default=default, default_factory=default_factory, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """A setting's field with its dotted key, type, and section."""

    key: str
    hint: Any
    field: "Field[Any]"
    section: type

    @property
    def help(self) -> str:
        """Its description."""
        return self.field.metadata.get("help", "")

    @property
    def bounds(self) -> Bounds:
        """The range of its numbers."""
        return self.field.metadata.get("bounds") or Bounds()

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return required(self.field)

    @property
    def default(self) -> Any:
        """Its default."""
        factory: Any = self.field.default_factory
        return self.field.default if factory is MISSING else factory()


def check_settings(instance: Any) -> None:
    """Check types and ranges of a dataclass made in Python; called in its `__post_init__`.

    Values are converted to the form of their type (a list for a tuple becomes a tuple), so that equal settings are
    equal in any notation.
    """
    hints = hints_of(type(instance))
    given = {one.name: getattr(instance, one.name) for one in fields(instance) if one.init}
    remember_in(given)
    refuse_secrets(given)
    for one in fields(instance):
        if not one.init:
            continue
        value = getattr(instance, one.name)
        given_as = partial(_in_python, one.name, value)
        fitted = _fitted(one, hints[one.name], value, given_as, UserError, plain=False)
        if fitted is not value:
            object.__setattr__(instance, one.name, fitted)


def build(kind: type[T], values: Mapping[str, Any], where: str | Callable[[str], str | None], section: str = "") -> T:
    """Build a dataclass from plain values, and check each of them.

    `where` is the file, or a function from a key to its written form (`--set rows=0`), with the file under "".
    """
    origin = where if callable(where) else lambda key: None if key else where
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin('')} must be a mapping of settings, not `{shown_value(values)}`.")
    if not section:
        remember_in(values)
        refuse_secrets(values, ConfigError)
    _refuse_unknown(kind, values, origin, section)
    if missing := list(_missing(kind, values, section)):
        them = "it" if len(missing) == 1 else "them"
        raise ConfigError(
            f"{origin('')} lacks {listed(missing)}: give {listed(option(key) for key in missing)} or add {them} to "
            f"the recipe."
        )
    hints, known = hints_of(kind), _plain_fields(kind)
    given: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{section}{name}"
        inner = section_of(hints[name])
        if inner is not None and isinstance(value, Mapping):
            given[name] = build(inner, value, where, f"{key}.")
        else:
            given_as = partial(_in_recipe, origin, key, value)
            given[name] = _fitted(known[name], hints[name], value, given_as, ConfigError, plain=True)
    for name, one in known.items():
        inner = section_of(hints[name])
        if inner is not None and name not in given and required(one):
            given[name] = build(inner, {}, where, f"{section}{name}.")
    try:
        return kind(**given)
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(f"{origin('')}: {one_line(error)}") from error


def walk(kind: type, section: str = "") -> Iterator[Setting]:
    """Every setting that YAML and options can set, sections opened."""
    hints = hints_of(kind)
    for name, one in _plain_fields(kind).items():
        inner = section_of(hints[name])
        if inner is None or any(option is not NoneType for option in spelt(hints[name])):
            yield Setting(f"{section}{name}", hints[name], one, kind)
        if inner is not None:
            yield from walk(inner, f"{section}{name}.")


@cache
def section_of(hint: Any) -> type | None:
    """The settings dataclass that a hint allows, or None."""
    return next((option for option in members(hint) if is_section(option)), None)


def is_section(kind: Any) -> bool:
    """Whether a class is a dataclass of settings."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return False
    return any("help" in one.metadata for one in fields(kind)) or any(
        section_of(hint) for hint in hints_of(kind).values()
    )


def required(one: "Field[Any]") -> bool:
    """Whether a field has no default."""
    return one.default is MISSING and one.default_factory is MISSING


def option(key: str) -> str:
    """The CLI option of a key."""
    return f"--{key.replace('_', '-')}"


def one_line(error: object) -> str:
    """A message on one line."""
    return " ".join(str(error).split())


def _plain_fields(kind: type) -> dict[str, "Field[Any]"]:
    hints = hints_of(kind)
    return {
        one.name: one
        for one in fields(kind)
        if one.init
        and (section_of(hints[one.name]) or any(option is not NoneType for option in spelt(hints[one.name])))
    }


def _refuse_unknown(kind: type, values: Mapping[str, Any], origin: Callable[[str], str | None], section: str) -> None:
    """Checked first: a misspelt key explains why the right one is missing."""
    hints, known = hints_of(kind), _plain_fields(kind)
    for name, value in values.items():
        # A known name is no secret; hiding those takes most of the time of a command's start.
        key = f"{section}{name if name in known else shown(name)}"
        if name not in known and (instead := renamed(name, known)):
            raise ConfigError(f"{origin(key) or origin('')}: {instead}")
        if name not in known:
            refuse_renamed([name], known, ConfigError, section)
            raise ConfigError(
                f"{origin(key) or origin('')} has the unknown key `{key}`{nearest(shown(name), known)}. "
                f"Known keys: {listed(f'{section}{one}' for one in known)}."
            )
        inner = section_of(hints[name])
        if inner is not None and isinstance(value, Mapping):
            _refuse_unknown(inner, value, origin, f"{key}.")


def _missing(kind: type, values: Mapping[str, Any], section: str) -> Iterator[str]:
    """Required settings without a value, in sections too."""
    hints = hints_of(kind)
    for name, one in _plain_fields(kind).items():
        inner = section_of(hints[name])
        given = values.get(name) if name in values else ({} if required(one) else None)
        if inner is not None and isinstance(given, Mapping):
            yield from _missing(inner, given, f"{section}{name}.")
        elif inner is None and required(one) and name not in values:
            yield f"{section}{name}"


def _in_python(name: str, value: Any) -> str:
    """A setting as an argument, for messages."""
    return f"`{name}={shown_value(value)}`"


def _in_recipe(origin: Callable[[str], str | None], key: str, value: Any) -> str:
    """A setting as its file or option has it, for messages."""
    return origin(key) or f"{origin('')}: `{key}: {shown_value(value)}`"


def _fitted(
    one: "Field[Any]", hint: Any, value: Any, given_as: Callable[[], str], error: type[UserError], plain: bool
) -> Any:
    try:
        fitted = fit(hint, value, one.metadata.get("bounds") or Bounds(), plain)
        if isinstance(fitted, str) and not fitted.strip() and fitted != one.default:
            raise Unfit("must not be empty")
    except Unfit as unfit:
        if plain and section_of(hint) is not None:
            names = ["a section with keys of its own", *([type_name(hint)] if spelt(hint) else [])]
            raise error(f"{given_as()} must be {' or '.join(names)}.") from None
        raise error(f"{given_as()} {unfit}.") from None
    return fitted


def describe(kind: type, section: str = "") -> list[tuple[str, str]]:
    """(key, help with default) of every setting."""
    return [(one.key, f"{one.help} ({facts(one)})".strip()) for one in walk(kind, section)]


def settings_table(kind: type) -> str:
    """Every setting in a Markdown table: key, description, type and range, default."""
    rows = []
    for one in walk(kind):
        range_ = f", {one.bounds}" if str(one.bounds) else ""
        default = "required" if one.required else f"`{_plain(one.default)}`"
        rows.append([f"`{one.key}`", one.help, type_name(one.hint) + range_, default])
    return "\n".join(table(("setting", "what it is", "type", "default"), rows, _cell)) + "\n"


def arguments(kind: type, indent: str = "    ") -> str:
    """Every setting as an entry of the `Args:` of a docstring: name, type, default and what it is for."""
    lines = []
    for one in walk(kind):
        types = [_python_type(option) for option in members(one.hint) if option is not NoneType]
        parts = [f"`{' | '.join(types)}`"]
        if not one.required:
            parts.append("*optional*" if one.default is None else f"defaults to `{one.default!r}`")
        lines += [f"{indent}{one.key} ({', '.join(parts)}):", f"{indent}    {one.help[:1].upper()}{one.help[1:]}."]
    return "\n".join(lines)


def facts(one: Setting) -> str:
    """Range and default, in brackets after the help."""
    default = "required" if one.required else f"default: {_plain(one.default)}"
    return f"{one.bounds}; {default}" if str(one.bounds) else default


def _cell(text: str) -> str:
    """Markdown of ours in a cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def _plain(value: Any) -> str:
    """A default in YAML."""
    if value is None or value == "":
        return "none"
    if isinstance(value, (bool, dict, list, tuple)):
        return json.dumps(value)
    return str(value)


def _python_type(option: Any) -> str:
    if get_origin(option) is Literal:
        return " | ".join(map(repr, get_args(option)))
    return str(getattr(option, "__name__", option))


# `s3://bucket`, `file:///tmp`; and `::`, which chains file systems in paths of `datasets` and fsspec.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{\w+\})")


def folder_of(given: str | Path) -> Path:
    """The folder of a setting; `~` of an unknown user stays as it is."""
    return Path(os.path.expanduser(given))


def check_folder(name: str, given: str, advice: str = "Give another folder.", written: bool = False) -> None:
    """Refuse a path that can't be a local folder, or can't be `written` to; a missing folder may still be created."""
    given_as = f"`{name}={shown(given, most=4096)}`"
    if reason := _no_path(given):
        raise UserError(f"{given_as} can't be a folder: {reason}. {advice}")
    folder = folder_of(given)
    try:
        place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        there = place.exists()
    except OSError as error:
        raise UserError(f"{given_as} can't be a folder: {error.strerror}. {advice}") from error
    if not there:
        raise UserError(f"{given_as} can't be a folder: `{place}` is a link to nothing. {advice}")
    if not place.is_dir():
        raise UserError(f"{given_as} can't be a folder: `{place}` is a file. {advice}")
    try:
        folder.exists()  # a name may be too long for its file system
    except OSError as error:
        raise UserError(f"{given_as} can't be a folder: {error.strerror}. {advice}") from error
    if written and not os.access(place, os.W_OK):
        raise UserError(f"{given_as} can't be written: `{place}` is read-only. {advice}")


def _no_path(given: str) -> str:
    """Why a text is no path of a local folder; empty if it may be one."""
    if "\0" in given:
        return "a name has no null character"
    if any("\ud800" <= char <= "\udfff" for char in given):
        return "it holds half a surrogate pair, which is no Unicode"
    if found := _ADDRESS.match(given):
        return f"it is an address of `{found[0]}`, and results are written to a local folder"
    if "::" in given:
        return "`::` stands between file systems for `datasets`, so it would read another place"
    if found := _VARIABLE.search(given):
        return f"the variable `{found[0]}` is not expanded here, so give its value"
    if given.startswith("~") and (home := os.path.expanduser(given)).startswith("~"):
        return f"there is no user `{Path(home).parts[0].removeprefix('~')}` here"
    return ""


# Settings that may hold secrets; their values are masked wherever a run writes.
_SENT = ("headers",)


def refuse_secrets(values: Mapping[Any, Any], error: type[UserError] = UserError, section: str = "") -> None:
    """Refuse text settings with the name of a secret (`hub_token`, `api_key`), in sections too.

    Args:
        values (`Mapping`): settings of a recipe or of options.
        error (`type[UserError]`): the exception type; its message names the setting and never its value.
        section (`str`): prefix of the keys, such as `training.`.
    """
    for name, value in values.items():
        if name in _SENT:
            continue
        if isinstance(name, str) and is_secret_name(name) and _has_text(value):
            raise error(
                f"`{section}{shown(name)}` would be a secret among the settings, which are written into reports and "
                f"cards. Leave it out: log in with `hf auth login`, or set it in the environment (`HF_TOKEN` for the "
                f"Hub, `PALIGN_API_KEY` for a server)."
            )
        if isinstance(value, Mapping):
            refuse_secrets(value, error, f"{section}{shown(name)}.")
        elif isinstance(value, (list, tuple)):
            for one in value:
                if isinstance(one, Mapping):
                    refuse_secrets(one, error, f"{section}{shown(name)}.")


def _has_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_text, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_text, value))
    return isinstance(value, str) and bool(value)
