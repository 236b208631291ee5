"""Leaving a process: with its status, after what was registered for its end, and whatever hangs there."""

import subprocess
import sys

from palign_hf.runs.signals import grouped


HEAD = "import atexit, ctypes, sys, time\nfrom palign_hf.runs.signals import leave\n"


def left(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True, text=True, timeout=60)


def test_it_leaves_with_its_status_and_what_was_said_and_registered_is_done():
    done = left("atexit.register(print, 'tidied'); sys.stdout.write('said '); leave(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said tidied\n", "")


def test_what_hangs_at_the_end_does_not_keep_it():
    assert left("atexit.register(time.sleep, 600); leave(3, patience=0.1)").returncode == 3


def test_nor_does_what_holds_the_lock_of_the_interpreter():
    """No thread runs any more, so the alarm ends it, and the status is that of the signal."""
    assert left("atexit.register(ctypes.PyDLL(None).sleep, 600); leave(3, patience=0.1)").returncode == -14


def test_one_process_is_no_group():
    assert not grouped()
