"""A run that is to end isn't kept by what it waits for: a signal that went elsewhere, an engine that is stuck."""

import asyncio
import signal
import threading
import time

import pytest

from palign_hf.generation.runner import StudentRunner


# Longer than all that is waited for, shorter than what is hung on.
SOON_S, NEVER_S = 20, 60


@pytest.fixture(autouse=True)
def interrupting():
    """SIGUSR1 interrupts, for test runners leave SIGINT to others."""

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    began = time.monotonic()
    yield
    signal.signal(signal.SIGUSR1, before)
    assert time.monotonic() - began < SOON_S


def test_a_signal_that_another_thread_has_got_ends_the_wait(pupil):
    """Python handles it in the main thread, which isn't woken for it."""

    async def work():
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        await asyncio.sleep(NEVER_S)

    with StudentRunner(str(pupil)) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(work())


def test_an_engine_that_hangs_while_it_closes_is_left(pupil, speaker, monkeypatch):
    monkeypatch.setattr("palign_hf.generation.runner._CLEANUP_S", 0.2)
    let_go = threading.Event()

    async def hang():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        let_go.wait(NEVER_S)  # with it the loop

    monkeypatch.setattr(speaker, "close", hang)
    runner = StudentRunner(str(pupil))
    runner.run(runner.engine.start())
    with pytest.raises(KeyboardInterrupt):
        runner.close()
    assert not runner.started
    runner.close()
    let_go.set()


def test_an_engine_that_hung_has_a_successor(pupil, speaker, monkeypatch):
    """Which lives on a loop of its own."""
    monkeypatch.setattr("palign_hf.generation.runner._CLEANUP_S", 0.2)
    let_go = threading.Event()
    runner = StudentRunner(str(pupil))

    async def hang():
        let_go.wait(NEVER_S)

    runner.run(asyncio.sleep(0))
    asyncio.run_coroutine_threadsafe(hang(), runner._loop)
    runner.close()
    assert runner.run(asyncio.sleep(0, "answered")) == "answered"
    runner.close()
    let_go.set()
