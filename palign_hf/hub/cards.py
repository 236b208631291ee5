"""Sections of a card, and a plain dataset card: what the rows are, how to load them, and their figures.

The plain card has no template, so any stage can use it. Sections and YAML keys that a person has edited survive the
next push.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import yaml

from palign_hf.config.recipes import YamlError, load_yaml
from palign_hf.errors import UserError, shown
from palign_hf.tables import escaped, table


PAPER = {
    "title": "Long-Chain Reasoning Distillation via Adaptive Prefix Alignment",
    "id": "2601.10064",
    "citation": (
        "@inproceedings{palign2026,\n"
        "  title     = {Long-Chain Reasoning Distillation via Adaptive Prefix Alignment},\n"
        "  author    = {Liu and Wu and Li and Yan and Wang and Chen and Gu and Yu and Sun},\n"
        "  booktitle = {Proceedings of the 64th Annual Meeting of the Association for Computational Linguistics\n"
        "               (Volume 1: Long Papers)},\n"
        "  pages     = {18041--18059},\n"
        "  year      = {2026},\n"
        "  note      = {arXiv:2601.10064}\n"
        "}"
    ),
}


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


_PART = re.compile(
    r"<!-- palign:begin (?P<name>\S+)(?: (?P<digest>[0-9a-f]{16}))? -->\r?\n"
    r"(?P<text>.*?)<!-- palign:end (?P=name) -->",
    re.DOTALL,
)


@dataclass(frozen=True)
class Part:
    """A part as it stands in a text; without a digest it is as it was generated, as in a template."""

    name: str
    text: str
    digest: str | None

    @property
    def edited(self) -> bool:
        """Whether it isn't what was generated."""
        return self.digest is not None and self.digest != _digest(self.text)

    def marked(self) -> str:
        """As it is written, with its digest."""
        return f"<!-- palign:begin {self.name} {_digest(self.text)} -->\n{self.text}<!-- palign:end {self.name} -->"


def parts(text: str) -> dict[str, Part]:
    """The parts of a text by name, in their order."""
    return {found["name"]: _part(found) for found in _PART.finditer(text)}


def stamped(text: str) -> str:
    """A text with the digests of all its parts, as they are now."""
    return _PART.sub(lambda found: _part(found).marked(), text)


def with_parts(
    text: str, made: Mapping[str, str], new: Iterable[str], behind: Callable[[str], str | None]
) -> tuple[str, list[str]]:
    """A card with its parts generated anew, and notes of what a person has changed.

    `new` are those to be added if they aren't there, each behind the part that `behind` names, or at the end.
    """
    line = "\r\n" if "\r\n" in text else "\n"
    notes = []

    def renewed(found: re.Match[str]) -> str:
        part = _part(found)
        if part.name not in made:
            return found[0]
        if part.edited:
            if _plain(part.text) != _plain(made[part.name]):
                notes.append(f"part `{part.name}` of the card was edited, and stays as it is")
            return found[0]
        return _written(part.name, made[part.name], line)

    changed = _PART.sub(renewed, text)
    adding = set(new)
    for name in made:
        there = parts(changed)
        if name in there:
            continue
        if name not in adding:
            notes.append(f"part `{name}` of the card was deleted, and stays out")
            continue
        written = _written(name, made[name], line)
        before = behind(name)
        if before in there:
            end = next(found.end() for found in _PART.finditer(changed) if found["name"] == before)
            changed = changed[:end] + line * 2 + written + changed[end:]
        else:
            gap = line if changed.endswith("\n") else line * 2
            changed += (gap if changed else "") + written + line
    return changed, notes


def _part(found: re.Match[str]) -> Part:
    return Part(found["name"], found["text"], found["digest"])


def _written(name: str, text: str, line: str) -> str:
    return Part(name, _plain(text), None).marked().replace("\n", line)


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n")


def _digest(text: str) -> str:
    return sha256(_plain(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]


logger = logging.getLogger("palign_hf")

_ABOUT = "about"
_PLAIN_TAGS = ("palign-hf",)


def render_plain(
    about: str, blocks: Sequence[str], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> str:
    """The card with this configuration, made from the existing one; sections that stay as edited are logged."""
    card, notes = updated_plain(about, blocks, repo_id, config, splits, existing)
    for note in notes:
        logger.warning("%s: %s.", repo_id, note)
    return card


def updated_plain(
    about: str,
    blocks: Sequence[str],
    repo_id: str,
    config: str,
    splits: Sequence[str],
    existing: str | None,
    *,
    tags: Sequence[str] = _PLAIN_TAGS,
    variable: str = "rows",
) -> tuple[str, list[str]]:
    """The card with this configuration, and notes of the sections that were edited and stay as they are.

    Args:
        about (`str`): What the rows are.
        blocks (`Sequence[str]`): Lines of Markdown with the figures of the configuration.
        repo_id (`str`): The repository.
        config (`str`): The name of the configuration.
        splits (`Sequence[str]`): Its splits.
        existing (`str` or `None`): The card that the repository holds.
        tags (`Sequence[str]`, *optional*): Tags of a new card.
        variable (`str`, *optional*, defaults to `"rows"`): The variable of the loading code.

    Returns:
        `tuple[str, list[str]]`: The card and the notes.
    """
    top = FrontMatter(existing or "")
    fresh, own = not parts(top.body), f"config:{config}"
    listed = top.data.get("configs")
    names = {named(one) for one in (listed if isinstance(listed, list) else [])}
    new = fresh or config not in names
    top.setdefault("pretty_name", repo_id.partition("/")[2])
    if fresh:
        top.add("tags", tags)
    files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
    top.put("configs", config, {"config_name": config, "data_files": files})
    if not top.body.strip():
        top.body = f"\n# {escaped(repo_id.partition('/')[2])}\n"
    # A card that other configurations share keeps the text about all of them: they may be of another kind.
    made = {_ABOUT: f"{about}\n"} if about and (fresh or names <= {config}) else {}
    made[own] = _section(blocks, repo_id, config, splits, variable)
    behind = [name for name in parts(top.body) if name.startswith("config:")] or [_ABOUT]
    top.body, notes = with_parts(top.body, made, set(made) if fresh else {own} if new else (), {own: behind[-1]}.get)
    return top.card(), notes


def report_blocks(report: Mapping[str, Any]) -> list[str]:
    """The figures, reasons and warnings of a report as lines of Markdown."""
    lines = [(str(name), str(value)) for name, value in report.get("lines") or ()]
    reasons = [f"- {count} rows: {escaped(str(reason))}" for reason, count in report.get("reasons", {}).items()]
    warnings = [f"> **Warning.** {escaped(str(line))}\n" for line in report.get("warnings") or ()]
    return [*table(("measured", "value"), lines), "", *reasons, *([""] if reasons else []), *warnings]


def _section(blocks: Sequence[str], repo_id: str, config: str, splits: Sequence[str], variable: str) -> str:
    loading = [
        "```python",
        "from datasets import load_dataset",
        "",
        *(f'{variable} = load_dataset("{repo_id}", "{config}", split="{split}")' for split in splits),
        "```",
        "",
    ]
    return "\n".join([f"## {config}", "", *loading, *blocks])
