"""Facts of a finished run for the dataset card, read from its report and its table.

Facts hold no keys and no paths of the machine. What neither the report nor the table has, such as the license of the
traces, is what the caller states, or unknown.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.errors import UserError, listed
from palign_hf.hub.settings import check_config_name, check_repo, is_repo
from palign_hf.redact import redact
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import REPORT
from palign_hf.schema import PAIRS, PREFIXES, Table
from palign_hf.tables import spread, spread_text


if TYPE_CHECKING:
    import pyarrow as pa


# An absolute path in a text, up to what can't belong to it: it is known by what stands before it.
_PATH = re.compile(
    r"(?P<before>^|(?<=[\s'\"`=(\[{,;:<>|]))(?:file://)?(?:~[\w.-]*/|/(?=[\w.~-])|[A-Za-z]:[\\/]|\\\\)"
    r"[^\s'\"`,;()\[\]{}<>|:=]*"
)


def public(value: Any) -> Any:
    """Plain data, with its texts as others may read them: of a path its last name, and no keys."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(name)): public(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(one) for one in value]
    return value


def public_report(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report of a run as others may read it: its command, student and source without folders of the machine."""
    settings = dict(report["settings"])
    if isinstance(settings.get("command"), str):
        settings["command"] = public_command(settings["command"])
    if isinstance(settings.get("student_name"), str):
        settings["student_name"] = name_of(settings["student_name"])
    if isinstance(settings.get("input"), Mapping) and isinstance(settings["input"].get("source"), str):
        settings["input"] = {**settings["input"], "source": name_of(settings["input"]["source"])}
    found: dict[str, Any] = public({**report, "settings": settings})
    return found


def public_command(command: str) -> str:
    """A command line, whose words may hold spaces."""
    try:
        words = shlex.split(command)
    except ValueError:  # somebody's own words
        return _text(command)
    return _text(shlex.join(map(_word, words)))


def name_of(path: str) -> str:
    """The last name of an absolute path; anything else as it is."""
    bare = path.removeprefix("file://")
    if re.match(r"[A-Za-z]:[\\/]|\\\\", bare):
        return PureWindowsPath(bare).name or "[path]"
    if bare.startswith(("/", "~")):
        return PurePosixPath(bare).name or "[path]"
    return path


def _word(word: str) -> str:
    option, equals, value = word.partition("=")
    return option + equals + name_of(value) if equals and option.startswith("-") else name_of(word)


def _text(text: str) -> str:
    return _PATH.sub(lambda found: name_of(found[0]), redact(text))


_FILE = re.compile(r"(?P<split>[a-z]+)-\d{5}-of-\d{5}\.parquet")
_AT = (0.1, 0.25, 0.5, 0.75, 0.9)
_BINS = 20
_MOST_SOURCES = 20
# Statuses of the rows that are measured: of PREFIXES, of PAIRS.
_FOUND = (("sufficient", "fixed", "published"), ("kept",))
_READ = {
    "PREFIXES": ("status", "source", "prefix_ratio", "prefix_tokens", "trace_tokens"),
    "PAIRS": ("status", "source", "tokens", "prefix_tokens", "trace_tokens"),
}


@dataclass(frozen=True)
class Spread:
    """A histogram, `counts[i]` values from `edges[i]` to `edges[i + 1]`, with the values' mean and quantiles."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    figures: Mapping[str, float]

    @classmethod
    def of(cls, values: np.ndarray, most: float) -> "Spread | None":
        """Of values from 0 to `most`; None of nothing."""
        if not len(values):
            return None
        counts, edges = np.histogram(np.clip(values, 0, most), _BINS, (0.0, most))
        return cls(tuple(map(float, edges)), tuple(map(int, counts)), spread(values, _AT) or {})

    def text(self, style: str) -> str:
        """Mean and quantiles in one line."""
        return spread_text(self.figures, style)


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """One configuration of a dataset repository.

    `splits` are the rows of each and `sizes` its bytes in memory, `features` those of the table as cards have them;
    `ratio` is the prefix over its trace (PREFIXES) or over its target (PAIRS), `before` and `after` are the tokens of
    a trace and of what is left.
    """

    repo_id: str
    config: str
    table: str
    splits: Mapping[str, int]
    sizes: Mapping[str, int]
    features: Sequence[Any]
    sources: Mapping[str, int]
    report: Mapping[str, Any]
    license: str | None
    language: tuple[str, ...]
    source_datasets: tuple[str, ...]
    ratio: Spread | None
    before: Spread | None
    after: Spread | None

    @property
    def rows(self) -> int:
        """Of all splits."""
        return sum(self.splits.values())

    @property
    def settings(self) -> Mapping[str, Any]:
        """What made it."""
        found: Mapping[str, Any] = self.report.get("settings", {})
        return found

    def file_of(self, split: str) -> str:
        """Where the files of a split are in the repository, as `datasets` lays them out."""
        return f"{self.config}/{split}-*"


def dataset_facts(
    folder: str | Path,
    *,
    repo_id: str,
    config: str,
    license: str | None = None,
    language: Sequence[str] = (),
    source_datasets: Sequence[str] = (),
    report: Mapping[str, Any] | None = None,
) -> DatasetFacts:
    """The facts of the run in `folder`, to be published as `config` of `repo_id`.

    `license`, `language` and `source_datasets` are those of the traces; a dataset of the Hub that the run has read by
    its commit is named anyway. `report` replaces the folder's own.
    """
    check_repo(repo_id, repo_id)
    check_config_name(config, config)
    path = Path(folder).expanduser()
    report = read_mapping(path / REPORT) if report is None else report
    if report is None or not isinstance(report.get("settings"), dict):
        raise UserError(
            f"`{folder}` has no `{REPORT}` that can be read, so it is no folder of a finished run. Give the folder "
            f"`output_dir` of a finished run, or run the same command again until it ends."
        )
    files = _files(path)
    table, features = _table_of([file for of in files.values() for file in of], path)
    numbers = _Numbers(table)
    splits = {split: sum(map(numbers.add, of)) for split, of in files.items()}
    if splits and sum(splits.values()) != report.get("rows"):
        raise UserError(
            f"`{folder}` holds {sum(splits.values())} rows, and its report speaks of {report.get('rows')}: they are "
            f"of different runs. Run the same command again."
        )
    read = report["settings"].get("input", {})
    known = [read["source"]] if read.get("revision") and is_repo(read.get("source")) else []
    return DatasetFacts(
        repo_id=repo_id,
        config=config,
        table=table.name,
        splits=splits,
        sizes={split: sum(map(_size, of)) for split, of in files.items()},
        features=features,
        sources=numbers.named(),
        report=public_report(report),
        license=license,
        language=tuple(language),
        source_datasets=tuple(dict.fromkeys([*source_datasets, *known])),
        **numbers.spreads(),
    )


def _files(folder: Path) -> dict[str, list[Path]]:
    """The parquet files of each split, `train` first."""
    found: dict[str, list[Path]] = {}
    for file in sorted((folder / "data").glob("*.parquet")):
        if match := _FILE.fullmatch(file.name):
            found.setdefault(match["split"], []).append(file)
    if not found:
        raise UserError(f"`{folder}` has no rows: there is no `data/SPLIT-*.parquet`. Run the same command again.")
    return {split: found[split] for split in sorted(found, key=lambda split: (split != "train", split))}


def _table_of(files: Sequence[Path], folder: Path) -> tuple[Table, list[Any]]:
    import pyarrow.parquet as pq
    from datasets import Features

    schemas = {file: pq.read_schema(file) for file in files}
    names = set(schemas[files[0]].names)
    table = next((one for one in (PAIRS, PREFIXES) if set(one.columns) <= names), None)
    if table is None or any(set(schema.names) != names for schema in schemas.values()):
        raise UserError(
            f"`{folder}` holds neither PREFIXES nor PAIRS: its columns are {listed(sorted(names))}. Give the folder "
            f"of a run that has written one of these tables."
        )
    return table, Features.from_arrow_schema(schemas[files[0]])._to_yaml_list()


class _Numbers:
    """What the table's rows come to, file by file."""

    def __init__(self, table: Table) -> None:
        self._pairs = table is PAIRS
        self._columns = _READ[table.name]
        self._sources: Counter[str] = Counter()
        self._parts: list[dict[str, np.ndarray]] = []

    def add(self, file: Path) -> int:
        """Count a file's rows."""
        import pyarrow.parquet as pq

        rows = pq.read_table(file, columns=list(self._columns))
        self._sources.update("not known" if name is None else name for name in rows["source"].to_pylist())
        part = {name: _floats(rows[name]) for name in self._columns if name not in ("status", "source")}
        status = np.array(rows["status"].to_pylist(), dtype=str)
        part["found"] = np.isin(status, _FOUND[self._pairs])
        self._parts.append(part)
        return int(rows.num_rows)

    def named(self) -> dict[str, int]:
        """Where the rows come from, the most frequent first."""
        counts = sorted(self._sources.items(), key=lambda item: (-item[1], item[0]))
        rest = sum(count for _, count in counts[_MOST_SOURCES:])
        found: dict[str, int] = public(dict(counts[:_MOST_SOURCES]))
        return found | ({f"{len(counts) - _MOST_SOURCES} others": rest} if rest else {})

    def spreads(self) -> dict[str, Spread | None]:
        """Of what was found or cut by a rule, or kept: a fallback to the whole trace is no finding."""
        of = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        found = of["found"].astype(bool)
        before, prefix = of["trace_tokens"], of["prefix_tokens"]
        after = prefix + of["tokens"] if self._pairs else prefix
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = prefix / after if self._pairs else of["prefix_ratio"]
        known = found & np.isfinite(before) & np.isfinite(after)
        both = np.concatenate([before[known], after[known]])
        most = _round(float(both.max())) if len(both) else 1.0
        return {
            "ratio": Spread.of(ratio[found & np.isfinite(ratio)], 1.0),
            "before": Spread.of(before[known], most),
            "after": Spread.of(after[known], most),
        }


def _size(file: Path) -> int:
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(file)
    return sum(metadata.row_group(at).total_byte_size for at in range(metadata.num_row_groups))


def _floats(column: "pa.ChunkedArray") -> np.ndarray:
    """Numbers, with nan where there is none."""
    import pyarrow as pa

    found: np.ndarray = column.cast(pa.float64()).to_numpy()
    return found


def _round(most: float) -> float:
    """The next number whose quarters are whole and short: where an axis ends well."""
    step = 4 * 10 ** max(0.0, np.floor(np.log10(max(most, 1.0))) - 1)
    return float(max(_BINS, np.ceil(most / step) * step))
