"""The YAML at the top of a card, changed key by key: the lines of keys that aren't ours stay byte for byte."""

import re
from collections.abc import Iterable
from typing import Any

import yaml

from palign_hf.config.yaml_text import YamlError, load_yaml
from palign_hf.errors import UserError, shown


# As huggingface_hub has it: what it takes for the top of a card, is it.
_BLOCK = re.compile(r"^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|$))")


class FrontMatter:
    """The keys of a card; `card()` gives it back with them."""

    def __init__(self, card: str) -> None:
        found = _BLOCK.match(card)
        self.body = card[found.end() :] if found else card
        self._line = "\r\n" if "\r\n" in card else "\n"
        self._open, self._text, self._close = found.groups() if found else (f"---{self._line}", "", "")
        self._close = self._close or f"{self._line}---{self._line}{self._line if card else ''}"
        self.data = self._read()

    def set(self, key: str, value: Any) -> None:
        """Give a key its value; nothing is changed where it has it."""
        if key in self.data and self.data[key] == value:
            return
        others = {name: of for name, of in self.data.items() if name != key}
        written = dumped({key: value}).rstrip("\n").replace("\n", self._line)
        lines = self._text.splitlines(keepends=True)
        first, last = self._lines_of(key)
        before, behind = "".join(lines[:first]), "".join(lines[last:])
        if before and not before.endswith(("\n", "\r")):
            before += self._line
        self._text = before + written + (self._line + behind if behind else "")
        self.data = self._read()
        if {name: of for name, of in self.data.items() if name != key} != others:
            raise UserError(
                f"`{key}` of the card can't be changed without its other keys: they refer to it. Write their values "
                f"out in the YAML at the top of the card."
            )

    def setdefault(self, key: str, value: Any) -> Any:
        """Give a key its value if it has none; the one it has then."""
        if self.data.get(key) is None:
            self.set(key, value)
        return self.data[key]

    def add(self, key: str, values: Iterable[str]) -> None:
        """Add what a list lacks."""
        held = self.data.get(key)
        listed = [] if held is None else held if isinstance(held, list) else [held]
        wanted = [*listed, *(value for value in values if value not in listed)]
        if wanted != listed:
            self.set(key, wanted)

    def put(self, key: str, name: str, entry: dict[str, Any]) -> None:
        """In a list of entries with a `config_name`, put one in the place of its name, or behind the others."""
        held = self.data.get(key)
        entries = list(held) if isinstance(held, list) else [] if held is None else [held]
        where = [at for at, one in enumerate(entries) if named(one) == name]
        if where:
            entries[where[0]] = entry
        else:
            entries.append(entry)
        self.set(key, entries)

    def take(self, key: str, name: str) -> None:
        """Take the entry of a configuration out of such a list."""
        held = self.data.get(key)
        if isinstance(held, list) and any(named(one) == name for one in held):
            self.set(key, [one for one in held if named(one) != name])

    def card(self) -> str:
        """The card with these keys."""
        return self._open + self._text + self._close + self.body

    def _read(self) -> dict[str, Any]:
        try:
            data = load_yaml(self._text, repeated_keys=True)
        except YamlError as error:
            raise UserError(
                f"The YAML at the top of the card can't be read: {shown(str(error), most=200)}. Mend it on the Hub, "
                f"or in the card's file, and publish again."
            ) from error
        root = yaml.compose(self._text, Loader=yaml.SafeLoader)
        if root is None:
            return {}
        if not isinstance(data, dict) or any(key.start_mark.column for key, _ in root.value):
            raise UserError(
                "The YAML at the top of the card isn't a list of keys, one a line with its value. Write it so on the "
                "Hub, or in the card's file, and publish again."
            )
        return data

    def _lines_of(self, key: str) -> tuple[int, int]:
        """Where the lines of a key begin and end, without the comments behind them; at the end, if it isn't there."""
        lines = self._text.splitlines(keepends=True)
        root = yaml.compose(self._text, Loader=yaml.SafeLoader)
        starts = [(node.start_mark.line, node.value) for node, _ in root.value] if root else []
        for at, (first, name) in enumerate(starts):
            if name == key:
                last = starts[at + 1][0] if at + 1 < len(starts) else len(lines)
                while last > first + 1 and (not lines[last - 1].strip() or lines[last - 1].startswith("#")):
                    last -= 1
                return first, last
        return len(lines), len(lines)


def named(entry: Any) -> str:
    """The configuration that an entry is of."""
    return str(entry.get("config_name", "default")) if isinstance(entry, dict) else ""


def dumped(value: Any) -> str:
    """YAML in which nothing is invisible: what isn't ASCII is escaped."""
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=10**6)
    return text
