"""Where teacher data comes from: a Hub id, a file, a folder, or a dataset already loaded."""

import difflib
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed
from palign_hf.shipped import Shipped, shipped


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".arrow": "arrow", ".csv": "csv"}
# What `save_to_disk` and the Hub write beside the data.
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def open_source(
    source: Any, *, split: str | None, config: str | None, revision: str | None, streaming: bool
) -> tuple["Dataset | IterableDataset", str | None]:
    """The dataset behind `source` and its name (Hub id, file or folder name; None for a dataset without one)."""
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    if isinstance(source, (Dataset, IterableDataset, DatasetDict, IterableDatasetDict)):
        _refuse(type(source).__name__, config=config, revision=revision)
        opened, name = source, None
    elif isinstance(source, (str, Path)):
        opened, name = _open_path(str(source), split, config, revision, streaming)
    else:
        raise UserError(
            f"`source` is a `{type(source).__name__}`, which is no place that traces can be read from. Pass a Hub id, "
            f"a file or folder, or a `datasets.Dataset` (`Dataset.from_list` makes one from a list of rows)."
        )
    dataset = _one_split(opened, split, f"`{name or type(source).__name__}`", applied=isinstance(source, (str, Path)))
    if streaming and isinstance(dataset, Dataset):
        dataset = dataset.to_iterable_dataset()
    return dataset, name


def _one_split(opened: Any, split: str | None, what: str, applied: bool) -> Any:
    if not isinstance(opened, dict):
        # `load_dataset` returned one dataset because it applied `split` itself.
        if split is not None and not applied:
            raise UserError(f"`split={split!r}` can't be taken from {what}, which has no splits. Leave `split` out.")
        return opened
    if split is None and len(opened) == 1:
        return next(iter(opened.values()))
    if split not in opened:
        given = f"`split={split!r}` is not one of them" if split else "one must be chosen"
        raise UserError(f"{what} has the splits {listed(opened)}: {given}. Pass `split={next(iter(opened))!r}`.")
    return opened[split]


def _open_path(source: str, split: str | None, config: str | None, revision: str | None, streaming: bool) -> Any:
    path = Path(source).expanduser()
    if home := shipped(source):
        _refuse(source, config=config, revision=revision)
        return _open_shipped(home, split), source
    if path.is_file():
        _refuse(path.name, config=config, revision=revision)
        return _open_file(path, split, streaming), path.name
    if path.is_dir():
        _refuse(source, revision=revision)
        return _open_folder(path, split, config, streaming), path.resolve().name
    if not _HUB_ID.fullmatch(source) or path.suffix in _FORMATS:
        raise UserError(f"`{source}` does not exist{_near(path)}. Check the path.")
    return _open_hub(source, path, split, config, revision, streaming), source


def _open_shipped(home: Shipped, split: str | None) -> Any:
    if split not in home.SPLITS:
        given = f"`split={split!r}` is not one of them" if split else "one must be chosen"
        raise UserError(f"`{home.NAME}` has the splits {listed(home.SPLITS)}: {given}. Pass `split='test'`.")
    return home.traces(split)


def _open_file(path: Path, split: str | None, streaming: bool) -> Any:
    if path.suffix not in _FORMATS:
        raise UserError(
            f"`{path.name}` has the suffix `{path.suffix}`, which can't be read. Supported are {listed(_FORMATS)}; "
            f"convert the file, or load it yourself and pass the `Dataset`."
        )
    return _load(f"`{path.name}`", _FORMATS[path.suffix], data_files=str(path), split=split, streaming=streaming)


def _open_folder(path: Path, split: str | None, config: str | None, streaming: bool) -> Any:
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        from datasets import load_from_disk

        _refuse(path.name, config=config)
        saved = load_from_disk(str(path))
        return _one_split(saved, split, f"`{path.name}`", applied=False)
    found = Counter(
        file.suffix
        for file in path.rglob("*")
        if file.suffix in _FORMATS
        and file.name not in _NOT_DATA
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    formats = {_FORMATS[suffix] for suffix in found}
    if not found:
        raise UserError(
            f"`{path}` holds no data files. Supported are {listed(_FORMATS)}, or a folder written by `save_to_disk`."
        )
    if len(formats) > 1:
        counts = ", ".join(f"{count} `{suffix}`" for suffix, count in sorted(found.items()))
        raise UserError(
            f"`{path.name}` mixes formats ({counts}), and which of them are the traces can't be told. Pass one file, "
            f"or a folder with files of one format."
        )
    opened = _load(f"`{path.name}`", str(path), name=config, split=split, streaming=streaming)
    first = next(iter(opened.values())) if isinstance(opened, dict) else opened
    if first.info.builder_name not in formats:
        raise UserError(
            f"`{path.name}` was read as `{first.info.builder_name}`, since most of its files are of that kind, but "
            f"its data files are {listed(found)}. Pass the data file itself, or move the other files away."
        )
    return opened


def _open_hub(
    source: str, path: Path, split: str | None, config: str | None, revision: str | None, streaming: bool
) -> Any:
    from datasets.exceptions import DatasetNotFoundError

    try:
        return _load(f"`{source}`", source, name=config, split=split, revision=revision, streaming=streaming)
    except DatasetNotFoundError as error:
        raise UserError(
            f"`{source}` is neither a local path{_near(path)} nor a dataset on the Hub that you can read ({error}). "
            f"Check the spelling; a gated or private dataset needs `hf auth login`."
        ) from error
    except ConnectionError as error:
        raise UserError(
            f"`{source}` is no local path{_near(path)}, so the Hub was asked, and it could not be reached: {error}. "
            f"Go online (unset `HF_HUB_OFFLINE`), or fetch it once with `hf download --repo-type dataset {source} "
            f"--local-dir traces` and pass that folder."
        ) from error


def _load(what: str, *args: Any, **kwargs: Any) -> Any:
    """`datasets.load_dataset`, its errors led by the name that the user gave."""
    import datasets

    try:
        return datasets.load_dataset(*args, **kwargs)
    except datasets.exceptions.DatasetGenerationError as error:
        raise UserError(f"{what} can't be read: {error.__cause__ or error}. Check that it is whole.") from error
    except StopIteration as error:
        raise UserError(f"{what} is empty: it holds no rows. Check how it was written.") from error
    except ValueError as error:
        raise UserError(f"{what} can't be loaded: {error} Check `config` and `split`.") from error


def _refuse(what: str, **options: str | None) -> None:
    for option, value in options.items():
        if value is not None:
            raise UserError(f"`{option}={value!r}` has no meaning for `{what}`. Leave `{option}` out.")


def _near(path: Path) -> str:
    """The entry that the user may have meant, looked for beside the first part of the path that does not exist."""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    if not missing.parent.is_dir():
        return ""
    match = difflib.get_close_matches(
        missing.name, [entry.name for entry in missing.parent.iterdir()], n=1, cutoff=0.5
    )
    return f" (nearest in `{missing.parent}`: `{match[0]}`)" if match else ""
