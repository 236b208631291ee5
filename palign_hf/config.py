"""Recipes are YAML files read into dataclasses, strictly: a misspelt key is an error, never a silent default.

The dataclass is the one place where a setting is declared: its name, its type, its default and its `help`. Values
given on the command line (`--set engine=server --set traces.limit=10`) win over the file.
"""

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from palign_hf.errors import UserError, nearest


T = TypeVar("T")


class ConfigError(UserError):
    """A recipe has a key or value that can't be right; the message names it and the nearest match."""


def load_config(kind: type[T], path: str | Path | None, overrides: Sequence[str] = ()) -> T:
    """Read a recipe into `kind`, then apply `key=value` overrides; dots reach into sections."""
    values = _read(Path(path)) if path is not None else {}
    for override in overrides:
        _override(values, override)
    return build(kind, values, where=f"`{path}`" if path is not None else "the settings")


def build(kind: type[T], values: Mapping[str, Any], where: str, section: str = "") -> T:
    """A dataclass from plain values, every one of them checked."""
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(
                f"{where} has the unknown key `{section}{key}`{nearest(str(key), known)}. "
                f"Known keys: {', '.join(f'`{section}{name}`' for name in known)}."
            )
    missing = [f"`{section}{name}`" for name, field in known.items() if _required(field) and name not in values]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}. Add it to the file, or give `--set key=value`.")
    hints = get_type_hints(kind)
    return kind(**{key: _value(hints[key], value, where, f"{section}{key}") for key, value in values.items()})


def describe(kind: type, section: str = "") -> list[tuple[str, str]]:
    """(key, help with its default) of every setting: for `--help` and the docs."""
    lines = []
    hints = get_type_hints(kind)
    for field in fields(kind):
        if is_dataclass(hints[field.name]):
            lines += describe(hints[field.name], f"{section}{field.name}.")
            continue
        default = "required" if _required(field) else f"default: {_default(field)}"
        lines.append((f"{section}{field.name}", f"{field.metadata.get('help', '')} ({default})"))
    return lines


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"The recipe `{path}` doesn't exist. Recipes lie in `recipes/<student>/`.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"The recipe `{path}` can't be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"The recipe `{path}` must be a mapping of settings, not {type(values).__name__}.")
    return values


def _override(values: dict[str, Any], text: str) -> None:
    import yaml

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(f"`--set {text}` has no value. Write `--set key=value`, as `--set traces.limit=10`.")
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"`--set {text}`: `{section}` is a value, not a section.")
        values = inner
    try:
        values[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"`--set {text}`: the value can't be read: {error}") from error


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: `{key}` is a section with keys of its own, not `{value!r}`.")
        return build(hint, value, where, f"{key}.")
    accepted = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in accepted:
        kind = get_origin(option) or option
        if kind is float and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            # YAML reads 5e-5 as text.
            try:
                return float(value)
            except ValueError:
                continue
        if isinstance(value, kind) and not (isinstance(value, bool) and kind is int):
            return value
    names = " or ".join(_type_name(option) for option in accepted)
    raise ConfigError(f"{where}: `{key}` must be {names}, but it is `{value!r}` ({type(value).__name__}).")


def _type_name(option: Any) -> str:
    kind = get_origin(option) or option
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return names.get(kind, "a mapping" if kind is dict else "a list" if kind is list else str(kind))


def _required(field: "Field[Any]") -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _default(field: "Field[Any]") -> str:
    factory: Any = field.default_factory
    value = field.default if field.default is not MISSING else factory()
    return "none" if value is None else str(value)
