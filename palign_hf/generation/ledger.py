"""Ledger files: location, contents, and SQLite errors with advice."""

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

from palign_hf.config import check_folder
from palign_hf.errors import UserError, shown


# Seconds that a process waits for another one's commit.
PATIENCE_S = 60.0


class StoreError(UserError):
    """The ledger can't be read or written; its contents are kept."""


def ledger_folder(given: str | None = None) -> Path:
    """Folder of ledgers: as given, else under PALIGN_HOME, else in the user's cache folder."""
    if given:
        return Path(given).expanduser()
    home = os.environ.get("PALIGN_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".cache" / "palign") / "ledgers"


def check_ledger(given: str | None) -> None:
    """Refuse an invalid folder before anything is loaded."""
    check_folder("ledger", given or str(ledger_folder()), "Give another folder, on a local disk.")


def read_about(path: str | Path) -> dict[str, Any]:
    """Read a ledger's metadata and counts without changing it, for `palign ledger show`."""
    path = Path(path)
    if not os.path.isfile(path):
        raise StoreError(
            f"`{path}` is no file. Give a ledger (`*.sqlite`), or the folder that holds them: that of `ledger=`, or "
            f"`{ledger_folder()}`."
        )
    # Without a WAL file no run is active, and reading needs no new file beside it.
    mode = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True, timeout=PATIENCE_S)
        try:
            return {"path": str(path)} | _held(db)
        finally:
            db.close()
    except sqlite3.DatabaseError as error:
        raise StoreError(advice(path, error)) from error
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise StoreError(damaged(path, error)) from error


def _held(db: sqlite3.Connection) -> dict[str, Any]:
    about = dict(db.execute("SELECT key, value FROM about").fetchall())
    # The first release stored probes only, without naming the table.
    table, told_by = about.get("answers", "probes"), about.get("told_by", "verdict")
    for name in (table, told_by or "kind"):
        # These become part of a query.
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(f"`{shown(name)}` names no table or column")
    details = json.loads(about.get("about", "{}"))
    if not isinstance(details, dict):
        raise ValueError(f"its `about` entry is no mapping but `{shown(repr(details))}`")
    columns = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
    total = {
        name: int(db.execute(f"SELECT total({name}) FROM {table}").fetchone()[0]) if name in columns else 0
        for name in ("prompt_tokens", "cached_tokens")
    }
    engines: list[str] = []
    if "engine" in columns:
        named = db.execute(
            f"SELECT DISTINCT e.name, e.version, e.dtype FROM {table} JOIN engines e ON engine = number"
        )
        engines = sorted(" ".join(map(str, row)) for row in named)
    counted = f"SELECT {told_by}, count(*) FROM {table} GROUP BY 1 ORDER BY 1"
    return {
        "format": int(about.get("format", 0)),
        "fingerprint": about.get("fingerprint"),
        "about": details,
        "problems": db.execute("SELECT count(*) FROM problems").fetchone()[0],
        "answers": table,
        "told_by": told_by or "kind",
        table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0],
        f"{told_by or 'kind'}s": dict(db.execute(counted).fetchall()) if told_by else {},
        "engines": engines,
        **total,
    }


def damaged(path: Path, error: object) -> str:
    """Advice for a ledger with invalid contents."""
    return (
        f"`{path}` is damaged or no ledger ({error}). It was left as it is: move it away and the run starts a new "
        f"one, or try `sqlite3 {path.name} .recover` on a copy to save its answers."
    )


def advice(path: Path, error: sqlite3.DatabaseError) -> str:
    """Message for an SQLite error: what failed, what is safe, what to do."""
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
        return damaged(path, text)
    if "locked" in text or "busy" in text:
        return (
            f"Another process held the ledger `{path}` for over {PATIENCE_S:.0f} s ({text}). Wait for it or end it, "
            f"then run the same command again; on a network file system use a local disk."
        )
    return f"The ledger `{path}` failed: {text}. Earlier answers are safe; fix the cause and run again."
