"""Recipes: YAML files with settings, from the disk or shipped with the package."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from palign_hf.config.settings import ConfigError, build, one_line, section_of
from palign_hf.config.values import hints_of, shown_value
from palign_hf.errors import nearest, shown


T = TypeVar("T")

# Folder of launcher configurations, which are not recipes.
_LAUNCHER = "accelerate"
_PACKAGE = Path(__file__).parents[1]


def load_config(
    kind: type[T], path: str | Path | None, overrides: Sequence[str] = (), values: Mapping[str, Any] | None = None
) -> T:
    """Read a recipe into `kind`, then apply `key=value` overrides, then `values` by key; dots reach into sections."""
    given = {key: (f"`{key}: {shown_value(value)}`", value) for key, value in _flat(kind, values or {})}
    return read_layers(kind, path, overrides, given)


def read_layers(
    kind: type[T], path: str | Path | None, overrides: Sequence[str], given: Mapping[str, tuple[str, Any]]
) -> T:
    """`load_config` for values with their written form, for messages: {key: (`--rows 0`, 0)}."""
    file = find_recipe(path) if path is not None else None
    values = _read(file) if file is not None else {}
    origins: dict[str, str] = {}
    for override in overrides:
        key, value = _parse(override)
        given_as = f"`--set {shown(override)}`"
        _put(values, key, value, given_as)
        origins[key] = given_as
    for key, (given_as, value) in given.items():
        _put(values, key, value, given_as)
        origins[key] = given_as

    def origin(key: str) -> str | None:
        if not key:
            return f"`{whole(path)}`" if path is not None else "This run"
        return next((origins[one] for one in reversed(origins) if one == key or one.startswith(f"{key}.")), None)

    return build(kind, values, origin)


def find_recipe(name: str | Path) -> Path:
    """The file of that name, or the shipped recipe: `qwen3-8b/truncate.yaml`."""
    path = Path(os.path.expanduser(name))
    if os.path.isfile(path):  # also of a text that can't be a path
        return path
    if os.path.isdir(path):
        raise ConfigError(f"The recipe `{whole(name)}` is a folder. Name the file in it, as `truncate.yaml`.")
    known = shipped_recipes()
    wanted = str(name).removeprefix("./").removeprefix("recipes/")
    if wanted in known:
        return known[wanted]
    near = nearest(shown(wanted), known)
    raise ConfigError(
        f"The recipe `{whole(name)}` doesn't exist, here or among the shipped ones{near}. "
        f"`palign recipes list` shows those."
    )


def shipped_recipes() -> dict[str, Path]:
    """Every recipe of the package by its name."""
    folder = recipes_folder()
    found = (path for path in sorted(folder.glob("*/*.yaml")) if path.parent.name != _LAUNCHER)
    return {path.relative_to(folder).as_posix(): path for path in found}


def recipes_folder() -> Path:
    """Folder of the shipped recipes: inside the package in a wheel, beside it in a checkout."""
    inside = _PACKAGE / "recipes"
    return inside if inside.is_dir() else _PACKAGE.parent / "recipes"


def parse_yaml(text: str) -> Any:
    """Parse YAML into plain values; `ConfigError` has the reason in one line."""
    from palign_hf.config.yaml_text import YamlError, load_yaml

    try:
        return load_yaml(text)
    except YamlError as error:
        raise ConfigError(str(error)) from error


def whole(path: str | Path) -> str:
    """A path for a message: on one line, uncut."""
    return shown(str(path), most=4096)


def _read(path: Path) -> dict[str, Any]:
    where = f"The recipe `{whole(path)}`"
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ConfigError) as error:
        raise ConfigError(f"{where} can't be read as YAML: {one_line(error)}.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping of settings, not `{shown_value(values)}`.")
    return values


def _parse(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ConfigError(
            f"`--set {shown(text)}` has no value. Write `--set key=value`, as `--set traces.max_samples=10`."
        )
    try:
        return key, parse_yaml(value)
    except ConfigError as error:
        raise ConfigError(f"`--set {shown(text)}`: the value can't be read: {error}.") from error


def _flat(kind: type, values: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """Yield values with sections opened, so that a partly given section keeps its other values."""
    hints = hints_of(kind)
    for name, value in values.items():
        inner = section_of(hints.get(name))
        if inner is not None and isinstance(value, Mapping):
            yield from _flat(inner, value, f"{section}{name}.")
        else:
            yield f"{section}{name}", value


def _put(values: dict[str, Any], key: str, value: Any, given_as: str) -> None:
    """Set a value by its dotted key; a null on the way becomes a section, any other value there is an error."""
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        inner = values[section]
        if not isinstance(inner, dict):
            raise ConfigError(
                f"{given_as} can't be set: `{shown(section)}: {shown_value(inner)}` is a value, not a section."
            )
        values = inner
    values[last] = value
