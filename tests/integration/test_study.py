"""A study of two arms and two seeds, as small as it can be: ended in the middle, taken up, told.

Slow since six students are trained and examined, each in a moment, by processes of their own.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


pytestmark = pytest.mark.integration

COMMAND = [
    sys.executable,
    "-m",
    "examples.toy.study",
    "--engine",
    "transformers",
    "--output-dir",
    "study",
    "--docs",
    "docs",
]
COMMAND += ["--workers", "1", "--arms", "label", "p-align", "--seeds", "2", "--rows", "3", "--traces", "24"]
COMMAND += ["--bare", "60", "--steps", "2", "--problems", "3", "--max-tokens", "24"]


def done(folder: Path) -> dict[str, float]:
    """The students that are finished, and when they were."""
    home = folder / "study" / "students"
    return {str(file.parent.relative_to(home)): file.stat().st_mtime for file in home.glob("*/*/report.json")}


def test_a_study_that_was_ended_goes_on_with_the_students_that_are_left(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(COMMAND, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 240
    while len(done(tmp_path)) < 2:
        assert begun.poll() is None and time.monotonic() < deadline, begun.communicate()
        time.sleep(0.2)
    begun.send_signal(signal.SIGTERM)
    _, errors = begun.communicate(timeout=60)
    assert begun.returncode == 143 and b"run the same command again" in errors and b"Traceback" not in errors
    kept = done(tmp_path)
    assert 2 <= len(kept) < 6

    ended = subprocess.run(COMMAND, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"{len(kept)} of 6 students are done" in ended.stdout and "making the tables" not in ended.stdout
    found = done(tmp_path)
    assert len(found) == 6 and all(found[name] == when for name, when in kept.items())
    # Of a student that was examined, only its samples and reports stay.
    assert not list((tmp_path / "study" / "students").rglob("*.safetensors"))
    assert not list((tmp_path / "study" / "students").rglob("*.sqlite"))

    page = (tmp_path / "docs" / "study.md").read_text()
    assert "What can be concluded" in page and "2 seeds" in page and (tmp_path / "docs" / "study.png").is_file()
    figures = json.loads((tmp_path / "study" / "study.json").read_text())
    assert set(figures["all"]["arms"]) == {"untrained", "label", "p-align"} and figures["all"]["problems"] == 3
