"""A benchmark that starts a `vllm.LLM` of its own ends it on SIGTERM, as a command ends its engine."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import SOON_S, ended_within, where_it_hangs


pytestmark = pytest.mark.integration

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
# Loading vLLM twice on a busy machine.
LOADED_S = 600


def below(process: psutil.Process) -> dict[int, psutil.Process]:
    """All processes that it has started, and those that they have."""
    with contextlib.suppress(psutil.Error):
        return {child.pid: child for child in process.children(recursive=True)}
    return {}


def lives(process: psutil.Process) -> bool:
    """Whether it runs; in a container nobody may take in those that have ended."""
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_no_process_of_a_benchmark_outlives_it(tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, str(BENCHMARKS / "alignment.py"), "--rows", "10", "--rounds", "1000"]
    with log.open("w") as output:
        run = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output, env=os.environ)
    seen: dict[int, psutil.Process] = {}
    try:
        until = time.monotonic() + LOADED_S
        # Both engines have answered by then.
        while "turn 1:" not in log.read_text():
            assert run.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            seen |= below(psutil.Process(run.pid))
            time.sleep(0.2)
        engines = [one for one in below(psutil.Process(run.pid)).values() if "EngineCore" in " ".join(one.cmdline())]
        assert len(engines) >= 2, [*seen.values()]
        run.terminate()
        assert ended_within(run, SOON_S), where_it_hangs(run, log)
        until = time.monotonic() + SOON_S
        while alive := [one for one in seen.values() if lives(one)]:
            assert time.monotonic() < until, alive
            time.sleep(0.2)
        # On a slow machine an engine can hold up the interpreter's exit; then the alarm ends it.
        assert run.returncode in (143, -signal.SIGALRM)
        assert "alignment.py: ended by SIGTERM" in log.read_text() and "Run the same command again." in log.read_text()
    finally:
        for one in [*seen.values()]:
            with contextlib.suppress(psutil.Error):
                one.kill()
        run.kill()
        run.wait()
