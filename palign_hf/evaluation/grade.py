"""Grading of existing outputs without a model, for `palign grade`."""

import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palign_hf.config.resolve import KnowsOldNames
from palign_hf.data.exact import load_json
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.evaluation.metrics import measure
from palign_hf.evaluation.outputs import read_outputs
from palign_hf.evaluation.samples import SAMPLES, Sample, StudentOutput, check_complete, sampled, ungraded
from palign_hf.evaluation.summary import Summary
from palign_hf.grading import GraderPool
from palign_hf.prompts import TAG_STYLES, TagStyle
from palign_hf.prompts import tag_style as style_of
from palign_hf.runs.parts import whole
from palign_hf.terminal import Progress


Row = dict[str, Any]
_LINES = (".jsonl", ".ndjson", ".json")
READ = (*_LINES, *(f"{suffix}.gz" for suffix in _LINES), ".parquet")
WRITTEN = (".jsonl", ".parquet")
# File of the samples in an evaluation's folder.
SAMPLES_FILE = "samples.parquet"


def read_rows(file: str | Path) -> list[Row]:
    """All rows of a file; of a folder, those of its `samples.parquet`."""
    path = _table_in(file)
    if Path(os.path.expanduser(file)).is_dir():
        if not path.is_file():
            raise UserError(f"`{file}` is a folder without `{SAMPLES_FILE}`. Give a file of outputs or of samples.")
    if path.exists() and not path.is_file():
        raise UserError(f"`{file}` is a pipe or a device, and no file. Write what comes out of it to a file first.")
    if not path.is_file():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"`{file}` does not exist{nearest(path.name, beside)}. Check the path.")
    suffix = _suffix(path)
    if suffix not in READ:
        raise UserError(
            f"`{path.name}` has the suffix `{suffix}`, which can't be read here. Give one of {listed(READ)}."
        )
    rows = _read_parquet(path) if suffix == ".parquet" else _read_lines(path)
    if not rows:
        raise UserError(f"`{path.name}` holds no rows. Check how it was written.")
    return rows


def writer(
    file: str | Path, overwrite: bool = False, read: str | Path | None = None
) -> Callable[[Iterable[Sample]], None]:
    """Return a function that writes samples to a file, in the format of its suffix; a wrong path is refused at once.

    Args:
        file (`str` or `Path`): file to write.
        overwrite (`bool`): whether existing samples may be overwritten; anything else never is.
        read (`str` or `Path`): the file or folder that is read, which is not overwritten.
    """
    path = Path(os.path.expanduser(file))
    if path.suffix not in WRITTEN:
        raise UserError(f"`{path.name}` can't be written: its suffix is none of {listed(WRITTEN)}. Give one of them.")
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"`{path}` can't be written: {_obstacle(path)}. Give a file in a folder that is there.")
    if read is not None and _same(path, _table_in(read)):
        raise UserError(f"`{path}` is the file that is read. Give another file for the labels.")
    if path.is_symlink():
        raise UserError(f"`{path}` is a link, and links are not followed where labels are written. Give another file.")
    if path.exists() and not overwrite:
        raise UserError(f"`{path}` is there already. Give another file, or `overwrite=True` to write over it.")
    if path.exists() and not _graded(path):
        raise UserError(f"`{path}` holds no graded samples, so it is not written over. Give another file.")
    return lambda samples: write_samples(path, samples)


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples to a file in the format of its suffix, atomically."""
    _write(path, [sample.row() for sample in samples])


def read_samples(file: str | Path) -> list[Sample]:
    """Read the samples of a file that `writer` wrote; columns beyond the table describe the problems."""
    rows = read_rows(file)
    names = dict.fromkeys(name for row in rows for name in row)
    if missing := [name for name in SAMPLES.columns if name not in names]:
        raise UserError(
            f"`{file}` holds no graded samples: it lacks {listed(missing)}. Grade it first "
            f"(`palign grade --output-file`), and give what that writes."
        )
    samples = []
    for at, row in enumerate(({**dict.fromkeys(names), **row} for row in rows), 1):
        for name in SAMPLES.required:
            if row[name] is None:
                raise UserError(f"Row {at} of `{file}` has no `{name}`, so it is no graded sample. Grade it again.")
        samples.append(Sample.from_row(row))
    return samples


def _write(path: Path, rows: list[Row]) -> None:
    with whole(path) as unfinished:
        if path.suffix == ".jsonl":
            with unfinished.open("w", encoding="utf-8") as lines:
                lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq
        from datasets import Features, Value

        extra = {name: Value("string") for row in rows for name in row if name not in SAMPLES.columns}
        schema = Features(SAMPLES.features | extra).arrow_schema
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), unfinished)


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"`{path.name}` can't be read as parquet: {error}. Check that it is whole.") from error
    return rows


def _read_lines(path: Path) -> list[Row]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"`{path.name}` can't be read: {error}. Check that it is whole, and UTF-8.") from error
    if text.lstrip().startswith("["):
        found = _parsed(text, path, "")
        return [_row(row, path, f"entry {at}") for at, row in enumerate(found, 1)]
    # Not `splitlines`: a text may hold other line ends than that of the file.
    lines = ((at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip())
    return [_row(_parsed(line, path, f"line {at}: "), path, f"line {at}") for at, line in lines]


def _parsed(text: str, path: Path, where: str) -> Any:
    try:
        return load_json(text)
    except ValueError as error:
        raise UserError(f"`{path.name}` can't be read: {where}{error}. Mend that, or cut it off.") from error


def _row(value: Any, path: Path, where: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(
            f"`{path.name}`, {where}, is no row but `{shown(value)}`. Give an object with names for its values."
        )
    return value


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2 if path.suffix.lower() == ".gz" else -1 :]).lower()


def _table_in(file: str | Path) -> Path:
    """The file itself; of a folder, its samples."""
    path = Path(os.path.expanduser(file))
    return path / SAMPLES_FILE if path.is_dir() else path


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _graded(path: Path) -> bool:
    """Whether a file is one that `writer` has written."""
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = lines.readline()
        try:
            found = set(json.loads(first))
        except (ValueError, TypeError, RecursionError):
            return False
        return found >= {*SAMPLES.columns}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return {*pq.read_schema(path).names} >= {*SAMPLES.columns}
    except (pa.ArrowInvalid, OSError):
        return False


def _obstacle(path: Path) -> str:
    return "it is a folder" if path.is_dir() else f"`{path.parent}` is no folder"


_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class GradeConfig(KnowsOldNames):
    """What to grade, and how. `columns` map roles to columns, `carry` names further columns to keep.

    `problems` and `samples` are the expected counts; `tag_style` is that of drafts, recognized where None;
    `output_file` gets the labels.
    """

    file: str
    columns: dict[str, str] | None = None
    carry: Sequence[str] = ()
    benchmark: str | None = None
    grader: str | Mapping[str, Any] = "math"
    tag_style: str | None = None
    workers: int = 2
    seconds: float = 5.0
    problems: int | None = None
    samples: int | None = None
    output_file: str | None = None
    overwrite: bool = False
    seed: int = 0
    progress: bool | None = None


def grade_file(config: GradeConfig) -> Summary:
    """Read, grade, check completeness, write the labels, and summarize them."""
    write = writer(config.output_file, config.overwrite, config.file) if config.output_file else None
    given = style_of(config.tag_style) if config.tag_style else None
    if not 0 < config.seconds < 1e6:
        raise UserError(f"`seconds={config.seconds}` is no limit. Give the seconds that one answer may be graded.")
    with GraderPool(config.grader, workers=config.workers, limit_s=config.seconds) as pool:
        # Not the file's name: files of two models are of the same problems.
        name = {} if config.benchmark is None else {"benchmark": config.benchmark}
        read = read_outputs(read_rows(config.file), config.columns, config.carry, **name)
        check_complete(read.outputs, config.problems, config.samples)
        style = given or recognised(read.outputs)
        samples = grade(read.outputs, pool, style, config.progress)
    if write:
        write(samples)
    return Summary(
        samples=samples,
        measures=measure(samples),
        unjudged=unjudged(samples),
        notes=read.notes,
        about={
            "file": f"{config.file} ({read.rows} rows, outputs in `{read.columns['output']}`, gold answers in "
            f"`{read.columns['gold']}`)",
            "grader": f"{pool.name}, version {pool.version}",
            "tags": style.name if given else f"{style.name} (recognised)",
            "labels": config.output_file,
        },
        seed=config.seed,
    )


def grade(
    outputs: Sequence[StudentOutput], pool: GraderPool, tag_style: TagStyle, progress: bool | None = None
) -> list[Sample]:
    """Grade every output in order; an empty one is wrong without a grader."""
    samples: list[Sample] = []
    bar = Progress(len(outputs), "grading", progress, unit="sample")
    try:
        for start in range(0, len(outputs), _BATCH):
            batch = outputs[start : start + _BATCH]
            grades = iter(pool.grade_all((one.text or "", one.gold) for one in batch if not one.blank))
            samples += [sampled(one, ungraded(one) if one.blank else next(grades), tag_style) for one in batch]
            bar.advance(len(batch))
    finally:
        bar.close()
    if len(samples) != len(outputs):
        raise AssertionError(f"{len(samples)} samples of {len(outputs)} outputs")
    return samples


def recognised(outputs: Sequence[StudentOutput]) -> TagStyle:
    """The tag style with which outputs begin, `none` without tags; of several, one must be given."""
    begun = {
        style.name
        for style in TAG_STYLES.values()
        if style.open and any((one.text or "").lstrip().startswith(style.open) for one in outputs)
    }
    if len(begun) > 1:
        raise UserError(
            f"Some outputs begin with the tags of {listed(sorted(begun))}, so which mark a draft is unclear. Say "
            f"so: `tag_style={min(begun)}`."
        )
    return style_of(begun.pop() if begun else "none")


def unjudged(samples: Sequence[Sample]) -> Counter[str]:
    """Count the reasons why texts couldn't be graded; they count as wrong."""
    return Counter(one.error for one in samples if one.error and (one.text or "").strip())
