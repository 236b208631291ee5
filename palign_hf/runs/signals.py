"""A polite end: what Slurm, Kubernetes and `docker stop` send ends a run as Ctrl-C does, resumable and in seconds.

What a handler raises can be lost (in a finaliser, or in a library's callback, Python only prints it), and on the way
out something may be waited for that never comes: a library's thread, lock or process. So the first SIGTERM also starts
a thread, which sends the signal again to who still works, and in the end ends the process by force. Where no thread
runs any more, as in an interpreter that hangs while it ends, an alarm does that. The engine's processes end with this
one in each case (`engines/orphans.py`). Ctrl-C needs nothing of the kind: who has pressed it can press it again.
"""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any


# So long a second SIGTERM is taken for the first one's echo.
_CLEANUP_S = 10.0
# After that the process is ended by force: sooner than Slurm and Kubernetes, which give it 30 seconds.
_PATIENCE_S = 25.0
_ALARM_S = 2.0


class Terminated(BaseException):
    """SIGTERM has come: not an error that anything may catch and go on."""


@contextmanager
def terminable(parting: str = "ended by SIGTERM") -> Iterator[None]:
    """Within, SIGTERM raises `Terminated` in the main thread; a second one doesn't disturb the cleaning up.

    Unless that takes too long, or the first was lost. `parting` is said if the process has to be ended by force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    heard: float | None = None
    left = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        last, now = heard, time.monotonic()
        if last is None or now - last > _CLEANUP_S:
            heard = now
            if last is None:
                _see_to_the_end(lambda: left, parting)
            raise Terminated

    before: Any = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        left = True
        # Once it was heard the process ends, and what is closed at its exit isn't to be disturbed either.
        if heard is None:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _see_to_the_end(left: Callable[[], bool], parting: str) -> None:
    """In a handler, and so without any lock: what it interrupts may hold that."""
    if sys.platform == "win32":
        return
    # It kills, whatever any library had in mind with it.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S + _ALARM_S)
    with suppress(RuntimeError):  # no thread is to be had: the alarm is left
        _thread.start_new_thread(_insist, (threading.get_ident(), left, parting))


def _insist(main: int, left: Callable[[], bool], parting: str) -> None:
    """End what was told to end: once more by the signal, as long as the main thread hasn't `left`; then by force."""
    deadline = time.monotonic() + _PATIENCE_S
    while (rest := deadline - time.monotonic()) > 0:
        time.sleep(min(rest, _CLEANUP_S + 0.1))
        if not left():
            signal.pthread_kill(main, signal.SIGTERM)
    # Not by way of `sys.stderr`: who hangs may hold its lock.
    with suppress(OSError):
        os.write(2, f"{parting}\n".encode())
    os._exit(128 + signal.SIGTERM)


def end_with_parent() -> None:
    """Hear SIGTERM when the process that started this one is gone: launchers end without telling their children."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    prctl_set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGTERM)
