"""What a push has to change: the files of a run against those that a repository holds. Pure but for reading."""

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.data.views import prompt_and_completion, tag_inside
from palign_hf.errors import UserError
from palign_hf.hub.settings import VIEW, view_name
from palign_hf.prompts import SOLVE, TAG_STYLES, TagStyle, tag_style


if TYPE_CHECKING:
    import pyarrow as pa


_WEIGHTS = re.compile(r"(?:model|adapter_model)(?:\.\w+)?(?:-\d{5}-of-\d{5})?\.safetensors(?:\.index\.json)?")
_CONFIGS = ("config.json", "generation_config.json", "adapter_config.json")
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tekken.json", "tokenizer.tiktoken", "qwen.tiktoken"),
    *("tokenizer.model", "tiktoken.model", "spiece.model", "spm.model", "sentencepiece.model"),
    *("sentencepiece.bpe.model", "chat_template.jinja", "chat_template.json"),
)
_PROCESSOR = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
_NAMES = frozenset((*_CONFIGS, *_TOKENIZER, *_PROCESSOR))
# Configurations that name the code which comes with a student.
_NAMING = ("config.json", "tokenizer_config.json")
_RELATIVE = re.compile(r"^\s*(?:from\s+\.(\w+)\s+import\b|from\s+\.\s+import\s+([\w ,]+))", re.MULTILINE)


def student_files(folder: Path) -> list[Path]:
    """The files that make up the student in `folder`, by name; links among them are listed, and never followed."""
    code = _code(folder)
    return sorted(
        path
        for path in folder.iterdir()
        if (path.is_symlink() or path.is_file())
        and (path.name in _NAMES or path.name in code or _WEIGHTS.fullmatch(path.name))
    )


def _code(folder: Path) -> set[str]:
    """Modules that `auto_map` names, and those beside them that they import."""
    waiting = {name for config in _NAMING for name in _named(folder / config)}
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        path = folder / f"{name}.py"
        if path.name in found or not (path.is_symlink() or path.is_file()):
            continue
        found.add(path.name)
        if not path.is_symlink():
            text = path.read_text(encoding="utf-8", errors="replace")
            waiting |= {word for match in _RELATIVE.findall(text) for word in re.findall(r"\w+", " ".join(match))}
    return found


def _named(config: Path) -> Iterator[str]:
    """The modules of `auto_map`; those of another repository (`owner/name--module.Class`) aren't here."""
    if config.is_symlink() or not config.is_file():
        return
    try:
        config_data = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return
    for text in _texts(config_data.get("auto_map") if isinstance(config_data, dict) else None):
        module, dot, _ = text.rpartition(".")
        if dot and re.fullmatch(r"\w+", module):
            yield module


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


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


logger = logging.getLogger("palign_hf")

SPLIT = "train"
_READ = ("id", "question", "prefix", "continuation")


def view_entry(config: str) -> dict[str, Any]:
    """The view of a configuration, as a card lists it."""
    return {
        "config_name": view_name(config),
        "data_files": [{"split": SPLIT, "path": f"{VIEW}/{config}/{SPLIT}-*"}],
    }


def view_items(config: str, shards: Mapping[str, Path], settings: Mapping[str, Any]) -> list[Item]:
    """The view's files: one for each shard of kept pairs, with the tags that the run has used."""
    style = _style(settings.get("tags"))
    return [Item(f"{VIEW}/{config}/{name}", _view(file, style)) for name, file in shards.items()]


def _view(file: Path, style: TagStyle) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = pq.read_table(file, columns=list(_READ)).to_pylist()
    rows = [row for row in given if tag_inside(row, style) is None]
    if len(rows) < len(given):
        logger.warning(
            "%d of %d rows of `%s` left out of the view for trainers: their text holds a tag of the target itself",
            len(given) - len(rows),
            len(given),
            file.name,
        )
    made = [{"id": row["id"], **prompt_and_completion(row, style, SOLVE)} for row in rows]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(made, schema=_schema()), buffer)
    return bytes(buffer.getvalue().to_pybytes())


def _schema() -> "pa.Schema":
    import pyarrow as pa

    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.schema([("id", pa.string()), ("prompt", turns), ("completion", turns)])


def _style(tags: Any) -> TagStyle:
    """That of a begun reply, as a report has it; with the paper's way of asking no tags are shown to the student."""
    if not tags:
        return tag_style("prefix")
    begin, end = tags
    known = (style for style in TAG_STYLES.values() if (style.open, style.close) == (begin, end))
    return next(known, None) or TagStyle("its own", begin, end)
