"""Progress: a bar for people, now and then a line for a log, nothing when told so."""

import io
import re

import pytest

from palign_hf import progress as module
from palign_hf.progress import Progress, _clock


class Clock:
    """Time that passes when it is told to."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_log_gets_a_line_every_half_minute(clock, capsys):
    progress = Progress(100, "truncating")
    for _ in range(100):
        clock.now += 1
        progress.advance()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"truncating: {rows}/100 rows" for rows in (31, 61, 91, 100)]
    assert lines[-1] == "truncating: 100/100 rows, 1.00 rows/s, 0:00:00 left"
    progress.close()
    assert capsys.readouterr().err == ""


def test_a_short_run_leaves_no_line(clock, capsys):
    progress = Progress(10, "truncating")
    clock.now += 29
    progress.advance(10)
    progress.close()
    assert capsys.readouterr().err == ""


def test_a_line_tells_rate_details_and_time_left(clock, capsys):
    progress = Progress(
        10_000, "truncating", details=lambda seconds: {"probes/s": f"{300 / seconds:.1f}", "cached": "81%"}
    )
    clock.now += 500  # a student is loaded
    progress.advance(1)
    assert capsys.readouterr().err == ""
    clock.now += 40
    progress.advance(50)
    assert (
        capsys.readouterr().err == "truncating: 51/10000 rows, 1.25 rows/s, probes/s 7.5, cached 81%, 2:12:39 left\n"
    )


def test_what_an_earlier_run_did_counts_as_done_but_not_as_fast(clock, capsys):
    progress = Progress(100, "training", unit="step", before=60)
    progress.advance(1)
    clock.now += 40
    progress.advance(19)
    assert capsys.readouterr().err == "training: 80/100 steps, 0.47 steps/s, 0:00:42 left\n"


def test_rows_of_unknown_number_have_no_time_left(clock, capsys):
    progress = Progress(None, "reading")
    progress.advance(2)
    clock.now += 30
    progress.advance(3)
    assert capsys.readouterr().err == "reading: 5 rows, 0.10 rows/s\n"


def test_nothing_done_has_no_time_left(clock, capsys):
    progress = Progress(5, "reading")
    clock.now += 30
    progress.advance(0)
    assert capsys.readouterr().err == "reading: 0/5 rows, 0.00 rows/s\n"


def test_no_time_passed_has_no_rate(clock, capsys, monkeypatch):
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.0)
    Progress(5, "reading").advance(5)
    assert capsys.readouterr().err == "reading: 5/5 rows, 0.00 rows/s\n"


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_nothing_is_shown_when_told_so(clock, monkeypatch, stream):
    monkeypatch.setattr(module.sys, "stderr", stream)
    progress = Progress(3, "truncating", shown=False, details=lambda seconds: 1 / 0)
    for _ in range(3):
        clock.now += 60
        progress.advance()
    progress.close()
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    progress = Progress(4, "truncating", details=lambda seconds: {"cached": "81%"})
    progress.advance(3)
    progress.advance(1)
    progress.close()
    progress.close()
    shown = terminal.getvalue()
    assert "truncating: 100%" in shown and "4/4" in shown and "cached=81%" in shown
    assert not re.search(r"rows/s, .* left", shown)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0:00:00"),
        (0.4, "0:00:00"),
        (59.6, "0:01:00"),
        (3599.9, "1:00:00"),
        (3661, "1:01:01"),
        (360_000, "100:00:00"),
    ],
)
def test_a_duration_reads_as_hours_minutes_and_seconds(seconds, shown):
    assert _clock(seconds) == shown
