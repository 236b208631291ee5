"""An engine's processes end with this one, even if it is killed: nothing else would give their memory back.

vLLM's engine core doesn't notice that its parent is gone, and while it loads nobody could tell this process which ones
to end. So a small process of our own stands by before the first of them starts. It knows them by a mark in the
environment that they inherit (Linux; elsewhere by the ids it is told), and kills them when it is told to, or when the
pipe that only this process holds open ends.
"""

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from threading import Lock


_MARK = "PALIGN_ENGINE_MARK"
# While an engine loads its processes are looked for so often: a title that one gives itself wipes the mark out.
_LOOK_S = 0.1
# After the end the watch goes on so long, for what was just being started.
_LINGER_S = 3.0
# Who ends the watch waits for it so long, if the machine is that slow.
_OVER_S = 15.0

# Python without site-packages, for it must be there within milliseconds.
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
    """Kills an engine's processes as soon as this one is gone, or when told to."""

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
        """What this process starts within, and what those start, is the engine's."""
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
        """All have started, these among them: look no more, only wait for the end."""
        self._say("settled", *(str(pid) for pid in pids if pid is not None))

    def kill(self) -> None:
        """Kill all that there is, and until the end of the watch what still comes."""
        self._say("kill")

    def clear(self) -> None:
        """Kill all that there is, and watch no more; back when it is done."""
        self._over(kill=False)

    def end(self) -> None:
        """Watch no more; nothing is killed."""
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
        # It may have been ended by whoever else waited for the engine.
        with self._turn, contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(" ".join(words).encode() + b"\n")
            self._process.stdin.flush()
