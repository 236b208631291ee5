"""SIGTERM ends a run like Ctrl-C, wherever it is; a second one lets it clean up, and nothing keeps it from ending."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from palign_hf.runs.signals import terminable


PROGRAM = """
import argparse, os, queue, signal, sys, threading, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests run under nohup
from palign_hf.runs.launch import ended
from palign_hf.runs.signals import end_with_parent
{before}
def body():
    try:
        print("ready", flush=True)
        {wait}
    finally:
        {cleanup}
sys.exit(ended("palign", body, argparse.ArgumentParser()))
"""
WAITS = {
    "sleep": "time.sleep(600)",
    "a pipe": "os.read(os.pipe()[0], 1)",
    "a lock": "lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "a queue": "queue.Queue().get()",
    "a thread": "one = threading.Thread(target=time.sleep, args=(600,), daemon=True); one.start(); one.join()",
    "python": "while True: pass",
}
LINE = "palign: ended by SIGTERM. What was answered is kept: run the same command again to go on.\n"


def start(wait: str, before: str = "", cleanup: str = "pass") -> subprocess.Popen:
    program = PROGRAM.format(before=before, wait=wait, cleanup=cleanup)
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_sighup_ends_as_sigterm_does_with_status_129():
    for wait in ("sleep", "a lock", "python"):
        process = start(WAITS[wait])
        process.send_signal(signal.SIGHUP)
        out, told = process.communicate(timeout=30)
        assert (process.returncode, out, told) == (129, "", LINE.replace("SIGTERM", "SIGHUP"))


def test_sighup_to_one_that_never_lets_go():
    process = start("deaf()", before=HURRY.format(0.2, 1, 60) + DEAF)
    assert process.stdout.readline() == "deaf\n"
    process.send_signal(signal.SIGHUP)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (129, FORCED.replace("SIGTERM", "SIGHUP"))


def test_sighup_that_nohup_keeps_away_is_not_heard():
    process = start(
        "sys.stdin.readline(); print('on')",
        before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)",
        cleanup="sys.stdout.flush(); return 0",
    )
    process.send_signal(signal.SIGHUP)
    out, told = process.communicate("go on\n", timeout=30)
    assert (process.returncode, out, told) == (0, "on\n", "")


@pytest.mark.parametrize("wait", WAITS)
def test_sigterm_ends_in_one_line_with_status_143(wait):
    process = start(WAITS[wait])
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate(timeout=30)
    assert (process.returncode, out, told) == (143, "", LINE)


def test_a_second_one_does_not_disturb_the_cleaning_up():
    process = start("time.sleep(600)", cleanup='print("cleaning", flush=True); sys.stdin.readline(); print("clean")')
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)
    out, told = process.communicate("go on\n", timeout=30)
    assert (process.returncode, out, told) == (143, "clean\n", LINE)


# The same in less time: (echo, patience, alarm) in seconds.
HURRY = """
from palign_hf.runs import signals
signals._CLEANUP_S, signals._PATIENCE_S, signals._ALARM_S = {}, {}, {}
"""
FINALISER = """
class Last:
    def __del__(self):
        print("finalising", flush=True)
        time.sleep(600)
"""
DEAF = """
def deaf():
    while True:
        try:
            print("deaf", flush=True)
            time.sleep(600)
        except BaseException:
            pass
"""
FROZEN = """
import ctypes
lock, frozen = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
"""
FORKING = """
import signal
def forking():
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.write(write, b"here")
        time.sleep(600)
    os.read(read, 4)
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    time.sleep(1.5)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
FORCED = (
    "palign: ended by SIGTERM, and by force: something did not let go. "
    "What was answered is kept: run the same command again to go on.\n"
)


def test_one_that_a_finaliser_has_swallowed_comes_again():
    process = start("Last(); time.sleep(600)", before=HURRY.format(0.2, 60, 60) + FINALISER)
    assert process.stdout.readline() == "finalising\n"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told[-len(LINE) :]) == (143, LINE)
    # What Python says of it.
    assert told.startswith("Exception ignored in") and "Terminated" in told


def test_who_never_lets_go_is_left():
    process = start("deaf()", before=HURRY.format(0.2, 1, 60) + DEAF)
    assert process.stdout.readline() == "deaf\n"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (143, FORCED)


def test_who_is_deep_in_a_library_and_hears_nothing_is_left():
    process = start(
        "frozen(lock); print('frozen', flush=True); frozen(lock)", before=HURRY.format(0.2, 1, 60) + FROZEN
    )
    assert process.stdout.readline() == "frozen\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (143, FORCED)


def test_the_end_of_a_fork_is_its_own():
    process = start("forking()", before=HURRY.format(0.2, 1, 60) + FORKING)
    out, told = process.communicate(timeout=30)
    assert (process.returncode, out, told) == (0, "143\n", LINE)


def test_what_hangs_at_the_exit_is_left():
    process = start(
        "time.sleep(600)", before=HURRY.format(0.2, 1, 60) + "import atexit; atexit.register(time.sleep, 600)"
    )
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (143, LINE + FORCED)


def test_an_interpreter_that_hangs_while_it_ends_is_killed():
    """When no thread of Python's runs any more."""
    last = "import ctypes; ctypes.pythonapi.Py_AtExit(ctypes.CDLL(None).pause)"
    process = start("time.sleep(600)", before=HURRY.format(10, 3600, 2 - 3600) + last)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (-signal.SIGALRM, LINE)


def test_what_was_done_on_sigterm_before_is_done_again_after():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), terminable():
        assert signal.getsignal(signal.SIGTERM) is not before
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_nothing_is_changed():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def body():
        with terminable():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells a process of its parent's end")
def test_a_process_ends_with_the_one_that_started_it():
    child = PROGRAM.format(before="end_with_parent()", wait="time.sleep(600)", cleanup="pass")
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.kill()
    _, told = process.communicate(timeout=30)  # until the child has closed them, too
    assert told == LINE
