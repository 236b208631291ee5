"""Settings as text, for `--help`, for the docs, and the docstring of a constructor."""

import json
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from palign_hf.config.settings import Setting, walk
from palign_hf.config.values import members, type_name
from palign_hf.tables import table


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
