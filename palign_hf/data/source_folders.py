"""Containment checks for source folders: files named by cards and states must be inside the folder and readable.

A card can name any file of this machine or any URL as its data, and `datasets` follows it. A foreign folder could so
bring other files into tables that get published.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from palign_hf.config.recipes import YamlError, load_yaml
from palign_hf.data.exact import load_json
from palign_hf.errors import UserError, shown


if TYPE_CHECKING:
    import pyarrow.parquet as pq


# Smallest size limit of a file's decoded rows, and the largest ratio to its size. Real traces reach a ratio of ten.
MOST_DECODED = 2**30
MOST_RATIO = 100
# Bytes that are decoded at a time for counting, by the size of the largest possible value.
_AT_ONCE = 2**26


def check_decoded(files: Iterable[Path]) -> None:
    """Refuse parquet files whose decoded rows are far larger than the file, before they are written as a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                size = path.stat().st_size
                most = max(MOST_DECODED, MOST_RATIO * size)
                if _at_most(file) <= most or _decoded(file, most) <= most:
                    continue
        except (pa.ArrowException, OSError):
            continue  # its reader reports the error
        raise UserError(
            f"`{path.name}` has {size / 2**20:,.1f} MiB, but its rows take more than {most / 2**30:,.1f} GiB once "
            f"they are decoded: the same values stand in it over and over. Write the rows and columns that are needed "
            f"to a file of their own, or load it yourself and pass the `Dataset`."
        )


def _at_most(file: "pq.ParquetFile") -> int:
    """Bytes that the rows can't exceed, by the metadata: with a dictionary, each may hold its longest value."""
    total = 0
    for group in range(file.metadata.num_row_groups):
        for column in range(file.metadata.row_group(group).num_columns):
            about = file.metadata.row_group(group).column(column)
            plain = about.total_uncompressed_size + 16 * about.num_values
            repeats = any("DICTIONARY" in encoding for encoding in about.encodings)
            total += about.num_values * about.total_uncompressed_size if repeats else plain
    return total


def _decoded(file: "pq.ParquetFile", most: int) -> int:
    """Bytes of the rows, or of as many as exceed `most`."""
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    sizes = (one.column(at).total_uncompressed_size for one in groups for at in range(one.num_columns))
    largest = max(sizes, default=1)
    total = 0
    for batch in file.iter_batches(batch_size=max(16, min(65_536, _AT_ONCE // max(largest, 1)))):
        total += sum(_taken(column) for column in batch.columns)
        if total > most:
            break
    return total


def _taken(column: Any) -> int:
    """Bytes of a column where each row has its value: one that was written as a dictionary is read as one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        if not pa.types.is_string(kind.value_type) and not pa.types.is_large_string(kind.value_type):
            return 8 * len(column) + int(column.nbytes)
        lengths = pc.take(pc.binary_length(column.dictionary), column.indices)
        return 4 * len(column) + int(pc.sum(lengths.cast(pa.int64())).as_py() or 0)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return 4 * len(column) + _taken(column.flatten())
    if pa.types.is_struct(kind):
        return sum(_taken(one) for one in column.flatten())
    return int(column.nbytes)


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
