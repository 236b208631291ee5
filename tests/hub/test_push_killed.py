"""A push that is killed at any point, and the same command again. Slow: each push is a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from finished_runs import pairs_run
from hub_clients import run

from palign_hf.hub.folders import read_folder


pytestmark = pytest.mark.integration
NAME = "tester/rows"


def command(folder):
    return [sys.executable, "-m", "palign_hf.cli", "publish", str(folder), NAME, "--tag", "v1"]


def killed(hub, folder, home, method, path):
    """Kill it while it waits for the answer to its first request of that kind, which the server has carried out."""
    fault = hub.fault(method, path, "slow", seconds=30.0)
    process = subprocess.Popen(
        command(folder), env=hub.environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while not fault.met:
        assert process.poll() is None and time.monotonic() < until, process.communicate()
        time.sleep(0.02)
    time.sleep(0.3)  # what is under way is carried out
    os.kill(process.pid, signal.SIGKILL)
    return "".join(process.communicate())


def test_after_kill_9_the_same_command_completes_and_sends_nothing_twice(hub, tmp_path):
    folder, home = pairs_run(tmp_path / "run"), tmp_path / "home"
    told = ""
    for method, path in (("PUT", "/upload/"), ("POST", "/commit/"), ("POST", "/tag/")):
        told += killed(hub, folder, home, method, path)
    done = run(hub, home, command(folder))
    told += done.stdout + done.stderr
    assert done.returncode == 0 and done.stdout.startswith("unchanged: ")
    found = read_folder(folder)
    files = hub.files("dataset", NAME)
    for item in found.files(found.config):
        assert files[item.path] == (item.source if isinstance(item.source, bytes) else item.source.read_bytes())
    assert "README.md" in files and hub.titles("dataset", NAME) == [f"Pairs: {found.config}"]
    repository = hub.repository("dataset", NAME)
    assert repository.find("v1").id == repository.find("main").id
    sent = Counter(entry.path for entry in hub.requests("PUT", "/upload/"))
    assert max(sent.values()) == 1 and len(hub.requests("POST", "/commit/")) == 1
    assert hub.token not in told


def test_large_files_go_by_xet_too(tmp_path):
    from hub_double import Double

    folder = pairs_run(tmp_path / "run")
    with Double(tmp_path / "hub", xet=True) as hub:
        hub.fault("POST", "/commit/", "lost")
        hub.fault("GET", "/xet-write-token/", 503)
        done = run(hub, tmp_path / "home", command(folder))
        assert done.returncode == 0 and done.stdout.startswith("pushed: "), done.stderr
        found = read_folder(folder)
        files = hub.files("dataset", NAME)
        assert all(
            files[item.path] == item.source.read_bytes()
            for item in found.files(found.config)
            if not isinstance(item.source, bytes)
        )
        assert hub.titles("dataset", NAME) == [f"Pairs: {found.config}"] and not hub.requests("PUT")
        assert hub.token not in done.stdout + done.stderr
