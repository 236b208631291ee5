"""The files of a run: rows are written as they end, published when all are there, and never over another run's.

Each process does its contiguous shard. While it works, its rows go into small finished parquet files in the hidden
folder `.run` of the output, so a run which breaks keeps what it has written, and the same run resumes behind them. At
the end each shard becomes one parquet file a split under the Hub's own naming, and `load_dataset` reads the folder
back joined in order. What another run has left in the folder is refused in words, unless it may be replaced; what no
run has left is never replaced (`claims`).

An input may give several rows: they are written together, so that what is done is always whole inputs.
"""

import glob
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config import folder_of
from palign_hf.errors import UserError
from palign_hf.runs.claims import JOINED, TABLES, WORK, WRITTEN, Claim, reported
from palign_hf.runs.parts import Parts, read_mapping, write_whole


if TYPE_CHECKING:
    import pyarrow as pa

# A part is closed after a number of rows or a time, whichever comes first: a slow student loses little, either.
PART_ROWS = 1000
_PART_S = 60.0
REPORT, PAGE = "report.json", "report.md"


@dataclass(frozen=True)
class Shard:
    """Which part of the rows this process does."""

    index: int = 0
    count: int = 1

    @property
    def file_name(self) -> str:
        """The Hub's own name for this part of the usual split."""
        return self.file_of("train")

    def range_of(self, rows: int) -> tuple[int, int]:
        """Where its rows begin and end; nothing, where there are fewer rows than processes."""
        each, more = divmod(rows, self.count)
        begin = each * self.index + min(self.index, more)
        return begin, begin + each + (self.index < more)

    def file_of(self, split: str) -> str:
        """The Hub's own name for this part of a split."""
        return f"{split}-{self.index:05d}-of-{self.count:05d}.parquet"


class OutputFolder:
    """A run's folder.

    Args:
        folder (`str` or `Path`): where the result goes.
        identity (`Mapping`): what makes two runs the same one: fingerprints of settings and of input rows.
        writes (`Sequence[str]`): patterns of the files that the run may write.
    """

    def __init__(self, folder: str | Path, identity: Mapping[str, Any], writes: Sequence[str] = TABLES) -> None:
        self.folder = folder_of(folder)
        self.identity = dict(identity)
        self.files = Claim(self.folder, writes)

    @property
    def data(self) -> Path:
        """Where published shards lie."""
        return self.folder / "data"

    @property
    def _work(self) -> Path:
        return self.folder / WORK

    def claim(self, overwrite: bool = False, unknown: Collection[str] = ()) -> None:
        """Refuse a folder that holds a result which isn't this run's own; what another has only begun is no result.

        `unknown` are names of the identity that will be known later, and are not compared yet. With `overwrite` the
        result of another run may be there, but nothing that no run has written.
        """
        self.files.check(lambda begun: not difference(begun, self.identity, unknown))
        if overwrite:
            return
        held = difference(self._reported() or self.files.published_by() or {}, self.identity, unknown)
        if held:
            raise UserError(
                f"`output_dir={self.folder}` holds {held}. Give another folder, or replace it with `overwrite=True`."
            )

    def shard(
        self, shard: Shard, schema: "pa.Schema", again: Callable[[Mapping[str, Any]], bool], rows: int = PART_ROWS
    ) -> "ShardFile":
        """This process's file; a part with a row that is to be done `again` is done again, with those behind it."""
        self.mark()
        return ShardFile(self._parts(shard), self.identity, schema, again, rows)

    def mark(self) -> None:
        """Claim the folder for runs of this package, before anything else is written there."""
        self.files.mark(self.identity, lambda begun: not difference(begun, self.identity))

    def tables(self, count: int, columns: list[str] | None = None) -> "Iterator[pa.Table]":
        """What `count` shards have written so far, in order and a part at a time."""
        for index in range(count):
            yield from self._parts(Shard(index, count)).tables(columns)

    def publish(
        self, count: int, splits: "Mapping[str, Callable[[pa.Table], pa.Table]] | None" = None
    ) -> tuple[list[Path], list[dict[str, Any]]]:
        """Join what `count` shards have written; the files, and the notes of all parts.

        `splits` says for each split which rows of a table are its own; by default all are of one. A split to which no
        row belongs has no files.
        """
        splits = splits or {"train": lambda table: table}
        shards = [Shard(index, count) for index in range(count)]
        parts = [self._parts(shard) for shard in shards]
        for shard, of_shard in zip(shards, parts, strict=True):
            made_by = of_shard.identity() if of_shard.ended() else None
            if made_by is None:
                raise UserError(
                    f"The rows of process {shard.index} are not in `{self.folder}`: all processes must write to the "
                    f"same folder. Give an `output_dir` that all machines share, and run the same command again."
                )
            if made_by != self.identity:
                raise UserError(
                    f"Process {shard.index} ran with other settings or rows than process 0 "
                    f"({difference(made_by, self.identity)}), so their rows don't belong together. Start all of them "
                    f"with the same recipe and the same files."
                )
        joined = self.files.staging(JOINED)
        written: Counter[str] = Counter()
        for shard, of_shard in zip(shards, parts, strict=True):
            for split, some in splits.items():
                written[split] += of_shard.join(joined / shard.file_of(split), PART_ROWS, some)
        # A split without any rows is none: no reader of a table would take it.
        filled = [split for split in splits if written[split]] or list(splits)[:1]
        made = {f"data/{shard.file_of(split)}": shard.file_of(split) for split in filled for shard in shards}
        before = self.files.begin(self.identity, made)
        # Only now, so that an interrupted run leaves the files of the one before as they are. A report goes first:
        # it must not speak of other rows than those beside it.
        if self._reported() != self.identity:
            self.files.remove([REPORT])
            self.files.remove(before)
        self.files.remove(name for name in before if name.startswith("data/"))
        self.files.move({name: joined / file for name, file in made.items()})
        files = [self.folder / name for name in made]
        return files, [note for of_shard in parts for note in of_shard.notes()]

    def end(self, report: Mapping[str, Any], page: str | None = None) -> None:
        """Write the report, which names the run and its files, and clear away what was needed on the way.

        `page` is the report as Markdown.
        """
        if page is not None:
            self.files.note(PAGE)
            write_whole(self.folder / PAGE, page)
        whole = dict(report) | {"run": self.identity, WRITTEN: self.files.settle()}
        write_whole(self.folder / REPORT, json.dumps(whole, sort_keys=True, ensure_ascii=False) + "\n")
        self.files.end()

    def _parts(self, shard: Shard) -> Parts:
        return Parts(self._work / shard.file_name.removesuffix(".parquet"))

    def _reported(self) -> dict[str, Any] | None:
        """The identity that the report names; None if it can't be read."""
        held = read_mapping(self.folder / REPORT)
        return None if held is None else reported(held)


class ShardFile:
    """One process's rows on their way into files; `done` inputs were written by an earlier try of the same run."""

    def __init__(
        self,
        parts: Parts,
        identity: Mapping[str, Any],
        schema: "pa.Schema",
        again: Callable[[Mapping[str, Any]], bool],
        rows: int = PART_ROWS,
    ) -> None:
        self._parts = parts
        self._parts.claim(identity)
        self._schema, self._rows = schema, rows
        self.done = self._parts.keep(again)

    def write(self, rows: Iterable[Mapping[str, Any]], note: Callable[[], Mapping[str, Any]] = dict) -> None:
        """Write rows as they come, one an input; `note()` is kept with each part of them (what it has cost)."""
        self.write_groups(([row] for row in rows), note)

    def write_groups(
        self, groups: Iterable[Sequence[Mapping[str, Any]]], note: Callable[[], Mapping[str, Any]] = dict
    ) -> None:
        """The same for inputs that give several rows each, or none: those of one input are always in one part."""
        import pyarrow as pa

        waiting: list[Sequence[Mapping[str, Any]]] = []
        count = 0
        began = time.monotonic()

        def close_part() -> None:
            nonlocal began, count
            # Taken out before they are written: an interrupt in between must not have them written twice.
            groups, waiting[:], count = list(waiting), (), 0
            if groups:
                table = pa.Table.from_pylist([row for group in groups for row in group], schema=self._schema)
                self._parts.add(table, {**note(), "inputs": len(groups)})
            began = time.monotonic()

        try:
            try:
                for group in groups:
                    waiting.append(group)
                    count += len(group)
                    if count >= self._rows or time.monotonic() - began >= _PART_S:
                        close_part()
            finally:
                # Also where the rows break off: what has ended is kept.
                close_part()
            self._parts.end(self._schema)
        finally:
            self._parts.release()


def load_code(folder: Path, split: str) -> str:
    """The Python that reads a split of a run's folder; to `datasets` a bracket in its name would be a pattern."""
    if not glob.has_magic(str(folder)):
        return f"load_dataset({str(folder)!r}, split={split!r})"
    files = f"{glob.escape(str(folder))}/data/{split}-*"
    return f"load_dataset('parquet', data_files={{{split!r}: {files!r}}}, split={split!r})"


def difference(held: Mapping[str, Any], wanted: Mapping[str, Any], unknown: Collection[str] = ()) -> str:
    """What differs between two runs, by name; nothing if they are the same in all that is known."""
    names = [
        name for name in {**wanted, **held} if name not in unknown and name in held and held[name] != wanted.get(name)
    ]
    differences = ", ".join(f"{name} `{held.get(name)}` instead of `{wanted.get(name)}`" for name in names)
    return differences and f"the result of another run: {differences}"
