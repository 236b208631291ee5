"""Containment checks for source folders: files named by cards and states must be inside the folder and readable.

A card can name any file of this machine or any URL as its data, and `datasets` follows it. A foreign folder could so
bring other files into tables that get published.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from palign_hf.config.yaml_text import YamlError, load_yaml
from palign_hf.errors import UserError, shown
from palign_hf.literals import load_json


CARDS = ("README.md", ".huggingface.yaml")
_SAVED = ("dataset_dict.json", "state.json")


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote the folder."""
    return any((folder / name).is_file() for name in _SAVED)


def check_saved(folder: Path) -> None:
    """Refuse a folder of `save_to_disk` whose files are broken, or that names data outside of it."""
    if not (folder / "dataset_dict.json").is_file():
        _check_split(folder, folder)
        return
    splits = _entry(folder, folder / "dataset_dict.json", "splits", list)
    for split in splits:
        if not isinstance(split, str) or not split or PurePosixPath(split).name != split or split == "..":
            raise _broken(folder, f"`dataset_dict.json` names the split `{shown(split)}`, which is no folder in it")
        _check_split(folder, folder / split)


def _check_split(folder: Path, split: Path) -> None:
    files = _entry(folder, split / "state.json", "_data_files", list)
    for one in files:
        name = one.get("filename") if isinstance(one, dict) else None
        if not isinstance(name, str) or not _stays(name):
            raise _broken(folder, f"`state.json` names the data file `{shown(one)}`, which is no file in it")
        if not (split / name).is_file():
            raise _broken(folder, f"its data file `{shown(name)}` is missing")
        check_inside(folder, [split / name])
    _entry(folder, split / "dataset_info.json", None, dict)


def _entry(folder: Path, file: Path, key: str | None, kind: type) -> Any:
    """An entry of a JSON file beside the data, or the whole file."""
    try:
        data = load_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = "is missing" if isinstance(error, FileNotFoundError) else f"can't be read: {shown(str(error), 200)}"
        raise _broken(folder, f"`{file.relative_to(folder)}` {why}") from error
    found = data if key is None else data.get(key) if isinstance(data, dict) else None
    if not isinstance(found, kind):
        raise _broken(folder, f"`{file.relative_to(folder)}` holds no {f'`{key}`' if key else 'JSON object'}")
    return found


def _broken(folder: Path, why: str) -> UserError:
    return UserError(
        f"`{folder.name}` was written by `save_to_disk`, but {why}. Write it again with `dataset.save_to_disk`, or "
        f"pass its data files themselves, as `{folder.name}/*.arrow`."
    )


def check_card(folder: Path) -> None:
    """Refuse an unreadable card, and one that names data outside of its folder."""
    for name in CARDS:
        card = folder / name
        if not card.is_file():
            continue
        for path in _paths(_read(folder, card)):
            if not _stays(path):
                raise UserError(
                    f"The card `{folder.name}/{name}` names `{shown(path)}` as data, which is no path within the "
                    f"folder: a folder's card may not refer to other files or URLs. Pass that path or URL itself, "
                    f"or change `configs` in the card."
                )


def check_inside(folder: Path, files: Iterable[str | Path]) -> None:
    """Refuse data files outside of their folder (links); the Hub's own cache links to its blobs."""
    real = Path(os.path.realpath(folder))
    homes = [real, real.parent.parent / "blobs"] if real.parent.name == "snapshots" else [real]
    for file in files:
        target = Path(os.path.realpath(file))
        if not any(target.is_relative_to(home) for home in homes):
            raise UserError(
                f"`{shown(str(file), 200)}` is a link to `{shown(str(target), 200)}`, outside of the folder "
                f"`{folder.name}`, and only what lies in a folder is read with it. Pass that file itself, or copy it "
                f"into the folder."
            )


def _read(folder: Path, card: Path) -> Any:
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        text = card.read_text(encoding="utf-8")
        if card.suffix == ".md":
            found = REGEX_YAML_BLOCK.search(text)
            text = found[2] if found else ""
        return load_yaml(text, repeated_keys=True)
    except (YamlError, OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The YAML of the card `{folder.name}/{card.name}` can't be read: {shown(str(error), 300)}. Fix it, or "
            f"pass the data files themselves, as `{folder.name}/*.parquet`."
        ) from error


def _paths(data: Any) -> Iterator[str]:
    """Yield every path that a card names as data."""
    configs = data.get("configs") if isinstance(data, dict) else None
    for config in configs if isinstance(configs, list) else [configs]:
        if isinstance(config, dict):
            for key in ("data_files", "data_dir"):
                yield from _texts(config.get(key))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)


def _stays(path: str) -> bool:
    """Whether a path or pattern stays within its folder, judged by its text."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    away = path.startswith("~") or os.path.isabs(path) or path.startswith(("/", "\\")) or ".." in parts
    return not away and "://" not in path and "::" not in path and not path[1:2] == ":"
