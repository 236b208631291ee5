"""Watch process that kills an engine's processes when this process ends, even by SIGKILL.

vLLM's engine core doesn't notice that its parent is gone, and while it loads this process doesn't know its ids. So a
small watch process starts first. It identifies the engine's processes by a marker in their inherited environment (on
Linux; elsewhere by ids it receives), and kills them on command, or when the pipe held by this process closes.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from threading import Lock


_MARK = "PALIGN_ENGINE_MARK"
# Seconds between scans while an engine loads: a process that sets its title erases the marker.
_LOOK_S = 0.1
# Seconds that the watch continues after the end, for processes that were just being started.
_LINGER_S = 3.0
# Seconds to wait for the watch to end on a slow machine.
_OVER_S = 15.0

# Python without site-packages, which starts within milliseconds.
_WATCH = """
import os, select, signal, sys, time
mark, look, linger = sys.argv[1].encode(), float(sys.argv[2]), float(sys.argv[3])
known = {}

def processes():
    # pid -> (parent, when it began, in ticks)
    found = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                if fields[0] != b"Z":
                    found[int(name)] = int(fields[1]), int(fields[19])
            except OSError:
                pass
    return found

def marked(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read()
    except OSError:
        return False

def find():
    running = processes()
    me = running.pop(os.getpid(), (0, 0))[1]
    for pid, began in list(known.items()):
        if running:
            # Gone, or its number is another's by now.
            if pid not in running or began not in (None, running[pid][1]):
                del known[pid]
            else:
                known[pid] = running[pid][1]
    # What is older than this watch is not what it watches for.
    fresh = [pid for pid, (_, began) in running.items() if began >= me and pid not in known and marked(pid)]
    while fresh:
        known.update((pid, running[pid][1]) for pid in fresh)
        fresh = [pid for pid, (parent, _) in running.items() if parent in known and pid not in known]

def kill():
    for pid in known:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass

looking, killing, rest, until = True, False, b"", None
while until is None or time.monotonic() < until:
    if until is not None:
        time.sleep(look)
    elif select.select([0], [], [], look if looking else None)[0]:
        data = os.read(0, 65536)
        *lines, rest = (rest + data).split(b"\\n")
        for line in lines:
            word, *pids = line.split()
            known.update((int(pid), None) for pid in pids if int(pid) not in known)
            # Who has given up and who has loaded may speak at once, and the first is right.
            killing = looking = killing or word == b"kill"
        if not data:
            killing, until = True, time.monotonic() + linger
    find()
    if killing:
        kill()
        if until is not None and not known:
            # Only what was being started in the last moment can still come.
            until = min(until, time.monotonic() + 5 * look)
"""


class OrphanWatch:
    """Kills an engine's processes when this process is gone, or on command."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._turn = Lock()
        # In a session of its own: what is sent to this one's group must not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, f"{_MARK}={self._mark}", str(_LOOK_S), str(_LINGER_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @contextlib.contextmanager
    def marking(self) -> Iterator[None]:
        """Mark processes that start within this block, and their children, as the engine's."""
        before = os.environ.get(_MARK)
        os.environ[_MARK] = self._mark
        try:
            yield
        finally:
            if before is None:
                del os.environ[_MARK]
            else:
                os.environ[_MARK] = before

    def settle(self, pids: Iterable[int | None]) -> None:
        """Stop scanning after all processes have started, `pids` among them."""
        self._say("settled", *(str(pid) for pid in pids if pid is not None))

    def kill(self) -> None:
        """Kill all of the engine's processes, and any that still start."""
        self._say("kill")

    def clear(self) -> None:
        """Kill all of the engine's processes and end the watch."""
        self._over(kill=False)

    def end(self) -> None:
        """End the watch without killing anything."""
        self._over(kill=True)

    def _over(self, kill: bool) -> None:
        with self._turn:
            if kill:
                self._process.kill()
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            try:
                self._process.wait(_OVER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _say(self, *words: str) -> None:
        # Another waiter for the engine may have ended it.
        with self._turn, contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(" ".join(words).encode() + b"\n")
            self._process.stdin.flush()
