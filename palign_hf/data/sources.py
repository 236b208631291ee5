"""Sources of teacher data: a Hub id, a file, a glob, a folder, or a loaded dataset."""

import difflib
import glob
import gzip
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.data.exact import all_exact, cached_apart, csv_as_text
from palign_hf.data.source_folders import CARDS, check_card, check_decoded, check_inside, check_saved, is_saved
from palign_hf.errors import UserError, listed, shown
from palign_hf.redact import redact, remember
from palign_hf.students import Shipped, shipped


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


class SourceError(UserError):
    """A source that can't be opened as it was named.

    Args:
        problem (`str`): What was given and why it can't work.
        remedy (`str`): What to do, in the settings of traces; a caller with others replaces it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem


MARK = "\uffff"
_HALF = re.compile("[\ud800-\udfff]")


def read_json(files: Sequence[Path]) -> "Dataset":
    """The rows of files of JSON lines, in order."""
    from datasets import Dataset

    return Dataset.from_list([_mended(row) for file in files for row in _rows(file)])


def _rows(file: Path) -> Iterator[Any]:
    text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode("utf-8")
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line)


def _mended(value: Any) -> Any:
    """The value with a mark for each unpaired surrogate; the parser has already joined valid pairs."""
    if isinstance(value, str):
        return _HALF.sub(MARK, value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(one) for name, one in value.items()}
    return value


_TEXTS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".csv": "csv", ".tsv": "tsv"}
_FORMATS = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    **_TEXTS,
    **{f"{suffix}.gz": kind for suffix, kind in _TEXTS.items()},
}
# Format -> builder of `datasets` and its options, where the builder's name differs.
_BUILDERS: dict[str, tuple[str, dict[str, Any]]] = {"tsv": ("csv", {"sep": "\t"})}
_SUPPORTED = f"{listed(['.parquet', '.arrow', *_TEXTS])} (all but the first two also with `.gz`)"
# What the readers of `datasets` raise for files that are cut off or hold something else.
UNREADABLE = (ValueError, EOFError, gzip.BadGzipFile, zlib.error)
# What `save_to_disk`, the Hub and our own runs write beside the data.
_NOT_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "report.json"}
_HUB_FILE = re.compile(r"hf://datasets/(?P<repo>[^@]+)@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")
_SHARD = re.compile(r"(?P<split>\w+)-\d{5}-of-\d{5}\.parquet")
_HUB_ID = re.compile(r"(?=.{1,200}$)[\w-][\w.-]*(/[\w.-]+)?")


def open_source(
    source: Any,
    *,
    split: str | None,
    config: str | None,
    revision: str | None,
    streaming: bool,
    token: str | bool | None = None,
) -> tuple["Dataset | IterableDataset", str | None]:
    """The dataset behind `source` and its name (Hub id, file or folder name; None for a dataset without one)."""
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    remember(token if isinstance(token, str) else None)
    if isinstance(source, (Dataset, IterableDataset, DatasetDict, IterableDatasetDict)):
        _refuse(type(source).__name__, config=config, revision=revision)
        opened, name = source, None
    elif isinstance(source, (str, Path)):
        opened, name = _open_path(str(source), split, config, revision, streaming, token)
    else:
        raise UserError(
            f"`source` is a `{type(source).__name__}`, from which no traces can be read. Pass a Hub id, "
            f"a file, glob or folder, or a `datasets.Dataset` (`Dataset.from_list` makes one from a list of rows)."
        )
    dataset = _one_split(opened, split, f"`{name or type(source).__name__}`", applied=isinstance(source, (str, Path)))
    if streaming and isinstance(dataset, Dataset):
        dataset = dataset.to_iterable_dataset()
    return cached_apart(dataset), name


def _one_split(opened: Any, split: str | None, what: str, applied: bool) -> Any:
    if not isinstance(opened, dict):
        # `load_dataset` returned one dataset because it applied `split` itself.
        if split is not None and not applied:
            raise SourceError(
                f"`split={split!r}` can't be taken from {what}, which has no splits.", "Leave `split` out."
            )
        return opened
    if split is None and len(opened) == 1:
        return next(iter(opened.values()))
    if split not in opened:
        given = f"`split={split!r}` is not one of them" if split else "one must be chosen"
        raise SourceError(f"{what} has the splits {listed(opened)}: {given}.", f"Pass `split={next(iter(opened))!r}`.")
    return opened[split]


def _open_path(
    source: str,
    split: str | None,
    config: str | None,
    revision: str | None,
    streaming: bool,
    token: str | bool | None,
) -> Any:
    path = Path(os.path.expanduser(source))
    if home := shipped(source):
        _refuse(source, config=config, revision=revision)
        return _open_shipped(home, split), source
    if os.path.isfile(path):  # also of a text that can't be a path
        _refuse(path.name, config=config, revision=revision)
        return _open_files(f"`{path.name}`", [path], split, streaming), path.name
    if os.path.isdir(path):
        _refuse(source, revision=revision)
        return _open_folder(path, split, config, streaming), path.resolve().name
    if glob.has_magic(source):
        _refuse(source, config=config, revision=revision)
        # The pattern with its folder: `*.parquet` alone would say little.
        return _open_files(f"`{source}`", _matches(path), split, streaming), "/".join(path.parts[-2:])
    if os.path.exists(path):
        raise UserError(
            f"`{source}` is neither a file nor a folder, but a pipe or a device, and a source is read more than once. "
            f"Write what comes out of it to a file, and pass that."
        )
    if not _HUB_ID.fullmatch(source) or _suffix(path) in _FORMATS:
        raise UserError(f"`{source}` does not exist{_near(path)}. Check the path.")
    return _open_hub(source, path, split, config, revision, streaming, token), source


def _open_shipped(home: Shipped, split: str | None) -> Any:
    if split not in home.SPLITS:
        given = f"`split={split!r}` is not one of them" if split else "one must be chosen"
        raise UserError(f"`{home.NAME}` has the splits {listed(home.SPLITS)}: {given}. Pass `split='test'`.")
    return home.traces(split)


def _matches(pattern: Path) -> list[Path]:
    """The files that a glob matches, in the order of their names."""
    found = sorted(glob.glob(str(pattern), recursive=True))
    if not found:
        raise UserError(f"`{pattern}` matches nothing{_near(pattern)}. Check the pattern.")
    files = [Path(path) for path in found if Path(path).is_file()]
    if not files:
        raise UserError(
            f"`{pattern}` matches only folders, as `{found[0]}`. Pass one folder, or a pattern of files, as "
            f"`{pattern}/*.parquet`."
        )
    return files


def _open_files(what: str, files: list[Path], split: str | None, streaming: bool) -> Any:
    formats = {_FORMATS.get(_suffix(file)) for file in files}
    if None in formats:
        other = next(file for file in files if _suffix(file) not in _FORMATS)
        among = "" if len(files) == 1 else f" matches `{other.name}`, which"
        raise UserError(
            f"{what}{among} has the suffix `{_suffix(other)}`, which can't be read. Supported are {_SUPPORTED}; "
            f"convert the file, or load it yourself and pass the `Dataset`."
        )
    if len(formats) > 1:
        raise _mixed(what, Counter(_suffix(file) for file in files), "a pattern that matches only one of them")
    kind = formats.pop()
    assert kind is not None
    builder, options = _BUILDERS.get(kind, (kind, {}))
    with _in_words(what):
        if builder == "json":
            files = all_exact(files)
        elif builder == "csv":
            options = options | csv_as_text(files[0], **options)
        elif builder == "parquet" and not streaming:
            check_decoded(files)
    # A bracket or star in a name would be a pattern to `datasets`.
    names = [glob.escape(str(file)) for file in files]
    try:
        return _load(what, builder, data_files=names, split=split, streaming=streaming, **options)
    except UserError as error:
        if kind != "json" or "surrogate" not in str(error):
            raise
        try:
            return _one_split({"train": read_json(files)}, split, what, applied=False)
        except ValueError:  # something else is wrong, too
            raise error from None


def _mixed(what: str, suffixes: Counter[str], instead: str) -> UserError:
    counts = ", ".join(f"{count} `{suffix}`" for suffix, count in sorted(suffixes.items()))
    return UserError(
        f"{what} mixes formats ({counts}), so which of them are the traces is unknown. Pass one file, or {instead}."
    )


def _open_folder(path: Path, split: str | None, config: str | None, streaming: bool) -> Any:
    what = f"`{path.name}`"
    if is_saved(path):
        from datasets import load_from_disk

        _refuse(path.name, config=config)
        check_saved(path)
        with _in_words(what):
            saved = load_from_disk(str(path))
        return _one_split(saved, split, what, applied=False)
    found = Counter(
        _suffix(file)
        for file in path.rglob("*")
        if _suffix(file) in _FORMATS
        and file.name not in _NOT_DATA
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    formats = {_FORMATS[suffix] for suffix in found}
    if not found:
        raise UserError(
            f"`{path}` holds no data files. Supported are {_SUPPORTED}, or a folder written by `save_to_disk`."
        )
    if len(formats) > 1:
        raise _mixed(what, found, "a folder with files of one format")
    check_card(path)
    kind = formats.pop()
    if glob.has_magic(str(path)):
        return _open_shards(path, kind, split, config, streaming)
    return _open_data_of(path, _BUILDERS.get(kind, (kind, {}))[0], list(found), split, config, streaming)


def _open_shards(path: Path, kind: str, split: str | None, config: str | None, streaming: bool) -> Any:
    """Open a run's folder by its shards' names: `datasets` would read a bracket in the folder's name as a pattern."""
    _refuse(path.name, config=config)
    found: dict[str, list[str]] = {}
    for file in sorted((path / "data").iterdir() if (path / "data").is_dir() else ()):
        if (match := _SHARD.fullmatch(file.name)) is not None:
            found.setdefault(match["split"], []).append(glob.escape(str(file)))
    if kind != "parquet" or not found:
        raise UserError(
            f"`{path}` has a pattern in its name, so `datasets` would read another folder. Rename it, or pass the "
            f"data files themselves."
        )
    check_inside(path, (path / "data").iterdir())
    if not streaming:
        with _in_words(f"`{path.name}`"):
            check_decoded(file for file in (path / "data").iterdir() if _SHARD.fullmatch(file.name))
    return _load(f"`{path.name}`", kind, data_files=found, split=split, streaming=streaming)


def _open_data_of(
    path: Path,
    kind: str,
    suffixes: list[str],
    split: str | None,
    config: str | None,
    streaming: bool,
    what: str | None = None,
) -> Any:
    """Open a folder by its card and file names, which must match a builder of this kind."""
    import datasets

    what = what or f"`{path.name}`"
    with _in_words(what):
        builder = datasets.load_dataset_builder(str(path), name=config)
    if builder.info.builder_name != kind:
        raise UserError(
            f"{what} was read as `{builder.info.builder_name}`, since most of its files are of that kind, but "
            f"its data files are {listed(suffixes)}. Pass the data file itself, or move the other files away."
        )
    files = {str(name): [Path(file) for file in these] for name, these in (builder.config.data_files or {}).items()}
    check_inside(path, (file for these in files.values() for file in these))
    options: dict[str, Any] = {}
    with _in_words(what):
        if kind == "json":
            exact = {name: all_exact(these) for name, these in files.items()}
            if exact != files:
                named = {name: [glob.escape(str(file)) for file in these] for name, these in exact.items()}
                return _load(
                    what, "json", data_files=named, features=builder.info.features, split=split, streaming=streaming
                )
        elif kind == "csv" and builder.info.features is None:
            first = next(file for these in files.values() for file in these)
            options = csv_as_text(first, sep=builder.config.sep)
        elif kind == "parquet" and not streaming:
            check_decoded(file for these in files.values() for file in these)
    return _load(what, str(path), name=config, split=split, streaming=streaming, **options)


def _open_hub(
    source: str,
    path: Path,
    split: str | None,
    config: str | None,
    revision: str | None,
    streaming: bool,
    token: str | bool | None,
) -> Any:
    import httpx2
    from datasets.exceptions import DatasetNotFoundError

    try:
        if (texts := _hub_texts(source, config, revision, token)) is not None:
            return _open_data_of(texts[1], texts[0], [], split, config, streaming, what=f"`{source}`")
        return _load(
            f"`{source}`",
            source,
            name=config,
            split=split,
            revision=revision,
            streaming=streaming,
            token=token,
            remote=True,
        )
    except DatasetNotFoundError as error:
        raise SourceError(
            f"`{source}` is neither a local path{_near(path)} nor a dataset on the Hub that you can read ({error}).",
            "Check the spelling; a gated or private dataset needs `hf auth login`.",
        ) from error
    except httpx2.HTTPError as error:
        reason = shown(redact(" ".join(str(error).split())), 300).rstrip(".")
        raise UserError(
            f"`{source}` can't be read from the Hub: {reason or type(error).__name__}. Try again."
        ) from None
    except ConnectionError as error:
        raise SourceError(
            f"`{source}` is no local path{_near(path)}, so the Hub was asked, and it could not be reached: {error}.",
            f"Go online (unset `HF_HUB_OFFLINE`), or fetch it once with `hf download --repo-type dataset {source} "
            f"--local-dir traces` and pass that folder.",
        ) from error


def _hub_texts(
    source: str, config: str | None, revision: str | None, token: str | bool | None
) -> tuple[str, Path] | None:
    """The builder of a Hub dataset of JSON or CSV and a local copy, which is read as any folder; else None."""
    import datasets
    from huggingface_hub import snapshot_download

    try:
        builder = datasets.load_dataset_builder(source, name=config, revision=revision, token=token)
    except Exception:
        return None  # `load_dataset` fails in the same way, and says so
    kind = str(builder.info.builder_name)
    files = [str(file) for these in (builder.config.data_files or {}).values() for file in these]
    found = [match for file in files if (match := _HUB_FILE.fullmatch(file)) and match["repo"] == source]
    paths, commits = [one["path"] for one in found], {one["commit"] for one in found}
    whole = len(found) == len(files) and len(commits) == 1
    if kind not in ("json", "csv") or not whole or any(_suffix(Path(path)) not in _FORMATS for path in paths):
        return None
    wanted = [*(glob.escape(path) for path in paths), *CARDS]
    return kind, Path(snapshot_download(source, repo_type="dataset", revision=commits.pop(), allow_patterns=wanted))


def _load(what: str, *args: Any, remote: bool = False, **kwargs: Any) -> Any:
    """`datasets.load_dataset`, with the user's name of the source in its errors."""
    import datasets

    with _in_words(what, remote):
        return datasets.load_dataset(*args, **kwargs)


@contextmanager
def _in_words(what: str, remote: bool = False) -> Iterator[None]:
    """Convert errors of `datasets` and its readers into messages that begin with the user's name of the source."""
    import datasets
    import httpx2

    try:
        yield
    except UserError:
        raise
    except datasets.exceptions.DatasetGenerationError as error:
        raise UserError(
            f"{what} can't be read: {_reason(error.__cause__ or error)}. Check that it is whole."
        ) from error
    except StopIteration as error:
        raise UserError(f"{what} is empty: it holds no rows. Check how it was written.") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{what} can't be read: {_reason(error)}. Check that it is whole.") from error
    except ValueError as error:
        raise SourceError(
            f"{what} can't be loaded: {_reason(error).rstrip('.')}.", "Check `config=...` and `split=...`."
        ) from error
    except Exception as error:
        if remote and isinstance(error, OSError | httpx2.HTTPError):
            raise  # the Hub's errors are handled by the caller
        # A card or a state can hold anything, and each part of `datasets` fails on it in its own way.
        raise UserError(
            f"{what} can't be loaded: `datasets` fails on it with {type(error).__name__}: {_reason(error)}. Check its "
            f"card and what else lies beside the data, or pass the data files themselves."
        ) from error


def _reason(error: BaseException) -> str:
    return shown(" ".join(str(error).split()), 500)


def _refuse(what: str, **options: str | None) -> None:
    for option, value in options.items():
        if value is not None:
            raise UserError(f"`{option}={value!r}` has no meaning for `{what}`. Leave `{option}` out.")


def _suffix(path: Path) -> str:
    """The suffix of the format, such as `.jsonl.gz`."""
    return "".join(path.suffixes[-2 if path.suffix.lower() == ".gz" else -1 :]).lower()


def _near(path: Path) -> str:
    """The entry that the user may have meant, beside the first part of the path that does not exist."""
    missing = path
    while not missing.parent.is_dir() and missing.parent != missing:
        missing = missing.parent
    if not missing.parent.is_dir():
        return ""
    match = difflib.get_close_matches(
        missing.name, [entry.name for entry in missing.parent.iterdir()], n=1, cutoff=0.5
    )
    return f" (nearest in `{missing.parent}`: `{match[0]}`)" if match else ""
