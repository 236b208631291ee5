"""A polite end: what Slurm, Kubernetes and `docker stop` send ends a run as Ctrl-C does, resumable and in seconds."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Terminated(BaseException):
    """SIGTERM has come: not an error that anything may catch and go on."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated` in the main thread; a second one doesn't disturb the cleaning up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before: Any = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def end_with_parent() -> None:
    """Hear SIGTERM when the process that started this one is gone: launchers end without telling their children."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    prctl_set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGTERM)
