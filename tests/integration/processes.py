"""Looking at the processes of a run from outside."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil


# What the tests call soon: seconds on an idle machine, and still less than a scheduler waits between TERM and KILL.
SOON_S = 30
# Before the run is ended by force (`palign_hf/runs/signals.py`).
LATE_S = 20


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


def ended_within(run: subprocess.Popen, seconds: float) -> bool:
    """Whether it ends in that time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(seconds)
    return run.returncode is not None


def where_it_hangs(run: subprocess.Popen, log: Path) -> str:
    """What it said so far, the stacks of its threads if it tells them on SIGUSR1, and what the kernel says of them."""
    run.send_signal(signal.SIGUSR1)
    time.sleep(1)
    told = [log.read_text()[-20_000:]]
    for task in Path(f"/proc/{run.pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            told.append(f"{task.name} {(task / 'comm').read_text().strip()}: waits in {(task / 'wchan').read_text()}")
    with contextlib.suppress(psutil.Error):
        told += [f"child: {child}" for child in psutil.Process(run.pid).children(recursive=True)]
    return "\n".join(told)
