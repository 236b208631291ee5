"""Declaration and checks of settings: Python values in `check_settings`, plain values in `build`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from types import NoneType
from typing import Any, TypeVar

from palign_hf.config.renamed import refuse_renamed, renamed
from palign_hf.config.secrets import refuse_secrets
from palign_hf.config.values import Bounds, Unfit, fit, hints_of, members, shown_value, spelt, type_name
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.redact import remember_in


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
) -> Any:
    """Declare a setting of a dataclass. Without a default it is required; an infinite bound allows infinity."""
    metadata = {"help": help, "bounds": Bounds(least, most, above, below), "metavar": metavar}
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
        fitted = _fitted(one, hints[one.name], value, f"`{one.name}={shown_value(value)}`", UserError, plain=False)
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
        key = f"{section}{shown(name)}"
        inner = section_of(hints[name])
        if inner is not None and isinstance(value, Mapping):
            given[name] = build(inner, value, where, f"{key}.")
        else:
            given_as = origin(key) or f"{origin('')}: `{key}: {shown_value(value)}`"
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
    """Required settings without a value, in sections too."""
    hints = hints_of(kind)
    for name, one in _plain_fields(kind).items():
        inner = section_of(hints[name])
        given = values.get(name) if name in values else ({} if required(one) else None)
        if inner is not None and isinstance(given, Mapping):
            yield from _missing(inner, given, f"{section}{name}.")
        elif inner is None and required(one) and name not in values:
            yield f"{section}{name}"


def _fitted(one: "Field[Any]", hint: Any, value: Any, given_as: str, error: type[UserError], plain: bool) -> Any:
    try:
        fitted = fit(hint, value, one.metadata.get("bounds") or Bounds(), plain)
        if isinstance(fitted, str) and not fitted.strip() and fitted != one.default:
            raise Unfit("must not be empty")
    except Unfit as unfit:
        if plain and section_of(hint) is not None:
            names = ["a section with keys of its own", *([type_name(hint)] if spelt(hint) else [])]
            raise error(f"{given_as} must be {' or '.join(names)}.") from None
        raise error(f"{given_as} {unfit}.") from None
    return fitted
