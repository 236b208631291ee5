"""Processes end with the one whose engine they are, however it ends and however early; others are left alone."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from palign_hf.engines.supervised import OrphanWatch, watched


SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
# A process that starts one of its own, as an engine core does, and says its id.
NEST = [
    sys.executable,
    "-c",
    "import subprocess, sys, time; "
    "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid, flush=True); time.sleep(600)",
]
# Starts a nest and a bystander, and says all ids.
PARENT = """
import subprocess, sys, time
from palign_hf.engines.supervised import OrphanWatch
bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=subprocess.DEVNULL)
watch = OrphanWatch()
with watch.marking():
    nest = subprocess.Popen(sys.argv[2:], start_new_session=True, stdout=subprocess.PIPE, text=True)
within = nest.stdout.readline().strip()
if sys.argv[1] == "settled":
    watch.settle([nest.pid])
print(bystander.pid, nest.pid, within, flush=True)
time.sleep(600)
"""


def ended(process: psutil.Process) -> bool:
    """Gone, or a zombie that nobody has waited for."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_the_end(*processes: psutil.Process) -> None:
    deadline = time.monotonic() + 60
    while not all(map(ended, processes)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def watch():
    watch = OrphanWatch()
    yield watch
    watch.end()


@pytest.mark.parametrize("when", ["loading", "settled"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_ends_takes_its_engine_with_it_and_nothing_else(when, how):
    command = [sys.executable, "-c", PARENT, when, *NEST]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        bystander, *engine = (psutil.Process(int(pid)) for pid in parent.stdout.readline().split())
        try:
            assert not any(map(ended, engine))
            parent.send_signal(how)
            wait_for_the_end(*engine)
            assert not ended(bystander)
        finally:
            bystander.kill()


def test_what_is_killed_on_command_includes_what_still_comes(watch):
    with watch.marking():
        first = subprocess.Popen(SLEEP)
        watch.kill()
        assert first.wait(60) == -signal.SIGKILL
        assert subprocess.Popen(SLEEP).wait(60) == -signal.SIGKILL


def test_clearing_is_over_when_all_are_gone():
    watch = OrphanWatch()
    with watch.marking(), subprocess.Popen(NEST, stdout=subprocess.PIPE, text=True) as nest:
        within = psutil.Process(int(nest.stdout.readline()))
        watch.clear()
        assert nest.poll() == -signal.SIGKILL
    assert ended(within)
    watch.clear()
    watch.end()


def test_what_was_started_before_or_after_is_not_the_engines(watch):
    with subprocess.Popen(SLEEP) as before:
        with watch.marking(), subprocess.Popen(SLEEP) as marked, subprocess.Popen(SLEEP) as other:
            watch.kill()
            assert marked.wait(60) == other.wait(60) == -signal.SIGKILL
        with subprocess.Popen(SLEEP) as after:
            watch.clear()
            assert before.poll() is None
            assert after.poll() is None
            after.kill()
        before.kill()


def test_a_watch_that_has_ended_kills_nothing():
    watch = OrphanWatch()
    with watch.marking(), subprocess.Popen(SLEEP) as child:
        try:
            watch.settle([child.pid])
            watch.end()
            assert child.poll() is None
        finally:
            child.kill()
    watch.settle([child.pid])
    watch.kill()


def test_ids_are_enough_where_no_mark_can_be_read(watch):
    with subprocess.Popen(SLEEP) as child:
        watch.settle([child.pid, None])
        watch.kill()
        assert child.wait(60) == -signal.SIGKILL


def test_the_environment_is_as_before(watch, monkeypatch):
    before = dict(os.environ)
    with watch.marking():
        assert dict(os.environ) != before
        other = OrphanWatch()
        with other.marking():
            pass
        other.end()
    assert dict(os.environ) == before


def test_who_gives_up_is_heard_though_the_load_has_just_ended(watch):
    with watch.marking(), subprocess.Popen(SLEEP) as child:
        watch._process.send_signal(signal.SIGSTOP)  # so that both are read at once
        watch.kill()
        watch.settle([child.pid])
        watch._process.send_signal(signal.SIGCONT)
        assert child.wait(60) == -signal.SIGKILL


def test_a_watch_that_hangs_is_not_waited_for(watch, monkeypatch):
    monkeypatch.setattr("palign_hf.engines.supervised._OVER_S", 0.2)
    watch._process.send_signal(signal.SIGSTOP)
    watch.clear()
    assert watch._process.returncode == -signal.SIGKILL


# As a benchmark with an engine that isn't the product's: what ends it comes from outside.
BENCHMARK = """
import signal, subprocess, sys, time
from palign_hf.engines.supervised import watched

signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in the background

def start():
    nest = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    print(nest.pid, nest.stdout.readline().strip(), flush=True)

with watched(start):
    print("started", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_what_is_watched_ends_with_its_process(sent):
    run = subprocess.Popen([sys.executable, "-c", BENCHMARK, *NEST], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    started = [psutil.Process(int(pid)) for pid in run.stdout.readline().split()]
    assert len(started) == 2 and run.stdout.readline() == "started\n"
    run.send_signal(sent)
    run.wait(60)
    wait_for_the_end(*started)


@pytest.mark.parametrize("fails", ["never", "within", "at its start"])
def test_what_is_watched_ends_with_its_block(fails):
    started: list[subprocess.Popen] = []

    def start() -> str:
        started.append(subprocess.Popen(SLEEP))
        if fails == "at its start":
            raise ZeroDivisionError
        return "made"

    def use() -> None:
        with watched(start) as made:
            assert made == "made" and started[0].poll() is None
            if fails == "within":
                raise ZeroDivisionError

    if fails == "never":
        use()
    else:
        with pytest.raises(ZeroDivisionError):
            use()
    assert started[0].wait(60) == -signal.SIGKILL
