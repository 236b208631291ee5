"""Truncation as a stage that is started: a recipe's settings, one process's shard of it, and the report at the end.

Every answer is in the ledger before it is used and every finished row in a part of the shard, so a run that was
interrupted goes on when the same command is given again, also with another number of processes.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from palign_hf.config import check_folder, check_settings, setting
from palign_hf.errors import UserError
from palign_hf.runs.launch import Ending
from palign_hf.runs.parts import write_whole
from palign_hf.runs.provenance import Timings, command, commit_of, content_of, now, versions
from palign_hf.runs.shards import REPORT, Output, Shard
from palign_hf.schema import PREFIXES, TRACES, check
from palign_hf.traces import read_traces
from palign_hf.traces.layouts import check_named
from palign_hf.truncation.forecast import forecast
from palign_hf.truncation.report import Report
from palign_hf.truncation.search import Ascend, make_search
from palign_hf.truncation.settings import TruncationSettings
from palign_hf.truncation.transform import PrefixTruncation
from palign_hf.truncation.usage import Usage


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class TraceSettings:
    """Where the teacher traces come from: the arguments of `load_traces`."""

    source: str = setting(help="Hub id, file, folder or glob of the teacher traces")
    known: str | None = setting(default=None, help="name of a known layout, if it isn't recognised")
    columns: dict[str, str] | None = setting(default=None, help="column map, as {question: problem}")
    name: str | None = setting(default=None, help="what to write in the `source` column")
    split: str | None = setting(default=None, help="split to read")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")
    limit: int | None = setting(default=None, least=1, help="read only so many rows")
    content_ids: bool = setting(default=False, help="make ids from the content")

    def __post_init__(self) -> None:
        check_settings(self)
        check_named(self.columns or {}, self.known)


@dataclass(eq=False, repr=False, kw_only=True)
class TruncateConfig(TruncationSettings):
    """Everything a truncation recipe may say."""

    traces: TraceSettings = setting(help="where the teacher traces come from")
    output: str | None = setting(
        default=None, help="folder for the prefixes and the report; else runs/STUDENT/prefixes"
    )
    replace: bool = setting(default=False, help="write over the result of another run")
    batch_size: int = setting(
        default=1000, least=1, help="rows that are written together, as a part that outlives a crash"
    )
    pilot: int | None = setting(
        default=None, least=1, help="rows on which the prior of the search is estimated first, once for all processes"
    )
    pilot_seed: int = setting(default=0, help="which rows the pilot takes")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder("output", str(self.folder), written=True)
        if self.pilot is not None and not isinstance(self.search, Ascend):
            raise UserError(
                f"`pilot={self.pilot}` estimates a prior, and the search `{make_search(self.search).name}` has none. "
                f"Leave `pilot` out, or take `search=ascend`."
            )

    @property
    def folder(self) -> Path:
        """Where the prefixes and the report go."""
        return Path(self.output or f"runs/{Path(self.student).name.lower()}/prefixes").expanduser()


class TruncateRun:
    """One process's part: the transform, the traces, and the files. Nothing is loaded that needs an engine."""

    def __init__(self, config: TruncateConfig, shown: bool = True) -> None:
        """`shown` is whether this process may say anything: of several, only the first."""
        self.config = config
        self.timings = Timings()
        given = {one.name: getattr(config, one.name) for one in fields(TruncationSettings)}
        # The recipe's criterion is made by now, with its template and verdict in it.
        given |= {"verdict": "margin", "judge_template": None, "progress": config.progress if shown else False}
        self.truncation = PrefixTruncation(**given)
        self.truncation.check()
        self.traces = recipe_traces(config.traces, shown)
        self._input = {"rows": len(self.traces), "content": content_of(self.traces, TRACES.columns)}
        self._asked_by_pilot = 0
        # The pilot's prior will change the fingerprint; what is known by now is looked at before it asks.
        self._output().claim(config.replace, unknown=["fingerprint"] if config.pilot else ())
        self.timings.lap("reading")

    def agree(self) -> dict[str, Any]:
        """The pilot's prior as a search, and what all processes must have in common."""
        if self.config.pilot:
            first = self.truncation
            self.truncation = first.with_pilot(self.traces, self.config.pilot, self.config.pilot_seed)
            self._asked_by_pilot = first.usage.asked
            self._output().claim(self.config.replace)
            self.timings.lap("pilot")
        search = self.truncation.search
        assert not isinstance(search, str | dict)
        return {"search": search.describe(), "identity": self._output().identity}

    def work(self, shard: Shard, agreed: Any) -> None:
        """Search this shard's rows and write them as they end."""
        self.truncation = self.truncation.with_search(agreed["search"])
        output = self._output()
        if output.identity != agreed["identity"]:
            raise UserError(
                f"Process {shard.index} has other settings or rows than process 0: {output.identity} instead of "
                f"{agreed['identity']}. Give all of them the same recipe, student and traces."
            )
        rows = self.traces.shard(shard.count, shard.index, contiguous=True)
        part = output.shard(
            shard, PREFIXES.features.arrow_schema, lambda row: row["status"] == "error", self.config.batch_size
        )
        left = rows.select(range(part.done, len(rows)))
        part.write(self.truncation.stream(_plain(left), len(left)), self._note)
        self.timings.lap("searching")

    def finish(self, count: int) -> Ending:
        """Publish the shards, write the report, and say how it went."""
        from datasets import load_dataset

        output = self._output()
        files, notes = output.publish(count)
        usage = sum((_cost(note) for note in notes if "usage" in note), Usage())
        engines = sorted({note["engine"] for note in notes if note.get("engine")})
        prefixes: Any = load_dataset("parquet", data_files={"train": [str(file) for file in files]}, split="train")
        self.timings.lap("writing")
        self.report = report = Report.of(prefixes, usage, self._settings() | {"engines": engines})
        output.end(report.as_dict())
        write_whole(output.folder / "report.md", report.page())
        return Ending(closing_words(output.folder, report), report.failed)

    def __enter__(self) -> "TruncateRun":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.truncation.close()

    def _output(self) -> Output:
        return Output(self.config.folder, {"fingerprint": self.truncation.fingerprint} | self._input)

    def _note(self) -> dict[str, Any]:
        """What the part that is being closed has cost, and who answered."""
        engine = self.truncation.engine_identity
        told = None if engine is None else f"{engine.name} {engine.version} ({engine.dtype})"
        usage = self.truncation.take_usage() + Usage(asked=self._asked_by_pilot)
        self._asked_by_pilot = 0
        return {"usage": usage.as_dict(), "engine": told}

    def _settings(self) -> dict[str, Any]:
        source = self.config.traces
        return self.truncation.describe() | {
            "fingerprint": self.truncation.fingerprint,
            "input": {"source": source.source, "revision": commit_of(self.traces) or source.revision} | self._input,
            "engine": self.config.engine,
            "engine_options": _shareable(self.config.engine_options),
            "command": command(),
            "date": now(),
            "seconds": self.timings.as_dict(),
            "versions": versions(),
        }


class TruncateStage:
    """`palign truncate`, and `recipes/truncate.py` under accelerate."""

    name = "truncate"
    settings = TruncateConfig

    def open(self, settings: TruncateConfig, shown: bool = True) -> TruncateRun:
        """Check everything, and read the traces."""
        return TruncateRun(settings, shown)

    def forecast(self, settings: TruncateConfig) -> str:
        """What the run would do and cost; no engine is started and nothing is written."""
        with TruncateRun(settings) as run:
            return forecast(run.truncation, run.traces)


TRUNCATE = TruncateStage()


def closing_words(folder: Path, report: Report) -> str:
    """What a run prints at its end: the table, where things are, what to do next."""
    lines = [
        report.text(),
        f"prefixes: {folder}  (load_dataset({str(folder)!r}, split='train'))",
        f"report:   {folder / REPORT}, {folder / 'report.md'}",
    ]
    if report.failed:
        lines.append(f"{report.failed} rows failed. Their reasons are above; the same command asks them again.")
    return "\n".join(lines)


def recipe_traces(settings: TraceSettings, shown: bool = True) -> "Dataset":
    """The traces that a recipe names; one line on stderr says what became of every row."""
    given = {name: value for name, value in vars(settings).items() if name != "source"}
    dataset, report = read_traces(settings.source, **given)
    if shown:
        sys.stderr.write(report.summary() + "\n")
    check(dataset, TRACES)
    return dataset


def _cost(note: Mapping[str, Any]) -> Usage:
    """What a part has cost; what an earlier try of the run has asked wasn't asked now."""
    usage = Usage(**note["usage"])
    if note.get("earlier"):
        usage.asked = 0
    return usage


def _plain(rows: "Dataset") -> Iterator[Mapping[str, Any]]:
    """Rows as plain values, read a batch at a time."""
    for batch in rows.with_format(None).iter(256):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _shareable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Engine options as a report may show them: no headers, which can hold a key, and nothing but plain data."""
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in options.items()
        if name != "headers"
    }
