"""A load that blocks and starts processes: it can be left at any moment, and nothing of it stays."""

import asyncio
import subprocess
import sys
import threading

import pytest

from palign_hf.engines.loading import GivenUp, load


SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_what_is_loaded_comes_back_with_its_watch():
    async def run():
        (value, thread), watch = await load(lambda loading: (3, threading.current_thread()))
        watch.end()
        return value, thread

    value, thread = asyncio.run(run())
    assert value == 3
    assert thread is not threading.current_thread()
    # No exit waits for it.
    assert thread.daemon


def test_an_error_comes_out_and_leaves_no_process():
    started = []

    def fail(loading):
        with loading.watch.marking():
            started.append(subprocess.Popen(SLEEP))
        raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        asyncio.run(load(fail))
    assert started[0].wait(60) == -9


def test_who_leaves_is_gone_at_once_and_the_load_loses_what_it_waits_for():
    begun, ended = threading.Event(), threading.Event()
    seen = []

    def blocking(loading):
        with loading.watch.marking():
            child = subprocess.Popen(SLEEP)
            begun.set()
            # As vLLM does: for as long as its core lives.
            seen.append(child.wait())
            seen.append(subprocess.Popen(SLEEP).wait())
        try:
            loading.check()
        except GivenUp:
            seen.append("given up")
            raise
        finally:
            ended.set()

    async def run():
        loading = asyncio.create_task(load(blocking))
        assert await asyncio.to_thread(begun.wait, 60)
        assert seen == []
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert await asyncio.to_thread(ended.wait, 60)

    asyncio.run(run())
    assert seen == [-9, -9, "given up"]


def test_a_load_that_ends_after_all_left_is_undone():
    """Even after the loop is gone."""
    begun, left = threading.Event(), threading.Event()
    child = []

    def slow(loading):
        begun.set()
        assert left.wait(60)
        with loading.watch.marking():
            child.append(subprocess.Popen(SLEEP))
        done.set()

    done = threading.Event()

    async def run():
        loading = asyncio.create_task(load(slow))
        assert await asyncio.to_thread(begun.wait, 60)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

    asyncio.run(run())
    left.set()
    assert done.wait(60)
    assert child[0].wait(60) == -9


def test_a_cancellation_in_the_very_moment_of_success_leaves_no_process():
    child = []

    def quick(loading):
        with loading.watch.marking():
            child.append(subprocess.Popen(SLEEP))
        return 3

    async def run():
        loading = asyncio.create_task(load(quick))
        while not child:
            await asyncio.sleep(0)
        # The result comes over the loop: as soon as it is there, the waiting task is cancelled before it runs.
        while loading._fut_waiter is None or not loading._fut_waiter.done():
            await asyncio.sleep(0)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading

    asyncio.run(run())
    assert child[0].wait(60) == -9
