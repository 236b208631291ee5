"""CLI options for settings, and the parser that reads them."""

import argparse
import ast
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, NoReturn, TypeVar, get_origin

from palign_hf.config.recipes import parse_yaml, read_layers
from palign_hf.config.resolve import new_name, renamed
from palign_hf.config.settings import ConfigError, Setting, facts, option, walk
from palign_hf.config.values import choices, fits, spelt
from palign_hf.errors import nearest, shown
from palign_hf.terminal import print_err


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
        for flag in action.option_strings:
            name = flag.lstrip("-").replace("-", "_").rpartition(".")[2]
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


T = TypeVar("T")

# Prefix of setting keys in the namespace, so that they can't clash with the command's own names.
_DEST = "setting "
_METAVARS = {str: "TEXT", int: "N", float: "NUMBER", bool: "true|false", NoneType: ""}
_MAPPINGS, _LISTS = (dict, Mapping), (list, tuple, Sequence)
_METAVARS |= dict.fromkeys(_MAPPINGS, "MAPPING") | dict.fromkeys(_LISTS, "LIST")


# Values that are given to an option that takes none.
_ON, _OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, and name the nearest option."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **({"allow_abbrev": False} | settings))

    def error(self, message: str) -> NoReturn:
        """Print the error and exit with status 2."""
        print_err(f"{self.prog.split()[0]}: {' '.join(message.split())}. See `{self.prog} --help`.")
        sys.exit(2)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Refuse unknown arguments here, where the options of this command are known."""
        self._refuse_switched(sys.argv[1:] if args is None else args)
        found, extra = super().parse_known_args(args, namespace)
        if extra:
            word = next((one for one in extra if one.startswith("-")), extra[0]).partition("=")[0]
            shown_ones = [action for action in self._actions if action.help != argparse.SUPPRESS]
            known = [name for action in shown_ones for name in action.option_strings]
            settings = [name.lstrip("-").replace("-", "_") for name in known]
            if instead := renamed(word.lstrip("-").replace("-", "_"), settings):
                self.error(instead.rstrip("."))
            if new := self._renamed(word, known):
                self.error(f"`{shown(word)}` is now `{new}`")
            self.error(f"`{shown(word)}` is unknown here{nearest(shown(word), known)}")
        return found, extra

    def _refuse_switched(self, words: Sequence[str]) -> None:
        """Refuse `--progress false` and `--progress=false`: an option that is on or off takes no value."""
        for word, following in zip(words, [*words[1:], ""], strict=False):
            flag, equals, value = word.partition("=")
            action = self._option_string_actions.get(flag)
            if action is None or action.nargs != 0:
                continue
            value = (value if equals else following).lower()
            if equals or value in (*_ON, *_OFF):
                on = _flag(action)
                off = next((one for one in action.option_strings if one.startswith("--no-")), None)
                no = f"write `{off}`" if off else f"leave `{on}` out"
                instead = f"write `{on}`" if value in _ON else no if value in _OFF else f"write `{on}`, or {no}"
                self.error(f"`{flag}` takes no value: for `{shown(value)}` {instead}")

    @staticmethod
    def _renamed(word: str, known: Sequence[str]) -> str | None:
        """The option that has taken the place of `word`."""
        section, dot, name = word.removeprefix("--").removeprefix("no-").replace("-", "_").rpartition(".")
        names = {one.removeprefix("--").replace("-", "_"): one for one in reversed(known)}
        here = {
            one.removeprefix(section + dot): option for one, option in names.items() if one.startswith(section + dot)
        }
        new = new_name(name, here) if word.startswith("--") else None
        return here[new] if new else None


def add_options(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add `--config`, `--set`, and an option for every setting of `kind`, grouped by section."""
    parser.allow_abbrev = False
    parser.usage = f"{parser.prog} [--config RECIPE] [--KEY VALUE ...]".replace("%", "%%")
    parser.add_argument("--config", metavar="RECIPE", help="YAML file of settings, or a recipe that ships: see below")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="change a setting by its key; repeatable"
    )
    parser.epilog = (
        "Options win over --set, and both over the recipe. `palign recipes list` shows the recipes that ship."
    )
    add_settings(parser, kind)


def add_settings(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add an option for every setting of `kind`, grouped by section, for a command without recipes."""
    groups: dict[str, Any] = {}
    for one in walk(kind):
        section = one.key.rpartition(".")[0]
        if section not in groups:
            about = (one.section.__doc__ or "").strip().split("\n")[0] if section else None
            groups[section] = parser.add_argument_group(section or "settings", about)
        _add(groups[section], one)


def read_options(options: argparse.Namespace, kind: type[T]) -> T:
    """Build the settings of a command line from `add_options`: the recipe, then `--set`, then the options.

    A command line from `add_settings` has options only.
    """
    given: dict[str, tuple[str, Any]] = {}
    for one in walk(kind):
        if hasattr(options, _DEST + one.key):
            words = getattr(options, _DEST + one.key)
            if isinstance(words, bool):
                given[one.key] = (f"`{option(one.key)}`", words)
            else:
                words = [words] if isinstance(words, str) else words
                given_as = f"`{option(one.key)} {shown(' '.join(words))}`"
                given[one.key] = (
                    given_as,
                    _single(one, words[0], given_as) if len(words) == 1 else _many(one, words, given_as),
                )
    return read_layers(kind, getattr(options, "config", None), getattr(options, "set", ()), given)


def _add(group: Any, one: Setting) -> None:
    names = [option(one.key)]
    settings: dict[str, Any] = {"dest": _DEST + one.key, "default": argparse.SUPPRESS}
    if set(spelt(one.hint)) - {NoneType} == {bool}:
        settings["action"] = argparse.BooleanOptionalAction
    else:
        settings["metavar"] = one.field.metadata.get("metavar") or _metavar(one.hint)
        if any((get_origin(kind) or kind) in _LISTS for kind in spelt(one.hint)):
            settings["nargs"] = "+"
    group.add_argument(*names, help=f"{one.help} ({facts(one)})".strip().replace("%", "%%"), **settings)
    if "_" in one.key:  # as the recipe spells it
        group.add_argument(f"--{one.key}", help=argparse.SUPPRESS, **settings)


def _metavar(hint: Any) -> str:
    names = []
    for kind in spelt(hint):
        words = ",".join(str(choice) for choice in choices(kind))
        names.append(f"{{{words}}}" if words else _METAVARS.get(get_origin(kind) or kind, "VALUE"))
    return "|".join(dict.fromkeys(filter(None, names)))


def read_value(hint: Any, text: str, given_as: str) -> Any:
    """Text as YAML of that type: it stays text for a text setting, and where it fits no other type.

    `given_as` is the option with its value, for messages.
    """
    kinds = [kind for kind in spelt(hint) if kind is not NoneType]
    if text == "null" and len(kinds) < len(spelt(hint)):
        return None
    textual = [kind for kind in kinds if kind is str or any(isinstance(choice, str) for choice in choices(kind))]
    if textual == kinds:
        return text
    try:
        value = parse_yaml(text)
    except ConfigError as error:
        if textual:
            return text
        raise ConfigError(f"{given_as} can't be read: {error}.") from error
    return text if textual and (isinstance(value, str) or not fits(hint, value)) else value


def _single(one: Setting, word: str, given_as: str) -> Any:
    """One word: a value, or the only item of a list."""
    value = read_value(one.hint, word, given_as)
    return [value] if not fits(one.hint, value) and fits(one.hint, [value]) else value


def _many(one: Setting, words: Sequence[str], given_as: str) -> Any:
    """Several words as a list, or as `name=value` where the setting may be a mapping."""
    pairs = [word.partition("=") for word in words]
    mapping = any((get_origin(kind) or kind) in _MAPPINGS for kind in spelt(one.hint))
    if not mapping or not all(equals for _, equals, _ in pairs):
        return list(words) if fits(one.hint, list(words)) else [_parse_word(word, given_as) for word in words]
    if twice := [name for name, count in Counter(name for name, _, _ in pairs).items() if count > 1]:
        raise ConfigError(f"{given_as} gives `{shown(twice[0])}` twice. Leave one of them out.")
    return {name: value for name, _, value in pairs}


def _parse_word(word: str, given_as: str) -> Any:
    try:
        return parse_yaml(word)
    except ConfigError as error:
        raise ConfigError(f"{given_as} can't be read: {error}.") from error
