"""Every probe ever answered, durable: one SQLite file (WAL) for each judge, and resume is a replay.

A probe is told to its search only after it is committed, so `kill -9` loses what was in flight and nothing else. The
first answer stored is the answer: a second process on the same file reads it back instead of its own. Answers that
come in during one turn of the event loop share a commit, which keeps the cost per probe at microseconds.
WAL needs a local disk: on network file systems point `ledger` at one.
"""

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError
from palign_hf.truncation.criteria import Probe


_FORMAT = 1
_APPLICATION = 0x70616C67  # "palg", in the header of the file: tells a ledger from other programs' databases
# Problems are numbered as they come, so that probes of one time lie together: ordered by key they would be scattered
# over the whole file, and every one of them would write a page of its own.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS problems (number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE)",
    """
    CREATE TABLE IF NOT EXISTS probes (
        problem INTEGER NOT NULL REFERENCES problems,
        segments INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        margin REAL,
        label_mass REAL,
        top_is_label INTEGER,
        prompt_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL,
        PRIMARY KEY (problem, segments)
    ) WITHOUT ROWID
    """,
)
_NUMBER = "(SELECT number FROM problems WHERE key = ?)"
_ADD_PROBLEM = "INSERT INTO problems (key) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_PROBE = f"INSERT INTO probes VALUES ({_NUMBER}, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_RECALL = f"""
    SELECT segments, verdict, margin, label_mass, top_is_label, prompt_tokens, cached_tokens
    FROM probes WHERE problem = {_NUMBER}
"""
# How long a process waits for another one's commit before it gives up.
_PATIENCE_S = 60.0


class LedgerError(UserError):
    """The ledger can't be read or written; nothing that it held before is lost."""


class Ledger:
    """The answered probes of one judge. `fingerprint` names the judge; `about` says in words what it is made of."""

    def __init__(self, path: str | Path, fingerprint: str, about: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._waiting: list[tuple[bytes, Probe, asyncio.Future[Probe]]] = []
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(
                f"The ledger folder `{self.path.parent}` can't be made: {error}. Give a folder on a local disk that "
                f"you may write to, with `ledger=` or PALIGN_HOME."
            ) from error
        with self._explained():
            self._db = sqlite3.connect(self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(fingerprint, about)
            except BaseException:
                self._db.close()
                raise

    def recall(self, problem: bytes) -> dict[int, Probe]:
        """What is known of a problem, by segments."""
        with self._explained():
            rows = self._db.execute(_RECALL, (problem,)).fetchall()
        return {row[0]: _probe(row) for row in rows}

    async def record(self, problem: bytes, probe: Probe) -> Probe:
        """Store a probe and return what is stored for that cut: this one, or an earlier one if another was faster."""
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[Probe] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._commit)
        self._waiting.append((problem, probe, stored))
        return await stored

    def count(self) -> int:
        """How many probes it holds."""
        with self._explained():
            return int(self._db.execute("SELECT count(*) FROM probes").fetchone()[0])

    def close(self) -> None:
        """Close the file; probes of which nobody awaits the commit any more were never told to a search."""
        self._db.close()

    def _prepare(self, fingerprint: str, about: Mapping[str, Any]) -> None:
        # In this order: the tables come with the application's number, in one transaction.
        has_tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if has_tables and self._db.execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
            raise LedgerError(
                f"`{self.path}` is a database of another program, not a ledger; it was left as it is. Give another "
                f"file or folder with `ledger=`."
            )
        self._use_wal()
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._transaction():
            self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
            for table in _TABLES:
                self._db.execute(table)
            said = {"format": str(_FORMAT), "fingerprint": fingerprint, "about": json.dumps(about)}
            self._db.executemany("INSERT INTO about VALUES (?, ?) ON CONFLICT DO NOTHING", said.items())
            held = dict(self._db.execute("SELECT key, value FROM about").fetchall())
            if held["format"] != str(_FORMAT) or held["fingerprint"] != fingerprint:
                raise LedgerError(
                    f"`{self.path}` holds probes of another judge or format (`{held['fingerprint']}`, format "
                    f"{held['format']}), not of `{fingerprint}`. Give another file or folder with `ledger=`."
                )

    def _use_wal(self) -> None:
        """Two processes that open a new file at once: one is told `locked` at once, whatever its timeout is."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _commit(self) -> None:
        """One transaction for all that waits; each waiter gets the stored probe, or the error that kept it out."""
        waiting, self._waiting = self._waiting, []
        try:
            with self._explained():
                stored = self._store(waiting)
        except Exception as error:
            # Whatever it is: raised out of a callback of the loop it would reach nobody, and they would wait for ever.
            for _, _, future in waiting:
                if not future.cancelled():
                    future.set_exception(error)
            return
        for (_, _, future), probe in zip(waiting, stored, strict=True):
            if not future.cancelled():
                future.set_result(probe)

    def _store(self, waiting: list[tuple[bytes, Probe, asyncio.Future[Probe]]]) -> list[Probe]:
        with self._transaction():
            self._db.executemany(_ADD_PROBLEM, dict.fromkeys((problem,) for problem, _, _ in waiting))
            added = self._db.executemany(_ADD_PROBE, [_row(problem, probe) for problem, probe, _ in waiting])
            if added.rowcount == len(waiting):
                return [probe for _, probe, _ in waiting]
            return [self.recall(problem)[probe.segments] for problem, probe, _ in waiting]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # After some errors (a full disk) SQLite has rolled back by itself already.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors in words that say what to do."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LedgerError(_advice(self.path, error)) from error


def read_about(path: str | Path) -> dict[str, Any]:
    """What a ledger file says of itself and holds, without changing it: for `palign ledger show`."""
    path = Path(path)
    if not os.path.isfile(path):
        raise LedgerError(f"`{path}` is no file. Give a ledger (`*.sqlite`), or the folder that holds them.")
    # Without a log beside it nothing is under way, and no file has to be made next to it in order to read.
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=_PATIENCE_S)
        try:
            held = dict(db.execute("SELECT key, value FROM about").fetchall())
            verdicts = dict(db.execute("SELECT verdict, count(*) FROM probes GROUP BY verdict").fetchall())
            problems = db.execute("SELECT count(*) FROM problems").fetchone()[0]
            prompt, cached = db.execute("SELECT total(prompt_tokens), total(cached_tokens) FROM probes").fetchone()
        finally:
            db.close()
    except sqlite3.DatabaseError as error:
        raise LedgerError(_advice(path, error)) from error
    return {
        "path": str(path),
        "fingerprint": held.get("fingerprint"),
        "about": json.loads(held.get("about", "{}")),
        "problems": problems,
        "probes": sum(verdicts.values()),
        "verdicts": verdicts,
        "prompt_tokens": int(prompt),
        "cached_tokens": int(cached),
    }


def _advice(path: Path, error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "full" in text:
        return (
            f"No space left for the ledger `{path}` ({text}). What was answered before is safe: free some space, or "
            f"move the file and point `ledger=` at its new folder, then run the same command again."
        )
    if "readonly" in text or "unable to open" in text:
        return (
            f"The ledger `{path}` can't be opened for writing ({text}). Give a folder that you may write to, with "
            f"`ledger=` or PALIGN_HOME."
        )
    if "not a database" in text or "malformed" in text or "corrupt" in text or "no such" in text:
        return (
            f"`{path}` is damaged or no ledger ({text}). It was left as it is: move it away and the run starts a new "
            f"one, or try `sqlite3 {path.name} .recover` on a copy to save its probes."
        )
    if "locked" in text or "busy" in text:
        return (
            f"Another process held the ledger `{path}` for over {_PATIENCE_S:.0f} s ({text}). Wait for it or end it, "
            f"then run the same command again; on a network file system use a local disk."
        )
    return f"The ledger `{path}` failed: {text}. What was answered before is safe; mend the cause and run again."


def _row(problem: bytes, probe: Probe) -> tuple[Any, ...]:
    return (
        problem,
        probe.segments,
        probe.verdict,
        probe.margin,
        probe.label_mass,
        probe.top_is_label,
        probe.prompt_tokens,
        probe.cached_tokens,
    )


def _probe(row: tuple[Any, ...]) -> Probe:
    segments, verdict, margin, label_mass, top_is_label, prompt_tokens, cached_tokens = row
    top = None if top_is_label is None else bool(top_is_label)
    return Probe(segments, verdict, margin, label_mass, top, prompt_tokens, cached_tokens)
