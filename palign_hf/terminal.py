"""Standard output and error of a command: masked, free of control sequences, and safe to lose.

A closed stream, a pipe that reads only the first lines, or an ASCII terminal loses text, never work: a command's exit
status is that of its work.
"""

import contextlib
import errno
import logging
import os
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, TextIO

from palign_hf.errors import visible
from palign_hf.redact import redact


def prepare() -> None:
    """Make both streams writable: closed ones lead to /dev/null, unencodable characters are escaped."""
    _open_descriptors()
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream: Any = getattr(sys, name)
        if stream is None:
            # Kept open: the next opened file would otherwise get its number, and the output of libraries.
            setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and not stream.closed:
            stream.reconfigure(errors="backslashreplace")
    for handler in (logging.lastResort, *logging.getLogger().handlers):
        if handler is not None and _VISIBLE not in handler.filters:
            handler.addFilter(_VISIBLE)


def print_out(text: str) -> None:
    """Print to stdout, unbuffered: bars go to stderr, and the order must hold where both share a terminal."""
    _write(sys.stdout, f"{text}\n")


def print_err(text: str) -> None:
    """The same to stderr."""
    _write(sys.stderr, f"{text}\n")


def settle() -> None:
    """Flush stdout; the interpreter would print a traceback if its reader is gone."""
    stream: TextIO | None = sys.stdout
    if stream is not None:
        with _unread(stream):
            stream.flush()


def is_terminal() -> bool:
    """Whether stderr is a terminal, where bars can move."""
    return sys.stderr is not None and sys.stderr.isatty()


def bars_of_others() -> bool:
    """Whether other libraries may show their bars: see `quiet_bars`."""
    return is_terminal() and os.environ.get("TQDM_DISABLE", "0") in ("0", "")


@contextlib.contextmanager
def quiet_bars(always: bool = False) -> Iterator[None]:
    """Within, other libraries show no progress bars, unless stderr is a terminal; with `always` not even there.

    Their warnings and errors stay. An environment variable that asks for their bars wins. Processes that start within
    inherit it.
    """
    if not always and is_terminal():
        yield
        return
    # These are read when the libraries are imported, here and in processes that start within.
    names = ["HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"]
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    hub, transformers = (sys.modules.get(name) for name in ("huggingface_hub.utils", "transformers.utils.logging"))
    again: list[Callable[[], None]] = []
    if os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] not in ("0", ""):
        if transformers is not None and transformers.is_progress_bar_enabled():
            again.append(transformers.enable_progress_bar)
            transformers.disable_progress_bar()
        if hub is not None and not hub.are_progress_bars_disabled():
            again.append(hub.enable_progress_bars)
            hub.disable_progress_bars()
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        for enable in again:
            enable()


class _Visible(logging.Filter):
    """Removes control characters and secrets from log records, which quote data and servers."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = visible(redact(record.getMessage())), ()
        return True


_VISIBLE = _Visible()


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # closed, and nobody has prepared
        return
    with _unread(stream):
        stream.write(visible(redact(text)))
        stream.flush()


@contextlib.contextmanager
def _unread(stream: TextIO) -> Iterator[None]:
    """Redirect the stream to /dev/null once the other end of its pipe or terminal is gone."""
    try:
        yield
    except OSError as error:
        # A terminal that hung up is EIO.
        if error.errno not in (errno.EPIPE, errno.EIO):
            raise
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
    except ValueError:
        if not stream.closed:
            raise


def _open_descriptors() -> None:
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


_LINE_EVERY_S = 30.0
_TICK_S = 1.0
# The rate covers the last half minute, or the last bursts where rows come rarely.
_WINDOW_S = 30.0
_BURSTS = 10
_BURST_S = 1.0
# A rate needs these bursts and seconds. An engine's first minute is slower than any later one, so it also needs some
# rows, or a minute and a half.
_TRUSTED_BURSTS = 3
_TRUSTED_S = 5.0
_TRUSTED_ROWS = 20
_WARM_S = 90.0


class Progress:
    """Counts rows, or the given `unit`; `details` adds further figures (probes per second, cached share), given the
    seconds since the first answer. `before` rows were done by an earlier run: they count as done, but not for the
    rate.

    A terminal gets a tqdm bar. Anything else gets a line every half minute, also while nothing is finished, so that a
    log of hours stays readable and a silent run is not mistaken for a dead one.
    """

    def __init__(
        self,
        total: int | None,
        what: str,
        shown: bool | None = None,
        details: Callable[[float], dict[str, str]] = lambda seconds: {},
        unit: str = "row",
        before: int = 0,
        leave: bool = True,
    ) -> None:
        """`leave=False` removes a terminal's bar at the end, where another bar replaces it."""
        self._total, self._what, self._details, self._unit = total, visible(what), details, unit
        self._done = before
        self._pace = Pace()
        self._status: str | None = None
        self._made = self._printed = monotonic()
        self._began: float | None = None
        self._logged = False
        self._over = threading.Event()
        # Rows are counted where they finish, which is seldom the thread that made the bar.
        self._lock = threading.RLock()
        self._lines = shown is not False and not is_terminal()
        self._bar: Any = None
        if shown is not False and not self._lines:
            from tqdm.auto import tqdm

            share = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}" if total else "{n_fmt} {unit}s"
            layout = "{desc}: " + share + " [{elapsed}{postfix}]"
            self._bar = tqdm(
                total=total,
                desc=self._what,
                unit=unit,
                initial=before,
                disable=False,  # whatever TQDM_DISABLE says of others
                leave=leave,
                dynamic_ncols=True,
                bar_format=layout,
            )
        if shown is not False and not self._finished:
            over = self._over
            alive = weakref.ref(self, lambda _: over.set())
            threading.Thread(target=_tick, args=(alive, self._over), name="progress", daemon=True).start()

    def status(self, doing: str | None) -> None:
        """Show at once what the run waits for, such as "starting the engine"; the first answer or row ends it."""
        doing = visible(redact(doing)) if doing else doing
        with self._lock:
            if self._over.is_set() or doing == self._status:
                return
            self._status, self._since = doing, monotonic()
            if self._bar is not None:
                self._bar.set_description_str(f"{self._what} ({doing})" if doing else self._what, refresh=True)
            elif self._lines and doing:
                self._write(f"{self._what}: {doing} ...")

    def answered(self) -> None:
        """Record the first answer: time counts from here on, not from the loading before it."""
        with self._lock:
            if self._began is None:
                self._began = monotonic()
            self.status(None)

    def advance(self, rows: int = 1, fresh: bool = True) -> None:
        """Count `rows` more rows; those that aren't `fresh` cost nothing and don't change the rate."""
        with self._lock:
            if self._over.is_set():
                return
            self._done += rows
            if fresh and rows:
                self.answered()
                self._pace.add(monotonic(), rows)
            if self._bar is not None:
                self._bar.set_postfix_str(self._facts(), refresh=False)
                self._bar.update(rows)
            if self._finished:
                self.close()
            else:
                self.tick()

    def tick(self) -> None:
        """Print a line if it is due, and update the bar's clock."""
        with self._lock:
            if self._over.is_set():
                return
            now = monotonic()
            if self._bar is not None and now - self._printed >= _TICK_S:
                self._printed = now
                self._bar.set_postfix_str(self._facts(), refresh=True)
            elif self._lines and now - self._printed >= _LINE_EVERY_S:
                self._logged = True
                waited = f"{self._status} ... ({_clock(now - self._since)})" if self._status else ""
                self._write(f"{self._what}: {waited or ', '.join(filter(None, [self._count(), self._facts()]))}")

    def close(self) -> None:
        """End the bar; a log gets a last line only if the run was long enough for others."""
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            now = monotonic()
            if self._bar is not None:
                self._bar.close()
            elif self._lines and self._began is not None and (self._logged or now - self._made >= _LINE_EVERY_S):
                self._write(f"{self._what}: {self._count()} in {_clock(now - self._made)}")

    @property
    def _finished(self) -> bool:
        return bool(self._total) and self._done >= self._total  # type: ignore[operator]

    def _count(self) -> str:
        return f"{self._done}" + (f"/{self._total}" if self._total else "") + f" {self._unit}s"

    def _facts(self) -> str:
        """Rate, details and time left, as far as they are known."""
        if self._began is None:
            return ""
        now = monotonic()
        rate = self._pace.rate(now) if self._pace.trusted(now) else None
        parts = [f"{_speed(rate, self._unit)}"] if rate is not None else []
        parts += [visible(f"{name} {value}") for name, value in self._details(now - self._began).items()]
        if self._total and rate:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        return ", ".join(parts)

    def _write(self, line: str) -> None:
        self._printed = monotonic()
        print_err(line)


class Pace:
    """Recent rows per second. Rows often come in bursts, when one that others waited for is done; the rate is taken
    between whole bursts, and over several of them.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._began: float | None = None
        self._bursts: deque[tuple[float, float, int]] = deque()  # first and last moment, rows at its end

    def add(self, now: float, rows: int) -> None:
        """Record `rows` rows that finished at `now`."""
        self._rows += rows
        self._began = now if self._began is None else self._began
        if self._bursts and now - self._bursts[-1][0] < _BURST_S:
            began, _, _ = self._bursts.pop()
        else:
            began = now
        self._bursts.append((began, now, self._rows))
        while len(self._bursts) > _BURSTS and now - self._bursts[1][1] >= _WINDOW_S:
            self._bursts.popleft()

    def rate(self, now: float) -> float | None:
        """None until something came after the first burst, whose duration is unknown."""
        bursts = list(self._bursts)
        if len(bursts) > 2 and now - bursts[-1][0] < _BURST_S:
            bursts.pop()  # it may not be over
        if len(self._bursts) > _TRUSTED_BURSTS and bursts[0][0] == self._began:
            bursts.pop(0)  # after the first row of all an engine still compiles and fills its batch
        if len(bursts) < 2:
            return None
        (_, first, before), (_, last, rows) = bursts[0], bursts[-1]
        usual = (last - first) / (len(bursts) - 1)
        # Waiting as long as usual changes nothing, waiting longer does.
        return (rows - before) / (max(last, now - usual) - first)

    def trusted(self, now: float) -> bool:
        """Whether enough was seen for a rate that will hold, and so for the remaining time."""
        if self._began is None or len(self._bursts) <= _TRUSTED_BURSTS or now - self._bursts[0][1] < _TRUSTED_S:
            return False
        return self._rows >= _TRUSTED_ROWS or now - self._began >= _WARM_S


def _tick(progress: "weakref.ref[Progress]", over: threading.Event) -> None:
    """Ends with its progress, even if that was never closed."""
    while not over.wait(_TICK_S):
        alive = progress()
        if alive is None:
            return
        try:
            alive.tick()
        except (OSError, ValueError):  # the stream is closed
            return
        del alive


def _speed(rate: float, unit: str) -> str:
    return f"{rate * 60:.2f} {unit}s/min" if 0 < rate < 0.1 else f"{rate:.2f} {unit}s/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
