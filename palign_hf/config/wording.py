"""CLI messages: rewrites setting names in library messages as flags (`max_samples=0` becomes `--max-samples 0`).

The library's messages name arguments, since most users write Python; a command rewrites them where it prints an error.
"""

import argparse
import ast
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any


_ARGUMENT = re.compile(r"`([A-Za-z_]\w*)=([^`]*)`")
_LEFT_OUT = re.compile(r"(?<=\b[Ll]eave )`([A-Za-z_]\w*)`(?= out\b)")


def as_typed(message: str, parser: argparse.ArgumentParser) -> str:
    """Return `message` with each `name=value` in backticks, and each "leave `name` out", as an option of `parser`.

    `--traces.max-samples` is also the option of `max_samples`, unless another option ends the same way: an ambiguous
    name stays as it is.
    """
    options = dict(_options(parser))

    def argument(found: re.Match[str]) -> str:
        option = options.get(found[1])
        typed = _typed(option, found[2]) if option else None
        return found[0] if typed is None else f"`{typed}`"

    def name(found: re.Match[str]) -> str:
        option = options.get(found[1])
        return f"`{_flag(option)}`" if option else found[0]

    return _LEFT_OUT.sub(name, _ARGUMENT.sub(argument, message))


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    """The names of arguments, each with its only option."""
    meant: dict[str, set[argparse.Action]] = {}
    for action in _actions(parser):
        if action.help == argparse.SUPPRESS:  # another spelling of the one before
            continue
        for option in action.option_strings:
            name = option.lstrip("-").replace("-", "_").rpartition(".")[2]
            meant.setdefault(name, set()).add(action)
    # Subcommands have options of the same name: any of them will do.
    for name, actions in meant.items():
        if len({_flag(action) for action in actions}) == 1:
            yield name, next(iter(actions))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from _actions(inner)
        else:
            yield action


def _flag(action: argparse.Action) -> str:
    """The option's preferred form: the long one, with dashes."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return action.option_strings[0]  # the others say no
    return max(action.option_strings, key=lambda option: (option.startswith("--"), "_" not in option, len(option)))


def _typed(action: argparse.Action, text: str) -> str | None:
    """The option with its value; None where it has no CLI form."""
    value = _value(text)
    flag = _flag(action)
    if not text:  # `ledger=`: the option is meant, whatever its value
        return flag if action.nargs == 0 else f"{flag} {action.metavar or '...'}"
    if action.nargs == 0:
        return flag if value is True else None
    if isinstance(value, dict) and action.nargs in ("+", "*"):
        return " ".join([flag, *(f"{key}={_word(inner)}" for key, inner in value.items())])
    if isinstance(value, list) and len(value) > 1 and action.nargs in ("+", "*"):
        return " ".join([flag, *map(_word, value)])
    if value == {...}:
        return f"{flag} {action.metavar or '...'}"
    return f"{flag} {_word(value)}"


def _value(text: str) -> Any:
    """The value of Python text; the text itself where it is a placeholder, as in `most=N`."""
    try:
        return ast.literal_eval(re.sub(r",\s*\.\.\.\s*\}$", "}", text))
    except (ValueError, SyntaxError):
        return text


def _word(value: Any) -> str:
    """A value for the shell: YAML, the format of a recipe's options."""
    if value is ...:
        return "..."
    if isinstance(value, str):
        return shlex.quote(value)
    if isinstance(value, dict):
        return shlex.quote("{" + ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items()) + "}")
    return shlex.quote(_plain(value))


def _plain(value: Any) -> str:
    if value is ...:
        return "..."
    return value if isinstance(value, str) else json.dumps(value, default=str)
