"""Durable answer store: one SQLite file (WAL) for each fingerprint; resuming is a replay.

A stage declares its answers (`AnswerTable`: a dataclass, and the fields that name an answer within its problem). An
answer is returned only after it is committed, so `kill -9` loses only what was in flight. The first stored answer
wins: a second process on the same file reads it back instead of its own. Answers of one turn of the event loop share a
commit, which keeps the cost of each at microseconds. Each answer is stored with its engine: name, release, and number
format of the weights.
WAL needs a local disk: on network file systems point `ledger` at one.
"""

import asyncio
import hashlib
import json
import sqlite3
import struct
import time
import types
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from palign_hf.engines.base import EngineIdentity
from palign_hf.errors import shown
from palign_hf.generation.ledger import PATIENCE_S, StoreError, advice, damaged
from palign_hf.redact import redacted


A = TypeVar("A")

# Format 2 names the engine of each answer. A file of format 1 is brought up to it in one transaction when it is opened
# for a run: nothing in it is rewritten, its answers have no engine.
FORMAT = 2
_APPLICATION = 0x70616C67  # "palg", in the header of the file: distinguishes a ledger from other programs' databases
# Problems are numbered as they come, so that answers of one time lie together: ordered by key they would be scattered
# over the whole file, and every one of them would write a page of its own.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS problems (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE)",
    """
    CREATE TABLE IF NOT EXISTS engines (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, version TEXT NOT NULL, dtype TEXT NOT NULL,
        UNIQUE (name, version, dtype)
    )
    """,
)
_NUMBER = "(SELECT number FROM problems WHERE key = ?)"
_ADD_PROBLEM = "INSERT INTO problems (key) VALUES (?) ON CONFLICT DO NOTHING"


class AnswerTable(Generic[A]):
    """What a stage stores: a dataclass of plain fields, one row each.

    `key` names the fields that identify an answer within its problem. Answers that match the SQL condition
    `provisional` are kept for the record, but generated again: the next answer replaces them. `told_by` is the field
    by which `palign ledger show` counts them.
    """

    def __init__(
        self,
        kind: type[A],
        name: str,
        key: tuple[str, ...],
        provisional: str | None = None,
        told_by: str | None = None,
    ) -> None:
        self.kind, self.name, self.key, self.told_by = kind, name, key, told_by
        hints = get_type_hints(kind)
        self.columns = [field.name for field in fields(kind)]  # type: ignore[arg-type]
        self._codecs = {column: _codec(kind, column, hints[column]) for column in self.columns}
        named = ", ".join(self.columns)
        declared = ", ".join(f"{column} {codec.sql}" for column, codec in self._codecs.items())
        self.create = (
            f"CREATE TABLE IF NOT EXISTS {name} (problem INTEGER NOT NULL REFERENCES problems, {declared}, "
            f"engine INTEGER REFERENCES engines, PRIMARY KEY (problem, {', '.join(key)})) WITHOUT ROWID"
        )
        marks = ", ".join("?" for _ in self.columns)
        self.add = f"INSERT INTO {name} (problem, {named}, engine) VALUES ({_NUMBER}, {marks}, ?) ON CONFLICT DO "
        if provisional:
            changed = ", ".join(f"{column} = excluded.{column}" for column in [*self.columns, "engine"])
            self.add += f"UPDATE SET {changed} WHERE {name}.{provisional}"
        else:
            self.add += "NOTHING"
        self.read = f"SELECT {named} FROM {name} WHERE problem = {_NUMBER}"
        self.recall = f"{self.read} AND NOT {provisional}" if provisional else self.read
        columns = ", ".join(f"a.{column}" for column in self.columns)
        self.with_engines = (
            f"SELECT {columns}, e.name, e.version, e.dtype FROM {name} a LEFT JOIN engines e ON a.engine = e.number "
            f"WHERE a.problem = {_NUMBER}"
        )

    def row(self, answer: A) -> list[Any]:
        """An answer as SQL values."""
        return [codec.store(getattr(answer, column)) for column, codec in self._codecs.items()]

    def answer(self, row: tuple[Any, ...]) -> A:
        """An answer from its SQL values."""
        values = (codec.load(value) for codec, value in zip(self._codecs.values(), row, strict=True))
        return self.kind(*values)

    def key_of(self, answer: A) -> Hashable:
        """The key of an answer within its problem."""
        if len(self.key) == 1:
            name: Hashable = getattr(answer, self.key[0])
            return name
        return tuple(getattr(answer, name) for name in self.key)


class Store(Generic[A]):
    """The answers of one `fingerprint`; `about` describes its parts."""

    def __init__(self, path: str | Path, fingerprint: str, about: Mapping[str, Any], table: AnswerTable[A]) -> None:
        self.path, self._table = Path(path), table
        self._waiting: list[tuple[bytes, A, EngineIdentity | None, asyncio.Future[A]]] = []
        self._engines: dict[EngineIdentity | None, int | None] = {None: None}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The ledger folder `{self.path.parent}` can't be made: {error}. Give a folder on a local disk that "
                f"you may write to, with `ledger=` or PALIGN_HOME."
            ) from error
        with self._explained():
            self._db = sqlite3.connect(self.path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(fingerprint, about)
            except BaseException:
                self._db.close()
                raise

    def recall(self, problem: bytes) -> dict[Any, A]:
        """The known answers of a problem, by key, without provisional ones."""
        return self._answers(self._table.recall, problem)

    def engines_of(self, problem: bytes) -> dict[Any, EngineIdentity | None]:
        """The engines of a problem's answers, by key; None for answers of the first release."""
        with self._explained():
            rows = self._db.execute(self._table.with_engines, (problem,)).fetchall()
            width = len(self._table.columns)
            named = [(self._table.answer(row[:width]), row[width:]) for row in rows]
        return {self._table.key_of(answer): EngineIdentity(*who) if who[0] else None for answer, who in named}

    async def record(self, problem: bytes, answer: A, engine: EngineIdentity | None = None) -> A:
        """Store an answer and return what is stored under its key: this one, or an earlier one of another process."""
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[A] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append((problem, answer, engine, stored))
        return await stored

    def count(self) -> int:
        """Number of stored answers."""
        with self._explained():
            return int(self._db.execute(f"SELECT count(*) FROM {self._table.name}").fetchone()[0])

    def close(self) -> None:
        """Close the file; answers whose commit nobody awaits any more are dropped."""
        self._db.close()

    def _answers(self, query: str, problem: bytes) -> dict[Any, A]:
        with self._explained():
            rows = self._db.execute(query, (problem,)).fetchall()
            answers = [self._table.answer(row) for row in rows]
        return {self._table.key_of(answer): answer for answer in answers}

    def _prepare(self, fingerprint: str, about: Mapping[str, Any]) -> None:
        # In this order: the tables come with the application's number, in one transaction.
        has_tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if has_tables and self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            raise StoreError(
                f"`{self.path}` is a database of another program, not a ledger; it was left as it is. Give another "
                f"file or folder with `ledger=`."
            )
        if has_tables:
            # Before anything is written: what another release or another asker left is not to be touched.
            self._refuse_others(fingerprint)
        self._use_wal()
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            for table in (*_TABLES, self._table.create):
                self._db.execute(table)
            held = self._db.execute("SELECT value FROM about WHERE key = 'format'").fetchone()
            if held == ("1",):
                self._db.execute(f"ALTER TABLE {self._table.name} ADD COLUMN engine INTEGER REFERENCES engines")
                self._db.execute("UPDATE about SET value = ? WHERE key = 'format'", (str(FORMAT),))
            metadata = {"format": str(FORMAT), "fingerprint": fingerprint, "about": json.dumps(redacted(about))}
            metadata |= {"answers": self._table.name, "told_by": self._table.told_by or ""}
            self._db.executemany("INSERT INTO about VALUES (?, ?) ON CONFLICT DO NOTHING", metadata.items())
        # Two processes may have made it at once.
        self._refuse_others(fingerprint)

    def _refuse_others(self, fingerprint: str) -> None:
        if not self._db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'about'").fetchone()[0]:
            return
        held = dict(self._db.execute("SELECT key, value FROM about").fetchall())
        form, holder = held.get("format", str(FORMAT)), held.get("fingerprint", fingerprint)
        table = held.get("answers", self._table.name if form != "1" else "probes")
        if form not in ("1", str(FORMAT)):
            raise StoreError(
                f"`{self.path}` is a ledger of format {form}, and this release reads formats 1 and {FORMAT}; it was "
                f"left as it is. Update palign-hf, or give another file or folder with `ledger=`."
            )
        if holder != fingerprint or table != self._table.name:
            raise StoreError(
                f"`{self.path}` holds {table} of `{holder}`, not {self._table.name} of `{fingerprint}`; it was left "
                f"as it is. Give another file or folder with `ledger=`."
            )

    def _use_wal(self) -> None:
        """Two processes may open a new file at once: then one gets `locked` immediately, whatever its timeout."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _commit(self) -> None:
        """One transaction for all that waits; each waiter gets the stored answer, or the error that kept it out."""
        waiting, self._waiting = self._waiting, []
        try:
            with self._explained():
                stored = self._store(waiting)
        except Exception as error:
            # Any error: raised from a callback of the loop it would reach no waiter, and they would wait for ever.
            for *_, future in waiting:
                if not future.cancelled():
                    future.set_exception(error)
            return
        for (*_, future), answer in zip(waiting, stored, strict=True):
            if not future.cancelled():
                future.set_result(answer)

    def _store(self, waiting: list[tuple[bytes, A, EngineIdentity | None, "asyncio.Future[A]"]]) -> list[A]:
        table = self._table
        with self._transaction():
            self._db.executemany(_ADD_PROBLEM, dict.fromkeys((problem,) for problem, *_ in waiting))
            rows = [(problem, *table.row(answer), self._number(engine)) for problem, answer, engine, _ in waiting]
            added = self._db.executemany(table.add, rows)
            if added.rowcount == len(waiting):
                return [answer for _, answer, *_ in waiting]
            return [self._answers(table.read, problem)[table.key_of(answer)] for problem, answer, *_ in waiting]

    def _number(self, engine: EngineIdentity | None) -> int | None:
        """The number of an engine in this file, given to it by its first answer."""
        if engine not in self._engines:
            assert engine is not None
            named = (engine.name, engine.version, engine.dtype)
            self._db.execute(
                "INSERT INTO engines (name, version, dtype) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", named
            )
            found = self._db.execute("SELECT number FROM engines WHERE (name, version, dtype) = (?, ?, ?)", named)
            self._engines[engine] = int(found.fetchone()[0])
        return self._engines[engine]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        known = dict(self._engines)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self._engines = known
            # After some errors (a full disk) SQLite has rolled back by itself already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Convert SQLite errors into messages with advice."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise StoreError(advice(self.path, error)) from error
        except _Unreadable as error:
            raise StoreError(damaged(self.path, error)) from error


def content_key(*texts: str) -> bytes:
    """Key of a problem in its ledger: the same texts have the same answers."""
    parts = (part.encode("utf-8", "surrogatepass") for part in texts)
    return hashlib.blake2b(b"".join(len(part).to_bytes(8, "big") + part for part in parts), digest_size=16).digest()


class _Unreadable(ValueError):
    """A stored value doesn't fit its column."""


class _Codec:
    """One field of an answer in SQL: its type and conversions.

    SQLite stores any value, so both ways are checked: text or bytes in a column of numbers would be read back as such,
    and NaN as null, which is another answer.
    """

    def __init__(self, sql: str, kind: type, store: Callable[[Any], Any] = lambda v: v, load: Any = lambda v: v):
        self.sql, self._kinds, self._store, self._load = sql, (kind, int) if kind is float else (kind,), store, load

    def store(self, value: Any) -> Any:
        """The value as SQLite takes it."""
        return None if value is None else self._store(value)

    def load(self, value: Any) -> Any:
        """The value as it was."""
        if value is None:
            return None
        if not isinstance(value, self._kinds):
            raise _Unreadable(f"{shown(repr(value))} stands where {self.sql.lower()} belongs")
        return self._load(value)


def _codec(kind: type, column: str, hint: Any) -> _Codec:
    may_be_null = get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)
    plain = next(option for option in get_args(hint) if option is not type(None)) if may_be_null else hint
    null = "" if may_be_null else " NOT NULL"
    if plain in (int, float, str):
        # Also of numpy's and torch's numbers, which SQLite would keep as bytes.
        return _Codec({int: "INTEGER", float: "REAL", str: "TEXT"}[plain] + null, plain, _number_of(column, plain))
    if plain is bool:
        return _Codec("INTEGER" + null, int, bool, bool)
    if plain == tuple[int, ...]:
        # Token ids, four bytes each.
        return _Codec("BLOB" + null, bytes, _pack, _unpack)
    raise TypeError(f"`{kind.__name__}.{column}` is of a kind that no ledger stores: {hint}")


def _number_of(column: str, kind: type) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if kind is str:
            return value
        try:
            number = None if isinstance(value, str | bytes) else kind(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        # NaN is unequal to itself; SQLite's whole numbers have 64 bits.
        if number is None or number != value or (kind is int and not -(2**63) <= number < 2**63):
            raise StoreError(
                f"`{column}={shown(repr(value))}` can't be kept in a ledger: it is no number that SQLite holds. "
                f"Let the source of this answer, such as a custom criterion, return a number or None."
            )
        return number

    return convert


def _pack(ids: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(ids)}i", *ids)


def _unpack(packed: bytes) -> tuple[int, ...]:
    if len(packed) % 4:
        raise _Unreadable(f"{len(packed)} bytes are no list of token ids")
    return struct.unpack(f"<{len(packed) // 4}i", packed)
