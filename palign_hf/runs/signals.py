"""A polite end: what Slurm, Kubernetes and `docker stop` send ends a run as Ctrl-C does, resumable and in seconds."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


# So long a second SIGTERM is taken for the first one's echo.
_CLEANUP_S = 10.0


class Terminated(BaseException):
    """SIGTERM has come: not an error that anything may catch and go on."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated` in the main thread; a second one doesn't disturb the cleaning up.

    Unless that hangs, or the first was lost: what a finaliser raises, Python only prints.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    heard: float | None = None

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        if heard is None or time.monotonic() - heard > _CLEANUP_S:
            heard = time.monotonic()
            raise Terminated

    before: Any = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        # Once it was heard the process ends, and what is closed at its exit isn't to be disturbed either.
        if heard is None:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def end_with_parent() -> None:
    """Hear SIGTERM when the process that started this one is gone: launchers end without telling their children."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    prctl_set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGTERM)
