"""Processes that worked together end in bounded time, though their group can't be destroyed.

Slow because two processes load torch and find each other.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]


def test_processes_end_in_bounded_time_where_gloo_would_hang_at_exit():
    """torch's gloo hung at exit in 3 of 9 trainings: its destructor waits with the interpreter's lock held."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).with_name("stuck_group.py"))]
    processes = [
        subprocess.Popen(
            command,
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        (out, error), (other_out, other_error) = (process.communicate(timeout=120) for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [1, 0], error + other_error
    assert (out, other_out) == ("2 processes\nfollowed\n", "")
