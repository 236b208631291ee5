"""The end of a process that is in a group of processes: in bounded time, with its own status.

The destructor of torch's gloo group waits for threads of gloo while it holds the interpreter's lock, for which these
threads wait to give back what the last exchange was of. So a process that destroys such a group, or leaves it to the
end of the interpreter, may hang for ever after all its work. Such a process leaves without destroying anything.
"""

import atexit
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import NoReturn


# What was registered for the end (temporary files, trackers) may take so long.
_PATIENCE_S = 10.0
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


def leave(status: int, patience: float = _PATIENCE_S) -> NoReturn:
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
