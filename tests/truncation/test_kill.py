"""`kill -9` at random moments: the same bytes in the end, and nothing that was committed is ever asked again."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from kill_worker import AT_ONCE, PROBLEMS


WORKER = Path(__file__).with_name("kill_worker.py")
KILLS = 20


def start(folder: Path) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, WORKER, folder / "ledger.sqlite", folder / "log", folder / "result"])


def committed(folder: Path) -> set[tuple[str, int]]:
    """What the ledger holds, read as another program would."""
    if not (folder / "ledger.sqlite").exists():
        return set()
    db = sqlite3.connect(folder / "ledger.sqlite")
    try:
        query = "SELECT lower(hex(key)), segments FROM probes JOIN problems ON problem = number"
        return set(db.execute(query).fetchall())
    except sqlite3.OperationalError as error:
        assert "no such table" in str(error)
        return set()
    finally:
        db.close()


def asked(folder: Path) -> list[tuple[str, int]]:
    """Every question so far, in order; a line torn by the kill was never asked."""
    log = folder / "log"
    lines = log.read_text().splitlines(keepends=True) if log.exists() else []
    return [(line.split()[0], int(line.split()[1])) for line in lines if line.endswith("\n")]


@pytest.mark.integration
def test_twenty_kills_change_no_byte_and_repeat_no_committed_probe(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    began = time.monotonic()
    assert start(whole).wait() == 0
    took = time.monotonic() - began
    # Long enough to get somewhere, short enough that the run is far from done at each kill.
    moments = random.Random(7)
    hit = 0
    for _ in range(KILLS):
        before, questions = committed(killed), len(asked(killed))
        process = start(killed)
        try:
            process.wait(timeout=moments.uniform(0.1, 0.6) * took)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            hit += 1
        new = asked(killed)[questions:]
        assert not before & set(new), "a committed probe was asked again"
        assert before <= committed(killed), "a committed probe was lost"
    assert start(killed).wait() == 0
    assert hit >= 3, "the run was too quick to be killed"
    assert (killed / "result").read_bytes() == (whole / "result").read_bytes()
    assert len((whole / "result").read_text().splitlines()) == PROBLEMS
    # What was asked twice was in flight at a kill: no more of it than problems at once, for each kill.
    again = sum(count - 1 for count in Counter(asked(killed)).values())
    assert again <= hit * AT_ONCE and max(Counter(asked(whole)).values()) == 1
    print(f"{hit} kills in the middle, {again} probes in flight asked again, {len(asked(whole))} probes in all")
