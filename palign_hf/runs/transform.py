"""A transform as a run: one process's shard of its rows, in files that outlive a crash, and the report of all shards.

Every answer is in the ledger before it is used and every finished row in a part of the shard, so a run that was
interrupted resumes when the same command is given again, also with another number of processes. A stage declares which
table it writes, what all processes must know alike, and how the result is reported.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from palign_hf.config.resolve import Uncalled
from palign_hf.errors import UserError
from palign_hf.generation.jobs import plain_rows
from palign_hf.generation.settings import AskingSettings
from palign_hf.generation.transform import StudentTransform
from palign_hf.redact import redacted
from palign_hf.runs.claims import TABLES
from palign_hf.runs.launch import Ending
from palign_hf.runs.report import Timings, commit_of, content_of, made_now
from palign_hf.runs.shards import PAGE, REPORT, OutputFolder, Shard
from palign_hf.schema import Table


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

T = TypeVar("T", bound=StudentTransform[Any, Any])
R = TypeVar("R", bound="RunReport")


class Files(Protocol):
    """Settings about the files of a run."""

    @property
    def overwrite(self) -> bool:
        """Whether the result of another run may be replaced."""

    @property
    def batch_size(self) -> int:
        """Rows that are written together."""

    @property
    def folder(self) -> Path:
        """Where the result and the report go."""


class RunReport(Protocol):
    """A report as a run ends with it."""

    @property
    def failed(self) -> int:
        """Rows that failed: a run with any of them has not succeeded."""

    def as_dict(self) -> dict[str, Any]: ...

    def text(self) -> str: ...

    def page(self) -> str: ...


class TransformRun(ABC, Generic[T, R]):
    """One process's part: the transform, the rows, and the files. Nothing is loaded that needs an engine."""

    table: Table
    writes: Sequence[str] = TABLES
    transform: T
    rows: "Dataset"
    report: R

    def __init__(self, files: Files) -> None:
        self.files, self.timings = files, Timings()

    def opened(self, columns: Iterable[str], unknown: Collection[str] = ()) -> None:
        """To be called when transform and rows are there: the files are claimed for their result.

        `columns` are those that the result is made from, `unknown` what of its identity will be known later.
        """
        self.input = {"rows": len(self.rows), "content": content_of(self.rows, columns)}
        if any(isinstance(one, Uncalled) for one in vars(self.transform).values()):
            unknown = {*unknown, "fingerprint"}
        self.output().claim(self.files.overwrite, unknown)
        self.timings.lap("reading")

    @abstractmethod
    def reported(self, files: list[Path], notes: list[dict[str, Any]], settings: dict[str, Any]) -> R:
        """The report of the published files."""

    @abstractmethod
    def source(self) -> tuple[str, str | None]:
        """Where the rows come from, and the revision that was asked for."""

    @abstractmethod
    def words(self) -> list[str]:
        """The last lines of a run, between the report and its path."""

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same one."""
        return {"fingerprint": self.transform.fingerprint} | self.input

    def output(self) -> OutputFolder:
        """The files of this run."""
        return OutputFolder(self.files.folder, self.identity(), self.writes)

    def agree(self) -> Any:
        """What all processes must have in common."""
        return {"identity": self.identity()}

    def adopt(self, agreed: Any) -> None:
        """Take what was agreed on."""

    def splits(self, count: int) -> "Mapping[str, Callable[[pa.Table], pa.Table]] | None":
        """Which rows of the parts go into which split."""
        return None

    def again(self, row: Mapping[str, Any]) -> bool:
        """Whether a row that was written is done again by the next run."""
        return bool(row["status"] == "error")

    def spent(self) -> dict[str, Any]:
        """What the part that is being closed has cost."""
        return dict(self.transform.take_usage().as_dict())

    def work(self, shard: Shard, agreed: Any) -> None:
        """Do this shard's rows and write them as they end."""
        self.adopt(agreed)
        output = self.output()
        if output.identity != agreed["identity"]:
            raise UserError(
                f"Process {shard.index} has other settings or rows than process 0: {output.identity} instead of "
                f"{agreed['identity']}. Give all of them the same recipe, student and data."
            )
        begin, end = shard.range_of(len(self.rows))
        part = output.shard(shard, self.schema, self.again, self.files.batch_size)
        # An empty range anywhere but at the beginning is refused.
        left = self.rows.select(range(begin + part.done, end) if begin + part.done < end else range(0))
        part.write_groups(self.transform.groups(plain_rows(left), len(left)), self._note)
        self.timings.lap("asking")

    def finish(self, count: int) -> Ending:
        """Publish the shards, write the report, and say how it went."""
        output = self.output()
        files, notes = output.publish(count, self.splits(count))
        engines = sorted({note["engine"] for note in notes if note.get("engine")})
        self.timings.lap("writing")
        self.report = self.reported(files, notes, self.settings() | {"engines": engines})
        output.end(self.report.as_dict(), self.report.page())
        lines = [self.report.text(), *self.words()]
        lines.append(f"report:   {output.folder / REPORT}, {output.folder / PAGE}")
        if self.report.failed:
            lines.append(
                f"{self.report.failed} row{'s' if self.report.failed > 1 else ''} failed, for the reasons above. The "
                f"same command asks those again that got no answer."
            )
        return Ending("\n".join(lines), self.report.failed)

    @property
    def schema(self) -> "pa.Schema":
        """The columns of the result."""
        return self.table.features.arrow_schema

    def settings(self) -> dict[str, Any]:
        """What made the result: for the report."""
        where, revision = self.source()
        transform, engine = self.transform, self.transform.settings.engine
        return (
            transform.describe()
            | {
                "fingerprint": transform.fingerprint,
                "input": {"source": where, "revision": commit_of(self.rows) or revision} | self.input,
                "engine": engine if isinstance(engine, str) else transform.runner.engine_name,
                "engine_options": _shareable(transform.settings.engine_options),
            }
            | made_now(self.timings)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.transform.close()

    def _note(self) -> dict[str, Any]:
        """What the part that is being closed has cost, and who answered."""
        engine = self.transform.engine_identity
        return {"usage": self.spent(), "engine": None if engine is None else engine.label}


def costs(kind: type[Any], notes: Iterable[Mapping[str, Any]], now_only: Collection[str]) -> Any:
    """What all parts have cost; what an earlier try of the run has asked (`now_only`) wasn't asked now."""
    total = kind()
    for note in notes:
        if "usage" in note:
            usage = dict(note["usage"])
            if note.get("earlier"):
                usage |= dict.fromkeys(now_only, 0)
            total = total + kind(**usage)
    return total


def runner_arguments(settings: AskingSettings) -> dict[str, Any]:
    """The arguments of the `StudentRunner` that these settings describe, for a forecast."""
    engine = settings.engine
    if not isinstance(engine, str):
        return {
            "student": engine.student.name,
            "revision": engine.student.commit,
            "engine": engine.engine_name,
            "engine_options": engine.engine_options,
            "max_model_len": engine.given_max_model_len,
            "trust_remote_code": engine.trust_remote_code,
        }
    names = ("student", "revision", "engine", "engine_options", "max_model_len", "trust_remote_code")
    return {name: getattr(settings, name) for name in names}


def _shareable(options: Mapping[str, Any]) -> dict[str, Any]:
    """Engine options as a report may show them: no headers, which can hold a key, and nothing but plain data."""
    return {
        name: value if isinstance(value, int | float | str) else str(value)
        for name, value in redacted(options).items()
        if name != "headers"
    }
