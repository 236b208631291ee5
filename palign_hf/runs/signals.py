"""A polite end: what Slurm, Kubernetes and `docker stop` send ends a run as Ctrl-C does, resumable and in seconds.

A terminal or a connection that closes (SIGHUP) ends it in the same way, unless `nohup` keeps that from it.

Nothing may keep it from ending. What a handler raises can be lost (in a finaliser, or in a library's callback, Python
only prints it); a main thread in the depth of a library hears nothing; and on the way out something may be waited for
that never comes. So a thread stands by, which hears of these signals by itself. It sends the signal again as long as
there is work, and at last ends the process by force. Where no thread runs any more, as in an interpreter that hangs
while it ends, an alarm does that. The engine's processes end with this one in each case (`engines/orphans.py`). Ctrl-C
needs nothing of the kind: who has pressed it can press it again.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn


# What was registered for the end (temporary files, trackers) may take so long.
_EXIT_PATIENCE_S = 10.0
_ALARM_S = 2.0


def grouped() -> bool:
    """Whether this process is in a group with others, of torch's own making."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return False
    return int(distributed.get_world_size()) > 1


def destroyable() -> bool:
    """Whether the group of processes can be destroyed safely: one without gloo."""
    distributed = sys.modules["torch.distributed"]
    return "gloo" not in str(distributed.get_backend_config())


def leave(status: int, patience: float = _EXIT_PATIENCE_S) -> NoReturn:
    """End this process now, after what was registered for its end; nothing is destroyed.

    What is registered may hang, too: then a thread ends the process, or an alarm where no thread runs any more.
    """
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, patience + _ALARM_S)
    threading.Thread(target=_end, args=(status, patience), name="palign-leave", daemon=True).start()
    with suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


def _end(status: int, patience: float) -> None:
    time.sleep(patience)
    os._exit(status)


# So long a second SIGTERM is taken for the first one's echo.
_CLEANUP_S = 10.0
# After that the process is ended by force: sooner than Slurm and Kubernetes do it, which give it 30 seconds.
_PATIENCE_S = 25.0


# What ends a run from outside, as far as this system knows it.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """One of the `ENDING` signals has come: not an error that anything may catch and go on."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def status(self) -> int:
        """The exit status of what a signal has ended, as shells have it: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


def _parting(name: str) -> str:
    return f"ended by {name}"


@contextmanager
def terminable(parting: Callable[[str], str] = _parting) -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise `Terminated` in the main thread; a second one doesn't disturb the cleaning up.

    Unless that takes too long, or the first was lost. `parting`, given the signal's name, is said if the process has
    to be ended by force. A SIGHUP that this process was started to ignore, as by `nohup`, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    heard: float | None = None

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal heard
        now = time.monotonic()
        if heard is None or now - heard > _CLEANUP_S:
            if heard is None:
                _set_alarm()
            heard = now
            raise Terminated(number)

    listened = [one for one in ENDING if one == signal.SIGTERM or signal.getsignal(one) != signal.SIG_IGN]
    before: dict[int, Any] = {one: signal.signal(one, end) for one in listened}
    standby = _Standby(parting, listened)
    try:
        yield
    finally:
        standby.left = True
        # Once it was heard the process ends, and what is closed at its exit isn't to be disturbed either.
        if heard is None:
            for one, handler in before.items():
                signal.signal(one, handler or signal.SIG_DFL)
            standby.dismiss()


class _Standby:
    """A thread that sees to the end of this process from the moment that a signal to end has come."""

    count = 0

    def __init__(self, parting: Callable[[str], str], listened: Collection[int]) -> None:
        self.left = False
        self._parting, self._listened, self._main = parting, listened, threading.get_ident()
        if sys.platform == "win32":
            return
        heard, self._told = os.pipe()
        os.set_blocking(self._told, False)
        # Where Python writes the number of a signal as it comes, in whatever thread that is.
        self._before = signal.set_wakeup_fd(self._told, warn_on_full_buffer=False)
        _Standby.count += 1
        threading.Thread(target=self._stand_by, args=(heard,), name="palign-standby", daemon=True).start()

    def dismiss(self) -> None:
        """It is not needed any more."""
        if sys.platform == "win32":
            return
        signal.set_wakeup_fd(self._before)
        _Standby.count -= 1
        os.close(self._told)

    def _stand_by(self, ear: int) -> None:
        with open(ear, "rb", buffering=0) as heard:
            while number := heard.read(1):
                if number[0] in self._listened:
                    self._see_to_the_end(signal.Signals(number[0]))

    def _see_to_the_end(self, heard: signal.Signals) -> None:
        """Once more by the signal, as long as the main thread hasn't left its work; then by force."""
        _set_alarm()
        deadline = time.monotonic() + _PATIENCE_S
        while (rest := deadline - time.monotonic()) > 0:
            time.sleep(min(rest, _CLEANUP_S + 0.1))
            if not self.left:
                signal.pthread_kill(self._main, heard)
        # Not by way of `sys.stderr`: who hangs may hold its lock.
        with suppress(OSError):
            os.write(2, f"{self._parting(heard.name)}\n".encode())
        os._exit(128 + heard)


def _set_alarm() -> None:
    """By the main thread, which may be gone before the other one wakes, and by that, which alone may hear."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S + _ALARM_S)


def _part() -> None:
    """In a fork: what it is told is not for the process that it comes from."""
    if _Standby.count:
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_part)


def end_with_parent() -> None:
    """Hear SIGTERM when the process that started this one is gone: launchers end without telling their children."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    prctl_set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGTERM)
