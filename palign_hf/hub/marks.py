"""Generated sections of a card, beside the text that people write.

A section lies between two comments, and the first of them has a digest of what was generated:

    <!-- palign:begin columns 0123456789abcdef -->
    ...
    <!-- palign:end columns -->

Text outside of sections stays byte for byte. A section whose text still has its digest is generated anew; one that
was edited stays as it is, and one that was deleted stays out: only sections of something new are added. Line ends
don't count, since editors in browsers change them.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256


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
