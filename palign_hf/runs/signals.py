"""Graceful termination: SIGTERM (Slurm, Kubernetes, `docker stop`) ends a run as Ctrl-C does, resumable, in seconds.

SIGHUP (a terminal or a connection that closes) does the same, unless `nohup` has it ignored.

Raising in the main thread is not enough. An exception of a signal handler can be lost (Python only prints it in a
finalizer or in a library's callback), a main thread inside C code of a library runs no handler, and cleaning up can
wait for ever. So a thread reads these signals from Python's wakeup descriptor. It sends the signal again while the
main thread still works, and ends the process by force after a deadline. An alarm does so where no thread runs any
more, as in an interpreter that hangs at its exit. The engine's processes end with this one in each case
(`engines/orphans.py`). Ctrl-C needs none of this: the user can press it again.
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


# Most seconds for the functions registered at exit (temporary files, trackers).
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
    """End this process now, after the functions registered at exit; no group of processes is destroyed.

    Those functions can hang, too: then a thread ends the process, or an alarm where no thread runs any more.
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


# Within these seconds a second SIGTERM is the first one again: launchers send it to the group and to the process.
_CLEANUP_S = 10.0
# Seconds until the process is ended by force: less than the 30 that Slurm and Kubernetes wait.
_PATIENCE_S = 25.0


# The signals that end a run from outside, where this system has them.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """One of the `ENDING` signals has come. No `Exception`: nothing may catch it and continue."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)

    @property
    def status(self) -> int:
        """The exit status, as shells have it: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


def _parting(name: str) -> str:
    return f"ended by {name}"


@contextmanager
def terminable(parting: Callable[[str], str] = _parting) -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise `Terminated` in the main thread.

    A second signal raises again only if cleaning up takes too long or the first was lost.

    `parting(signal name)` is printed if the process has to be ended by force. A SIGHUP that this process was started
    to ignore, as by `nohup`, stays ignored.
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
        # After a signal the process ends, and the handlers stay so that none interrupts what is closed at its exit.
        if heard is None:
            for one, handler in before.items():
                signal.signal(one, handler or signal.SIG_DFL)
            standby.dismiss()


class _Standby:
    """A thread that makes sure that the process ends once one of the `ENDING` signals has come."""

    count = 0

    def __init__(self, parting: Callable[[str], str], listened: Collection[int]) -> None:
        self.left = False
        self._parting, self._listened, self._main = parting, listened, threading.get_ident()
        if sys.platform == "win32":
            return
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        # Where Python writes the number of a signal as it comes, in whatever thread that is.
        self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        _Standby.count += 1
        threading.Thread(target=self._stand_by, args=(reading,), name="palign-standby", daemon=True).start()

    def dismiss(self) -> None:
        """Stop listening."""
        if sys.platform == "win32":
            return
        signal.set_wakeup_fd(self._before)
        _Standby.count -= 1
        os.close(self._writing)

    def _stand_by(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as numbers:
            while number := numbers.read(1):
                if number[0] in self._listened:
                    self._force_end(signal.Signals(number[0]))

    def _force_end(self, heard: signal.Signals) -> None:
        """Send the signal again while the main thread works; after the deadline end the process by force."""
        _set_alarm()
        deadline = time.monotonic() + _PATIENCE_S
        while (rest := deadline - time.monotonic()) > 0:
            time.sleep(min(rest, _CLEANUP_S + 0.1))
            if not self.left:
                signal.pthread_kill(self._main, heard)
        # Not through `sys.stderr`: the thread that hangs may hold its lock.
        with suppress(OSError):
            os.write(2, f"{self._parting(heard.name)}\n".encode())
        os._exit(128 + heard)


def _set_alarm() -> None:
    """Set by the handler and by the thread: each may run without the other."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S + _ALARM_S)


def _part() -> None:
    """A fork must not write its signals into the descriptor of its parent."""
    if _Standby.count:
        signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_part)


def end_with_parent() -> None:
    """Get SIGTERM when the parent process is gone: launchers can end without ending their children."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    prctl_set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(prctl_set_parent_death_signal, signal.SIGTERM)
