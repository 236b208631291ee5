"""Looking at the processes of a run from outside."""

import contextlib
import os

import psutil


# What the tests call soon: seconds on an idle machine, and still less than a scheduler waits between TERM and KILL.
SOON_S = 30


def spawned(root: psutil.Process, seen: set[int]) -> int:
    """How many processes of the engine have been seen: the core and its worker, which change their names later."""
    with contextlib.suppress(psutil.Error):
        for child in root.children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("spawn_main" in word for word in child.cmdline()):
                    seen.add(child.pid)
    return len(seen)


def of_group(process: psutil.Process, group: int) -> bool:
    """Whether it lives and is of that process group."""
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.Error):
        return False
