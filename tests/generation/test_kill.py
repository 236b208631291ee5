"""`kill -9` at random moments: the same bytes in the end, and nothing that was committed is ever asked again."""

import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kill_worker import AT_ONCE, PROBLEMS


WORKER = Path(__file__).with_name("kill_worker.py")
KILLS = 20
Question = tuple[str, int]


def start(folder: Path, *bound: str) -> "subprocess.Popen[bytes]":
    files = (folder / "ledger.sqlite", folder / "log", folder / "result")
    return subprocess.Popen([sys.executable, WORKER, *files, *bound])


def committed(folder: Path, copy: Path) -> set[Question]:
    """What the ledger holds, read from a copy: to open the file itself would mend what the kill left behind."""
    copy.mkdir()
    for path in folder.glob("ledger.sqlite*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, copy)
    db = sqlite3.connect(copy / "ledger.sqlite")
    try:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return set()
        query = "SELECT lower(hex(key)), segments FROM probes JOIN problems ON problem = number"
        return set(db.execute(query).fetchall())
    finally:
        db.close()


def logged(folder: Path, word: str) -> list[Question]:
    """Everything `asked` or `answered` so far, in order; a line torn by the kill was never written."""
    lines = (folder / "log").read_text().splitlines(keepends=True)
    split = [line.split() for line in lines if line.endswith("\n")]
    return [(key, int(segments)) for said, key, segments in split if said == word]


def kill_after(folder: Path, answers: int) -> None:
    """Run until so many more answers have come (0: until the ledger's file is there), then SIGKILL.

    The engine answers little more than that, so a kill that comes late doesn't find a finished run.
    """
    deadline = time.monotonic() + 120
    process = start(folder, str(answers + AT_ONCE))
    try:
        with (folder / "log").open("rb") as lines:
            lines.seek(0, 2)
            while answers > 0 or not (folder / "ledger.sqlite").exists():
                assert process.poll() is None, "the run ended before it was killed"
                assert time.monotonic() < deadline
                time.sleep(0.0005)
                answers -= lines.read().count(b"answered")
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.integration
def test_twenty_kills_change_no_byte_and_repeat_no_committed_probe(tmp_path: Path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    (killed / "log").touch()
    assert start(whole).wait() == 0
    questions = logged(whole, "asked")
    assert len(questions) == len(set(questions)) > 5 * PROBLEMS

    # From the first moments of a new file to well within the run; together they leave a part for the last one.
    rng = random.Random(7)
    moments = [0, 0, 1, *(rng.randint(1, int(1.5 * len(questions) / KILLS)) for _ in range(KILLS - 3))]
    safe: set[Question] = set()
    repeated = 0
    for number, answers in enumerate([*moments, None]):
        asked_before, answered_before = logged(killed, "asked"), logged(killed, "answered")
        if answers is None:
            assert start(killed).wait() == 0
        else:
            kill_after(killed, answers)
        asked = logged(killed, "asked")[len(asked_before) :]
        assert not safe & set(asked), "a committed probe was asked again"
        again = set(asked) & set(asked_before)
        # So what is asked again was in flight at a kill, and a problem asks one thing at a time.
        assert len(again) <= AT_ONCE * (number + 1)
        repeated += len(set(asked) & set(answered_before))
        held = committed(killed, tmp_path / f"copy-{number}")
        assert safe <= held, "a committed probe was lost"
        # Each answer is either in the ledger or was on its way there: no more of these than problems at once.
        assert len(set(logged(killed, "answered")[len(answered_before) :]) - held) <= AT_ONCE
        safe = held

    assert safe == set(questions)
    assert repeated <= KILLS * AT_ONCE
    assert len(logged(killed, "asked")) - len(questions) <= KILLS * AT_ONCE
    assert (killed / "result").read_bytes() == (whole / "result").read_bytes()
    assert len((whole / "result").read_text().splitlines()) == PROBLEMS
