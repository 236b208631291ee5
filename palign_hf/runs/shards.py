"""The files of a run: rows are written as they end, published when all are there, and never over another run's.

Each process does its contiguous shard. While it works, its rows go into small finished parquet files in the hidden
folder `.run` of the output, so a run which breaks keeps what it has written, and the same run goes on behind them. At
the end each shard becomes one parquet file under the Hub's own naming, and `load_dataset` reads the folder back joined
in order. What another run has left in the folder is refused in words, unless it may be replaced.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError


if TYPE_CHECKING:
    import pyarrow as pa

# A part is closed after so many rows or so much time, whichever comes first: a slow student loses little, either.
PART_ROWS = 1000
_PART_S = 60.0
REPORT = "report.json"


@dataclass(frozen=True)
class Shard:
    """Which part of the rows this process does."""

    index: int = 0
    count: int = 1

    @property
    def file_name(self) -> str:
        """The Hub's own name for this part of the split."""
        return f"train-{self.index:05d}-of-{self.count:05d}.parquet"


class Output:
    """A run's folder. `identity` is what makes two runs the same one: fingerprints of settings and of input rows."""

    def __init__(self, folder: str | Path, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder).expanduser()
        self.identity = dict(identity)

    @property
    def data(self) -> Path:
        """Where published shards lie."""
        return self.folder / "data"

    @property
    def _work(self) -> Path:
        return self.folder / ".run"

    def claim(self, replace: bool = False) -> None:
        """Refuse a folder that holds something else than this run's own result, finished or begun."""
        held = self._held()
        if held is None or replace:
            return
        if held != self.identity:
            raise UserError(
                f"`output={self.folder}` holds {_told(held, self.identity)}. Give another folder, or replace it with "
                f"`replace=true`."
            )

    def shard(
        self, shard: Shard, schema: "pa.Schema", again: Callable[[Mapping[str, Any]], bool], rows: int = PART_ROWS
    ) -> "ShardFile":
        """This process's file; a part with a row that is to be done `again` is done again, with those behind it."""
        return ShardFile(self._work / shard.file_name.removesuffix(".parquet"), self.identity, schema, again, rows)

    def publish(self, count: int) -> tuple[list[Path], list[dict[str, Any]]]:
        """Join what `count` shards have written; the files, and the notes of all parts."""
        shards = [Shard(index, count) for index in range(count)]
        parts = [_Parts(self._work / shard.file_name.removesuffix(".parquet")) for shard in shards]
        for shard, of_shard in zip(shards, parts, strict=True):
            made_by = of_shard.identity() if of_shard.ended() else None
            if made_by is None:
                raise UserError(
                    f"The rows of process {shard.index} are not in `{self.folder}`: all processes must write to the "
                    f"same folder. Give an `output` that all machines share, and run the same command again."
                )
            if made_by != self.identity:
                raise UserError(
                    f"Process {shard.index} ran with other settings or rows than process 0 "
                    f"({_told(made_by, self.identity)}), so their rows don't belong together. Start all of them with "
                    f"the same recipe and the same files."
                )
        self.data.mkdir(parents=True, exist_ok=True)
        for shard, of_shard in zip(shards, parts, strict=True):
            of_shard.join(self.data / f".{shard.file_name}")
        # Only now, so that an interrupted run leaves the files of the one before as they are.
        for stale in self.data.glob("train-*.parquet"):
            stale.unlink()
        files = [self.data / shard.file_name for shard in shards]
        for file in files:
            file.with_name(f".{file.name}").rename(file)
        return files, [note for of_shard in parts for note in of_shard.notes()]

    def end(self, report: Mapping[str, Any]) -> None:
        """Write the report, which names the run, and clear away what was needed on the way."""
        told = dict(report) | {"run": self.identity}
        write_whole(self.folder / REPORT, json.dumps(told, sort_keys=True, ensure_ascii=False) + "\n")
        shutil.rmtree(self._work, ignore_errors=True)
        for left in self.data.glob(".train-*"):
            left.unlink()

    def _held(self) -> dict[str, Any] | None:
        """The identity of what lies in the folder; None if nothing does."""
        report = self.folder / REPORT
        if report.is_file():
            try:
                told = json.loads(report.read_text(encoding="utf-8"))
            except ValueError:
                return {"fingerprint": f"unknown: `{report}` can't be read"}
            if "run" in told:
                return dict(told["run"])
            # The first release named the settings, and counted the rows.
            held = {"fingerprint": told.get("settings", {}).get("fingerprint"), "rows": told.get("rows")}
            same = all(value == self.identity.get(name) for name, value in held.items())
            return self.identity if same else held
        if any(self.data.glob("*.parquet")) and not self._work.exists():
            return {"fingerprint": "unknown: files without a report"}
        return None


class ShardFile:
    """One process's rows on their way into files; `done` were written by an earlier try of the same run."""

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        schema: "pa.Schema",
        again: Callable[[Mapping[str, Any]], bool],
        rows: int = PART_ROWS,
    ) -> None:
        self._parts = _Parts(folder)
        if self._parts.identity() != dict(identity):
            self._parts.clear(identity)
        self._schema, self._rows = schema, rows
        self.done = self._parts.keep(again)

    def write(self, rows: Iterable[Mapping[str, Any]], note: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Write rows as they come, a part at a time; `note()` is kept with each part (what it has cost)."""
        import pyarrow as pa

        waiting: list[Mapping[str, Any]] = []
        began = time.monotonic()

        def close_part() -> None:
            nonlocal began
            if waiting:
                self._parts.add(pa.Table.from_pylist(waiting, schema=self._schema), note())
                waiting.clear()
            began = time.monotonic()

        try:
            for row in rows:
                waiting.append(row)
                if len(waiting) >= self._rows or time.monotonic() - began >= _PART_S:
                    close_part()
        finally:
            # Also where the rows break off: what has ended is kept.
            close_part()
        self._parts.end(self._schema)


class _Parts:
    """The finished parquet files of one shard, in the order of their numbers, each with a note beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identity(self) -> dict[str, Any] | None:
        """Whose they are."""
        try:
            return dict(json.loads((self._folder / "run.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None

    def clear(self, identity: Mapping[str, Any]) -> None:
        """Begin from nothing."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        write_whole(self._folder / "run.json", json.dumps(dict(identity)))

    def keep(self, again: Callable[[Mapping[str, Any]], bool]) -> int:
        """Keep the parts up to the first one with a row to be done again; how many rows they hold.

        Their notes say from now on that they are of an `earlier` try.
        """
        import pyarrow.parquet as pq

        (self._folder / "end.json").unlink(missing_ok=True)
        files, rows = self._files(), 0
        for at, file in enumerate(files):
            table = pq.read_table(file)
            if any(map(again, table.to_pylist())):
                for left in files[at:]:
                    left.unlink()
                break
            rows += len(table)
            note = file.with_suffix(".json")
            told = json.loads(note.read_text(encoding="utf-8"))
            write_whole(note, json.dumps(told | {"earlier": True}, sort_keys=True))
        for left in self._folder.glob(".*"):
            left.unlink()
        return rows

    def add(self, table: "pa.Table", note: Mapping[str, Any]) -> None:
        """One more part: the note first, so that no part is without."""
        import pyarrow.parquet as pq

        number = len(self._files())
        write_whole(self._folder / f"{number:06d}.json", json.dumps(dict(note), sort_keys=True))
        unfinished = self._folder / f".{number:06d}.{os.getpid()}"
        pq.write_table(table, unfinished)
        unfinished.rename(self._folder / f"{number:06d}.parquet")

    def end(self, schema: "pa.Schema") -> None:
        """All rows are there; a shard without any has a part without rows."""
        if not self._files():
            self.add(schema.empty_table(), {})
        write_whole(self._folder / "end.json", "{}")

    def ended(self) -> bool:
        """Whether all rows are there."""
        return (self._folder / "end.json").exists()

    def notes(self) -> list[dict[str, Any]]:
        """What was noted of the parts."""
        return [json.loads(file.with_suffix(".json").read_text(encoding="utf-8")) for file in self._files()]

    def join(self, file: Path) -> None:
        """All parts as one file, in row groups as large as the parts may be."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        def tables() -> Iterator["pa.Table"]:
            return (pq.read_table(part) for part in self._files())

        waiting: list[pa.Table] = []
        with pq.ParquetWriter(file, next(tables()).schema) as writer:
            for table in tables():
                waiting.append(table)
                if sum(map(len, waiting)) >= PART_ROWS:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            if waiting:
                writer.write_table(pa.concat_tables(waiting))

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.parquet"))


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing: a reader never sees half a file."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(path)


def _told(held: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What differs between two runs, by name."""
    names = [name for name in {**wanted, **held} if held.get(name) != wanted.get(name)]
    differences = ", ".join(f"{name} `{held.get(name)}` instead of `{wanted.get(name)}`" for name in names)
    return f"the result of another run: {differences}"
