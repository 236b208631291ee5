"""Processes end with the one that watches over them, however it ends; without it they are left alone."""

import subprocess
import sys
import time

import psutil

from palign_hf.engines.orphans import OrphanWatch


SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
PARENT = """
import subprocess, sys, time
from palign_hf.engines.orphans import OrphanWatch
child = subprocess.Popen(sys.argv[1:], start_new_session=True)
watch = OrphanWatch([child.pid])
print(child.pid, flush=True)
time.sleep(600)
"""


def ended(process: psutil.Process) -> bool:
    """Gone, or a zombie that nobody has waited for."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_killed_process_takes_what_it_watched_with_it():
    with subprocess.Popen([sys.executable, "-c", PARENT, *SLEEP], stdout=subprocess.PIPE, text=True) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        assert not ended(child)
        parent.kill()
    deadline = time.monotonic() + 60
    while not ended(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_watch_that_has_ended_kills_nothing():
    with subprocess.Popen(SLEEP) as child:
        try:
            watch = OrphanWatch([child.pid])
            watch.end()
            assert child.poll() is None
        finally:
            child.kill()
