"""Progress: a bar for people, now and then a line for a log, nothing when told so."""

import gc
import io
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf import terminal as module
from palign_hf.terminal import Pace, Progress, _clock


class Clock:
    """Time that passes when it is told to; the thread that ticks by the real one is kept out of it."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(module, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "_TICK_S", 3600.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Log(io.StringIO):
    """Tells when a line was written."""

    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


@pytest.fixture
def lines(capsys):
    return lambda: capsys.readouterr().err.splitlines()


def test_a_log_gets_a_line_every_half_minute(clock, lines):
    progress = Progress(100, "truncating")
    for _ in range(100):
        clock.now += 1
        progress.advance()
    assert lines() == [
        "truncating: 30/100 rows, 1.00 rows/s, 0:01:10 left",
        "truncating: 60/100 rows, 1.00 rows/s, 0:00:40 left",
        "truncating: 90/100 rows, 1.00 rows/s, 0:00:10 left",
        "truncating: 100/100 rows in 0:01:40",
    ]
    progress.close()
    assert lines() == []


def test_a_short_run_leaves_no_line(clock, lines):
    progress = Progress(10, "truncating")
    clock.now += 29
    progress.advance(10)
    progress.close()
    assert lines() == []


def test_a_log_says_at_once_what_is_waited_for_and_goes_on_saying_it(clock, lines):
    progress = Progress(300, "truncating")
    progress.status("starting the engine")
    assert lines() == ["truncating: starting the engine ..."]
    clock.now += 29
    progress.tick()
    assert lines() == []
    clock.now += 1
    progress.tick()
    progress.tick()
    assert lines() == ["truncating: starting the engine ... (0:00:30)"]
    progress.answered()
    clock.now += 30
    progress.tick()
    assert lines() == ["truncating: 0/300 rows"]


def test_loading_counts_neither_for_the_rate_nor_for_the_details(clock, lines):
    progress = Progress(1000, "truncating", details=lambda seconds: {"probes/s": f"{300 / seconds:.1f}"})
    progress.status("starting the engine")
    clock.now += 500
    progress.tick()
    progress.answered()
    lines()
    for _ in range(60):
        clock.now += 0.5
        progress.advance()
    assert lines() == ["truncating: 60/1000 rows, 2.00 rows/s, probes/s 10.0, 0:07:50 left"]


def test_the_first_rows_alone_say_nothing_about_the_time_left(clock, lines):
    progress = Progress(300, "truncating")
    clock.now += 600
    progress.advance(1)  # after ten minutes of loading that nobody mentioned
    assert lines() == ["truncating: 1/300 rows"]
    for _ in range(4):
        clock.now += 1
        progress.advance(1)
    clock.now += 26
    progress.tick()
    assert lines() == ["truncating: 5/300 rows"]


def test_the_first_minute_of_an_engine_is_no_part_of_its_rate(clock, lines):
    """A row every ten seconds while kernels are compiled, then 1.7 a second, as a run with vLLM on a CPU had it."""
    progress = Progress(300, "truncating")
    for seconds in (10,) * 7 + (1 / 1.7,) * 140:
        clock.now += seconds
        progress.advance()
    first, second, *later = lines()
    assert (first, second) == ("truncating: 3/300 rows", "truncating: 6/300 rows")
    assert all(" 1.7" in line and "0:0" in line for line in later[1:]) and len(later) == 3
    assert float(later[0].split(", ")[1].removesuffix(" rows/s")) > 1


def test_the_wait_for_the_first_full_batch_is_no_part_of_the_rate(clock, lines):
    """One row starts the engine, a minute later the first 64 finish, then as many every 16 seconds."""
    progress = Progress(100_000, "truncating")
    for seconds, rows in ((1, 1), (60, 64), *[(16, 64)] * 6):
        clock.now += seconds
        progress.advance(rows)
    rates = [line.split(", ")[1] for line in lines() if "rows/s" in line]
    assert rates and set(rates) == {"4.00 rows/s"}


def test_a_few_slow_rows_have_a_rate_after_a_while(clock, lines):
    progress = Progress(300, "truncating")
    for _ in range(6):
        clock.now += 30
        progress.advance()
    assert ["left" in line for line in lines()] == [False] * 3 + [True] * 3


def test_a_row_that_others_waited_for_is_no_sprint(clock, lines):
    """Rows finish in order: 64 wait for a slow one, every 16 seconds."""
    progress = Progress(100_000, "truncating")
    for _ in range(100):
        clock.now += 16
        for _ in range(64):
            progress.advance()
    rates = [float(line.split(", ")[1].removesuffix(" rows/s")) for line in lines()[1:]]
    assert len(rates) > 10 and set(rates[2:]) == {4.0}


def test_what_the_ledger_answers_says_nothing_about_the_rest(clock, lines):
    progress = Progress(1000, "truncating")
    progress.advance(900, fresh=False)
    for _ in range(31):
        clock.now += 1
        progress.advance()
    assert lines() == ["truncating: 930/1000 rows, 1.00 rows/s, 0:01:10 left"]


def test_the_rate_is_that_of_the_last_minute(clock, lines):
    progress = Progress(10_000, "truncating")
    for seconds in (1,) * 200 + (4,) * 40:
        clock.now += seconds
        progress.advance()
    assert lines()[-1].startswith("truncating: 235/10000 rows, 0.25 rows/s")


def test_what_an_earlier_run_did_counts_as_done_but_not_as_fast(clock, lines):
    progress = Progress(100, "training", unit="step", before=60)
    for _ in range(30):
        clock.now += 1
        progress.advance(1)
    assert lines() == ["training: 90/100 steps, 1.00 steps/s, 0:00:10 left"]


def test_rows_of_unknown_number_have_no_time_left(clock, lines):
    progress = Progress(None, "reading")
    for _ in range(6):
        clock.now += 20
        progress.advance(1)
    assert lines()[-1] == "reading: 6 rows, 3.00 rows/min"


def test_a_silent_run_still_tells_that_it_lives(clock, lines):
    progress = Progress(5, "reading")
    for _ in range(3):
        clock.now += 30
        progress.tick()
    assert lines() == ["reading: 0/5 rows"] * 3
    progress.close()
    clock.now += 30
    progress.tick()
    progress.status("more")
    progress.advance()
    assert lines() == []


def test_a_run_that_is_given_up_says_how_far_it_came(clock, lines):
    progress = Progress(100, "truncating")
    progress.advance()
    clock.now += 45
    progress.close()
    assert lines() == ["truncating: 1/100 rows in 0:00:45"]


def test_lines_come_by_themselves_and_end_with_the_run(monkeypatch):
    log = Log()
    monkeypatch.setattr(module.sys, "stderr", log)
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.02)
    others = set(threading.enumerate())
    progress = Progress(5, "reading")
    (ticking,) = set(threading.enumerate()) - others
    assert ticking.daemon and log.written.wait(30) and log.getvalue().startswith("reading: 0/5 rows\n")
    progress.close()
    told = log.getvalue()
    ticking.join(30)
    assert not ticking.is_alive() and log.getvalue() == told


def test_the_thread_of_a_progress_that_nobody_closed_ends_with_it(monkeypatch):
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    others = set(threading.enumerate())
    progress = Progress(5, "reading")
    (ticking,) = set(threading.enumerate()) - others
    del progress
    gc.collect()
    ticking.join(30)
    assert not ticking.is_alive()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["log", "terminal"])
def test_nothing_is_shown_when_told_so(clock, monkeypatch, stream):
    monkeypatch.setattr(module.sys, "stderr", stream)
    threads = threading.active_count()
    progress = Progress(3, "truncating", shown=False, details=lambda seconds: 1 / 0)
    progress.status("starting the engine")
    for _ in range(3):
        clock.now += 60
        progress.tick()
    progress.close()
    assert stream.getvalue() == "" and threading.active_count() <= threads


def test_a_terminal_gets_a_bar(clock, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    progress = Progress(40, "truncating", details=lambda seconds: {"cached": "81%"})
    progress.status("starting the engine")
    assert "truncating (starting the engine):   0%" in terminal.getvalue()
    for _ in range(39):
        clock.now += 1
        progress.advance()
    progress.tick()
    clock.now += 3600
    progress.tick()
    shown = terminal.getvalue().split("\r")[-1]
    assert shown.startswith("truncating:  98%") and "39/40" in shown and "cached 81%" in shown
    assert "rows/min" in shown and shown.rstrip().endswith(" left]")
    progress.advance()
    progress.close()
    assert "40/40" in terminal.getvalue().split("\r")[-1]


def test_a_bar_without_a_total_counts(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(module.sys, "stderr", terminal)
    progress = Progress(None, "reading")
    progress.advance(3)
    progress.close()
    assert "reading: 3 rows [00:00" in terminal.getvalue()


@given(st.lists(st.tuples(st.floats(0, 200), st.integers(1, 500)), min_size=1, max_size=300), st.floats(0, 1000))
def test_a_rate_that_is_told_is_never_a_sprint_and_dwindles_in_silence(steps, later):
    pace, now = Pace(), 0.0
    for seconds, rows in steps:
        now += seconds
        pace.add(now, rows)
    rate = pace.rate(now + later)
    total = sum(rows for _, rows in steps)
    if rate is not None:
        assert 0 < rate and pace.rate(1e15) < 1e-6
    if pace.trusted(now + later):
        assert rate is not None and rate <= total


@given(st.floats(0.01, 50), st.integers(1, 200), st.integers(1, 40))
def test_a_steady_flow_has_its_rate_however_it_is_bundled(seconds, bundle, count):
    pace = Pace()
    for turn in range(count):
        pace.add(turn * seconds * bundle, bundle)
    rate = pace.rate((count - 1) * seconds * bundle)
    assert rate is None or rate == pytest.approx(1 / seconds)


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
