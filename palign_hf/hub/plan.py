"""What a push has to change: the files that are wanted against those that a repository holds. Pure but for reading."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from palign_hf.errors import UserError


_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Item:
    """One file as it is to lie in the repository, at `path`; `source` is a file or its bytes."""

    path: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """How large files are known on the Hub."""
        if isinstance(self.source, bytes):
            return hashlib.sha256(self.source).hexdigest()
        total = hashlib.sha256()
        with self.source.open("rb") as file:
            while piece := file.read(_PIECE):
                total.update(piece)
        return total.hexdigest()

    @cached_property
    def git_sha1(self) -> str:
        """How small files are known there: as git knows them."""
        content = self.source if isinstance(self.source, bytes) else self.source.read_bytes()
        return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Held:
    """One file as a repository holds it; `sha256` is that of a large one."""

    size: int
    git_sha1: str
    sha256: str | None = None

    def is_as(self, item: Item) -> bool:
        """Whether it has the content of this one; only files of the same size are read for it."""
        if self.size != item.size:
            return False
        return self.sha256 == item.sha256 if self.sha256 else self.git_sha1 == item.git_sha1


@dataclass(frozen=True)
class Changes:
    """What one commit has to do."""

    send: tuple[Item, ...]
    delete: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.send or self.delete)


def changes(
    items: Iterable[Item], held: Mapping[str, Held], names: Iterable[str], owned: Sequence[str] = ()
) -> Changes:
    """Files to send, and files to delete: those among `names` that an earlier push of the same has left.

    `owned` says which files those can be: folders, which end in `/`, and patterns of names beside no folder.
    """
    wanted = {item.path: item for item in items}
    send = tuple(item for path, item in sorted(wanted.items()) if path not in held or not held[path].is_as(item))
    return Changes(send, tuple(sorted(name for name in {*names} - {*wanted} if owns(owned, name))))


def owns(owned: Sequence[str], name: str) -> bool:
    """Whether a file lies in an owned folder, or fits an owned pattern of names at the top."""
    from fnmatch import fnmatchcase

    folders = tuple(one for one in owned if one.endswith("/"))
    if "/" in name:
        return name.startswith(folders) if folders else False
    return any(fnmatchcase(name, one) for one in owned if not one.endswith("/"))


def check_items(items: Iterable[Item]) -> None:
    """Refuse two files for one place."""
    seen: set[str] = set()
    for item in items:
        if item.path in seen:
            raise UserError(f"Two files are to be pushed as `{item.path}`. Give each a name of its own.")
        seen.add(item.path)
