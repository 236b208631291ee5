"""What never ends is ended; what ends is as without a limit."""

import itertools
import threading

import pytest

from palign_hf.generation.rendering import OutOfTime, call_within


def test_what_is_returned_and_raised_comes_through():
    assert call_within(60, lambda: 5) == 5
    with pytest.raises(ZeroDivisionError):
        call_within(60, lambda: 1 // 0)


def test_an_endless_loop_is_ended_and_its_thread_with_it():
    threads = []

    def loop():
        threads.append(threading.current_thread())
        for _ in itertools.count():
            try:
                _ += 1
            except Exception:
                continue

    with pytest.raises(OutOfTime, match=r"within 0.2 s"):
        call_within(0.2, loop)
    threads[0].join(60)
    assert not threads[0].is_alive()
