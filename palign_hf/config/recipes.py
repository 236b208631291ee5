"""Recipes: YAML files with settings, from the disk or shipped with the package."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from palign_hf.config.settings import ConfigError, build, one_line, section_of
from palign_hf.config.values import hints_of, shown_value
from palign_hf.errors import UserError, nearest, shown
from palign_hf.redact import redact


# Aliases (`*name`) may add at most this many values to the written ones. Ten lines of nested aliases can expand to
# more values than any memory holds.
MOST_ALIASED = 10_000


class YamlError(UserError):
    """Invalid or unsupported YAML; the message has the reason in one line."""


def load_yaml(text: str, repeated_keys: bool = False) -> Any:
    """Load the values of a YAML text. Duplicate keys are refused unless `repeated_keys`, which keeps the last."""
    try:
        loader = _Loader(text)
        loader.repeated_keys = repeated_keys
        root = loader.get_single_node()
        if root is None:
            return None
        _check_aliases(root)
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        if isinstance(error, yaml.MarkedYAMLError) and redact(text) != text:
            # YAML repeats what stands around its marks, cut: half a secret would not be masked.
            for mark in filter(None, (error.context_mark, error.problem_mark)):
                mark.buffer = None
        nested = "it is nested too deep" if isinstance(error, RecursionError) else ""
        raise YamlError(nested or shown(" ".join(str(error).split()), most=1000)) from error


class _Loader(yaml.SafeLoader):
    repeated_keys = False

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
        seen: set[tuple[str, str]] = set()
        for key in () if self.repeated_keys else keys:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen and key.value != "<<":
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"the key `{key.value}` is given twice, again in line {line}")
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def _check_aliases(root: yaml.Node) -> None:
    """Refuse a document whose aliases expand too far, or that contains itself."""
    sizes: dict[int, int] = {}
    open_: set[int] = set()

    def size(node: yaml.Node) -> int:
        """Number of values of the node with its aliases expanded."""
        if isinstance(node, yaml.ScalarNode):
            return 1
        if id(node) in open_:
            raise yaml.YAMLError(f"the value of line {node.start_mark.line + 1} holds itself, by an alias")
        if id(node) not in sizes:
            open_.add(id(node))
            inner = node.value if isinstance(node, yaml.SequenceNode) else (one for pair in node.value for one in pair)
            sizes[id(node)] = 1 + sum(size(one) for one in inner)
            open_.remove(id(node))
        return sizes[id(node)]

    whole = size(root)
    written = _nodes(root)
    if whole - written > MOST_ALIASED:
        raise yaml.YAMLError(
            f"its aliases (`*name`) add more than {MOST_ALIASED} values to the {written} that are written: write out "
            f"the values that are needed"
        )


def _nodes(root: yaml.Node) -> int:
    """Number of written values."""
    found: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found.add(id(node))
            if isinstance(node, yaml.SequenceNode):
                waiting += node.value
            elif isinstance(node, yaml.MappingNode):
                waiting += [one for pair in node.value for one in pair]
    return len(found)


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
    values = read_recipe(file) if file is not None else {}
    origins = override(values, overrides)
    for key, (given_as, value) in given.items():
        put(values, key, value, given_as)
        origins[key] = given_as

    def origin(key: str) -> str | None:
        if not key:
            return f"`{whole(path)}`" if path is not None else "This run"
        return next((origins[one] for one in reversed(origins) if one == key or one.startswith(f"{key}.")), None)

    return build(kind, values, origin)


def override(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, str]:
    """Set `key=value` pairs in plain values; for each key how it was given, for messages."""
    origins: dict[str, str] = {}
    for pair in overrides:
        key, value = _parse(pair)
        origins[key] = f"`--set {shown(pair)}`"
        put(values, key, value, origins[key])
    return origins


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

    try:
        return load_yaml(text)
    except YamlError as error:
        raise ConfigError(str(error)) from error


def whole(path: str | Path) -> str:
    """A path for a message: on one line, uncut."""
    return shown(str(path), most=4096)


def read_recipe(path: Path) -> dict[str, Any]:
    """The plain values of a recipe."""
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


def put(values: dict[str, Any], key: str, value: Any, given_as: str) -> None:
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
