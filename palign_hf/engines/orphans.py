"""An engine's processes end with this one, even if it is killed: nothing else would give their memory back.

vLLM's engine core doesn't notice that its parent is gone. A small process of our own does: it reads from a pipe that
only this process holds open, and at its end kills what it was told to.
"""

import subprocess
import sys
from collections.abc import Iterable


_WATCH = """
import os, signal, sys
sys.stdin.buffer.read()
for pid in map(int, sys.argv[1:]):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class OrphanWatch:
    """Kills these processes as soon as this one is gone; to be ended once they have ended by themselves."""

    def __init__(self, pids: Iterable[int]) -> None:
        # In a session of its own: what is sent to this one's group must not reach it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, *map(str, pids)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Watch no more."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
