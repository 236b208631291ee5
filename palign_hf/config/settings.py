"""A setting and its checks: from Python in `check_settings`, from plain values in `build`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from types import NoneType
from typing import Any, TypeVar

from palign_hf.config.renamed import refuse_renamed, renamed
from palign_hf.config.secrets import refuse_secrets
from palign_hf.config.values import Bounds, Unfit, fit, hints_of, members, spelt, told, type_name
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.redact import remember_in


T = TypeVar("T")


class ConfigError(UserError):
    """A recipe or an option has a key or value that can't be right; the message names it and the nearest match."""


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
) -> Any:
    """One setting of a dataclass. Without a default it is required; an infinite bound lets infinity in."""
    metadata = {"help": help, "bounds": Bounds(least, most, above, below), "metavar": metavar}
    return field(default=default, default_factory=default_factory, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """A field seen from outside: its key with dots, its type, and the section that it stands in."""

    key: str
    hint: Any
    field: "Field[Any]"
    section: type

    @property
    def help(self) -> str:
        """What it is for."""
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
        """What it is when nothing is said."""
        factory: Any = self.field.default_factory
        return self.field.default if factory is MISSING else factory()


def check_settings(instance: Any) -> None:
    """Types and ranges of a dataclass that was made in Python, for its `__post_init__`.

    Values are left in the form that the type names (a list given for a tuple becomes one), so that equal settings are
    equal however they were written.
    """
    hints = hints_of(type(instance))
    given = {one.name: getattr(instance, one.name) for one in fields(instance) if one.init}
    remember_in(given)
    refuse_secrets(given)
    for one in fields(instance):
        if not one.init:
            continue
        value = getattr(instance, one.name)
        fitted = _fitted(one, hints[one.name], value, f"`{one.name}={told(value)}`", UserError, plain=False)
        if fitted is not value:
            object.__setattr__(instance, one.name, fitted)


def build(kind: type[T], values: Mapping[str, Any], where: str | Callable[[str], str | None], section: str = "") -> T:
    """A dataclass from plain values, every one of them checked.

    `where` is the file, or a function that knows for a key what gave it (`--set rows=0`), the file being under "".
    """
    origin = where if callable(where) else lambda key: None if key else where
    if not isinstance(values, Mapping):
        raise ConfigError(f"{origin('')} must be a mapping of settings, not `{told(values)}`.")
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
        key = f"{section}{shown(name)}"
        inner = section_of(hints[name])
        if inner is not None and isinstance(value, Mapping):
            given[name] = build(inner, value, where, f"{key}.")
        else:
            said = origin(key) or f"{origin('')}: `{key}: {told(value)}`"
            given[name] = _fitted(known[name], hints[name], value, said, ConfigError, plain=True)
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
    """Every setting that YAML and options can give, sections opened."""
    hints = hints_of(kind)
    for name, one in _plain_fields(kind).items():
        inner = section_of(hints[name])
        if inner is None or any(option is not NoneType for option in spelt(hints[name])):
            yield Setting(f"{section}{name}", hints[name], one, kind)
        if inner is not None:
            yield from walk(inner, f"{section}{name}.")


def section_of(hint: Any) -> type | None:
    """The dataclass of settings that a hint allows, if it does."""
    return next((option for option in members(hint) if is_section(option)), None)


def is_section(kind: Any) -> bool:
    """Whether a class is made of settings; a dataclass of Python's own side isn't."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return False
    return any("help" in one.metadata for one in fields(kind)) or any(
        section_of(hint) for hint in hints_of(kind).values()
    )


def required(one: "Field[Any]") -> bool:
    """Whether a field has no default."""
    return one.default is MISSING and one.default_factory is MISSING


def option(key: str) -> str:
    """How a key is written on the command line."""
    return f"--{key.replace('_', '-')}"


def one_line(error: object) -> str:
    """A message of several lines as one."""
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
    """Before all else: a misspelt key explains why the right one is missing."""
    hints, known = hints_of(kind), _plain_fields(kind)
    for name, value in values.items():
        key = f"{section}{shown(name)}"
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
    """Required settings that nobody gave, in sections too."""
    hints = hints_of(kind)
    for name, one in _plain_fields(kind).items():
        inner = section_of(hints[name])
        given = values.get(name) if name in values else ({} if required(one) else None)
        if inner is not None and isinstance(given, Mapping):
            yield from _missing(inner, given, f"{section}{name}.")
        elif inner is None and required(one) and name not in values:
            yield f"{section}{name}"


def _fitted(one: "Field[Any]", hint: Any, value: Any, said: str, error: type[UserError], plain: bool) -> Any:
    try:
        fitted = fit(hint, value, one.metadata.get("bounds") or Bounds(), plain)
        if isinstance(fitted, str) and not fitted.strip() and fitted != one.default:
            raise Unfit("must not be empty")
    except Unfit as unfit:
        if plain and section_of(hint) is not None:
            names = ["a section with keys of its own", *([type_name(hint)] if spelt(hint) else [])]
            raise error(f"{said} must be {' or '.join(names)}.") from None
        raise error(f"{said} {unfit}.") from None
    return fitted
