"""A run that is ended while vLLM loads leaves no process behind, whoever ends it and how.

Slow because vLLM has to load as far as the moment that is meant: its import, its core, the core's worker.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import SOON_S, of_group, spawned


pytestmark = pytest.mark.integration

SCRIPT = Path(__file__).parent / "loading_student.py"


@pytest.mark.parametrize(
    ("moment", "sent", "to_group"),
    [
        (1, signal.SIGKILL, False),
        (2, signal.SIGKILL, False),
        (2, signal.SIGINT, True),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else str(value),
)
def test_nothing_is_left_of_a_load_that_is_ended(moment, sent, to_group):
    """`moment`: how many processes the engine has by then."""
    command = [sys.executable, str(SCRIPT)]
    # In a group of its own, as a shell starts it.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as run:
        try:
            root, seen = psutil.Process(run.pid), set()
            assert run.stdout.readline() == "loading\n"
            deadline = time.monotonic() + 300
            while spawned(root, seen) < moment:
                assert run.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            family = root.children(recursive=True)
            os.killpg(run.pid, sent) if to_group else os.kill(run.pid, sent)
            began = time.monotonic()
            told, _ = run.communicate(timeout=60)
            left = psutil.wait_procs(family, timeout=SOON_S)[1]
            took = time.monotonic() - began
        finally:
            run.kill()
    assert left == []
    # Nor anything that came after the look at the family: all are of the group of the run.
    assert [child for child in psutil.process_iter() if of_group(child, run.pid)] == []
    assert told == ("" if sent == signal.SIGKILL else "ended in order\n")
    assert took < SOON_S
