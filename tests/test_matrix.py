"""`make matrix`: its command line, and what it reports of versions that can't be installed."""

import subprocess
import sys
from pathlib import Path

import pytest


REQUIREMENTS = Path(__file__).parents[1] / "requirements"


@pytest.fixture
def matrix(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(REQUIREMENTS))
    import matrix

    monkeypatch.setattr(matrix, "FOLDER", tmp_path)
    yield matrix
    for name in ("matrix", "lock"):
        sys.modules.pop(name, None)


def test_help_names_what_it_installs_and_its_exit_status():
    command = [sys.executable, str(REQUIREMENTS / "matrix.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "lowest and the newest versions" in done.stdout and "exit status is 1" in done.stdout


def test_an_unknown_resolution_is_refused(matrix, capsys):
    with pytest.raises(SystemExit) as left:
        matrix.parse(["lowst"])
    assert left.value.code == 2 and "`lowst` is no resolution. Name lowest or newest." in capsys.readouterr().err


def test_a_version_that_the_index_lacks_fails_that_resolution_alone(matrix, monkeypatch, capsys):
    def install(name, torch):
        if name == "lowest":
            raise matrix.Unavailable("no version of trl==1.15.0")
        return matrix.Outcome(name, {"torch": "2.13.0+cpu", "trl": "1.16.0"}, "2.15.0")

    def run_tests(outcome, selections):
        outcome.lines.append("tests: 3 passed")

    monkeypatch.setattr(matrix, "install", install)
    monkeypatch.setattr(matrix, "test", run_tests)
    monkeypatch.setattr(sys, "argv", ["matrix.py"])
    assert matrix.main() == 1
    printed = capsys.readouterr().out
    assert "lowest (lowest-direct): FAILED" in printed and "no version of trl==1.15.0" in printed
    assert "newest (highest): ok" in printed and "torch 2.15.0 resolves, but is no CPU build" in printed


def test_a_failed_test_run_fails_the_resolution(matrix, monkeypatch, tmp_path, capsys):
    python = tmp_path / "lowest" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho '1 failed, 2 passed in 0.12s'\nexit 1\n")
    python.chmod(0o755)
    outcome = matrix.Outcome("lowest")
    matrix.test(outcome, [["tests"]])
    assert outcome.failed and outcome.lines[0].startswith("tests: 1 failed, 2 passed (")
