"""The finished parquet files of one shard while its run lasts: what is there is whole, in order, and counted once.

A part is a file that was renamed when it was complete, with a note beside it that was written before. Parts are
numbered without a gap: one that is missing, or that the machine has lost half of, ends what is kept.
"""

import errno
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError


if TYPE_CHECKING:
    import pyarrow as pa


class Parts:
    """The parts of one shard."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def identity(self) -> dict[str, Any] | None:
        """Whose they are."""
        return read_mapping(self._folder / "run.json")

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Hold them alone as long as this process writes, and begin from nothing if they are another run's."""
        no_link(self._folder.parent)
        no_link(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        for one in self._folder.iterdir():
            no_link(one)
        self._hold()
        if self.identity() == dict(identity):
            return
        # First of all, so that nobody takes what is left of them for whole.
        (self._folder / "run.json").unlink(missing_ok=True)
        for left in _own(self._folder):
            if left.name != _LOCK:
                left.unlink()
        write_whole(self._folder / "run.json", json.dumps(dict(identity)))

    def release(self) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def keep(self, again: Callable[[Mapping[str, Any]], bool]) -> int:
        """Keep the parts up to the first one with a row to be done again; how many inputs their rows are of.

        Their notes say from now on that they are of an `earlier` try.
        """
        (self._folder / "end.json").unlink(missing_ok=True)
        kept = inputs = 0
        for at, file in enumerate(self._files()):
            found = _rows_of(file)
            if found is None or file.name != _name(at) or any(map(again, found)):
                break
            # Without that in its note a part has a row an input.
            done = (read_mapping(file.with_suffix(".json")) or {}).get("inputs", len(found))
            kept, inputs = kept + 1, inputs + done
        # From the end, so that an interrupt leaves no gap.
        for file in reversed(self._files()[kept:]):
            file.unlink()
            file.with_suffix(".json").unlink(missing_ok=True)
        for left in _own(self._folder):
            if left.name.startswith("."):
                left.unlink()
        for note in (file.with_suffix(".json") for file in self._files()):
            own = read_mapping(note) or {}
            write_whole(note, json.dumps(own | {"earlier": True}, sort_keys=True))
        return inputs

    def add(self, table: "pa.Table", note: Mapping[str, Any]) -> None:
        """One more part: the note first, so that no part is without."""
        import pyarrow.parquet as pq

        file = self._folder / _name(len(self._files()))
        write_whole(file.with_suffix(".json"), json.dumps(dict(note), sort_keys=True))
        with whole(file) as unfinished:
            pq.write_table(table, unfinished)

    def end(self, schema: "pa.Schema") -> None:
        """All rows are there; a shard without any has a part without rows."""
        if not self._files():
            self.add(schema.empty_table(), {})
        write_whole(self._folder / "end.json", "{}")

    def ended(self) -> bool:
        """Whether all rows are there."""
        return (self._folder / "end.json").exists()

    def notes(self) -> list[dict[str, Any]]:
        """What was noted of the parts by those who wrote them."""
        notes = (json.loads(file.with_suffix(".json").read_text(encoding="utf-8")) for file in self._files())
        return [{name: value for name, value in note.items() if name != "inputs"} for note in notes]

    def tables(self, columns: list[str] | None = None) -> Iterator["pa.Table"]:
        """What the parts hold, one after the other."""
        import pyarrow.parquet as pq

        return (pq.read_table(part, columns=columns) for part in self._files())

    def join(self, file: Path, rows: int, some: "Callable[[pa.Table], pa.Table]") -> int:
        """`some` of all parts as one file, in row groups of at least that many rows; how many rows it has."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        waiting: list[pa.Table] = []
        written = 0
        with whole(file) as unfinished, pq.ParquetWriter(unfinished, next(self.tables()).schema) as writer:
            for table in self.tables():
                waiting.append(some(table))
                written += len(waiting[-1])
                if sum(map(len, waiting)) >= rows:
                    writer.write_table(pa.concat_tables(waiting))
                    waiting = []
            # A row group without rows could not be read again: `datasets` reads by the size of the first.
            if any(map(len, waiting)):
                writer.write_table(pa.concat_tables(waiting))
        return written

    def _files(self) -> list[Path]:
        return sorted(path for path in self._folder.glob("*.parquet") if _NUMBERED.fullmatch(path.name))

    def _hold(self) -> None:
        """Two runs that write the same parts would mix their rows; a process that dies lets go by itself.

        By the kind of lock that children don't inherit: an engine may outlive this process for a moment.
        """
        try:
            import fcntl
        except ImportError:  # no such locks here
            return
        self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise UserError(
                    f"Another process writes to `{self._folder}` right now. Wait until it has ended, or give another "
                    f"`output_dir`."
                ) from error
            # A file system without locks: then nobody is kept out.


_LOCK = "lock"
_NUMBERED = re.compile(r"\d{6}\.parquet")
_OWN = re.compile(r"\d{6}\.(parquet|json)|\.(\d{6}\.(parquet|json)|(run|end)\.json)\.\d+|(run|end)\.json|lock")


def clear_parts(folder: Path) -> None:
    """Remove the parts of a shard and what lies with them; what isn't theirs stays."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for left in _own(folder):
        left.unlink()
    with suppress(OSError):  # something else lies there
        folder.rmdir()


def _own(folder: Path) -> list[Path]:
    """The files that a shard makes, without links of their names."""
    return [
        path for path in folder.iterdir() if _OWN.fullmatch(path.name) and path.is_file() and not path.is_symlink()
    ]


def no_link(path: Path) -> None:
    """Refuse a link where a run has a file or a folder of its own."""
    if path.is_symlink():
        raise UserError(
            f"`{path}` is a link, and links are not followed where a run writes. Move it away, or give another "
            f"`output_dir`."
        )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that is then all there or not at all: a reader never sees half of it."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield unfinished
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing."""
    with whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def read_mapping(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is none, or something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _name(number: int) -> str:
    return f"{number:06d}.parquet"


def _rows_of(file: Path) -> list[dict[str, Any]] | None:
    """The rows of a part; None if the machine went down before it, or its note, was on the disk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if read_mapping(file.with_suffix(".json")) is None:
        return None
    try:
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    except (pa.ArrowInvalid, OSError):
        return None
    return rows
