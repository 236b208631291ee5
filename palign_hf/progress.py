"""How far a run is: one bar on a terminal, one line now and then in a log file."""

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from palign_hf.errors import visible
from palign_hf.redact import redact
from palign_hf.streams import print_err


_LINE_EVERY_S = 30.0
_TICK_S = 1.0
# The rate is that of the last minute, or of the last bursts where rows come seldom.
_WINDOW_S = 60.0
_BURSTS = 10
_BURST_S = 1.0
# Before so much was seen, no time left is told.
_TRUSTED_BURSTS = 3
_TRUSTED_S = 5.0


class Progress:
    """Counts rows, or what `unit` says; `details` adds what else is worth knowing (probes per second, cached share),
    given the seconds since the first answer. `before` were done by an earlier run: they count as done, not as fast.

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
        """`leave=False` takes a terminal's bar away at the end, where another one tells of it."""
        self._total, self._what, self._details, self._unit = total, visible(what), details, unit
        self._done = before
        self._pace = Pace()
        self._status: str | None = None
        self._made = self._said = monotonic()
        self._began: float | None = None
        self._told = False
        self._over = threading.Event()
        # Rows are counted where they finish, which is seldom the thread that made the bar.
        self._lock = threading.RLock()
        self._lines = shown is not False and not (sys.stderr is not None and sys.stderr.isatty())
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
                leave=leave,
                dynamic_ncols=True,
                bar_format=layout,
            )
        if shown is not False and not self._finished:
            over = self._over
            alive = weakref.ref(self, lambda _: over.set())
            threading.Thread(target=_tick, args=(alive, self._over), name="progress", daemon=True).start()

    def status(self, doing: str | None) -> None:
        """Say what is waited for, as "starting the engine", at once; the first answer or row ends it."""
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
        """The student has answered: from here on time counts, and not from the loading before it."""
        with self._lock:
            if self._began is None:
                self._began = monotonic()
            self.status(None)

    def advance(self, rows: int = 1, fresh: bool = True) -> None:
        """So many more rows are done; those that aren't `fresh` cost nothing and say nothing about the time left."""
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
        """Time has passed: a line is told if it is due, and a bar shows how long it has been."""
        with self._lock:
            if self._over.is_set():
                return
            now = monotonic()
            if self._bar is not None and now - self._said >= _TICK_S:
                self._said = now
                self._bar.set_postfix_str(self._facts(), refresh=True)
            elif self._lines and now - self._said >= _LINE_EVERY_S:
                self._told = True
                waited = f"{self._status} ... ({_clock(now - self._since)})" if self._status else ""
                self._write(f"{self._what}: {waited or ', '.join(filter(None, [self._count(), self._facts()]))}")

    def close(self) -> None:
        """End the bar, as the last row does; a log gets a last line only if the run was long enough for others."""
        with self._lock:
            if self._over.is_set():
                return
            self._over.set()
            now = monotonic()
            if self._bar is not None:
                self._bar.close()
            elif self._lines and self._began is not None and (self._told or now - self._made >= _LINE_EVERY_S):
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
        rate = self._pace.rate(now)
        parts = [f"{_speed(rate, self._unit)}"] if rate is not None else []
        parts += [visible(f"{name} {value}") for name, value in self._details(now - self._began).items()]
        if self._total and rate and self._pace.trusted(now):
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        return ", ".join(parts)

    def _write(self, line: str) -> None:
        self._said = monotonic()
        print_err(line)


class Pace:
    """Rows per second lately. Rows often come in bursts, when one that others waited for is done; a rate is taken
    between whole bursts, and over several of them.
    """

    def __init__(self) -> None:
        self._rows = 0
        self._bursts: deque[tuple[float, float, int]] = deque()  # first and last moment, rows at its end

    def add(self, now: float, rows: int) -> None:
        """So many rows came just now."""
        self._rows += rows
        if self._bursts and now - self._bursts[-1][0] < _BURST_S:
            began, _, _ = self._bursts.pop()
        else:
            began = now
        self._bursts.append((began, now, self._rows))
        while len(self._bursts) > _BURSTS and now - self._bursts[1][1] >= _WINDOW_S:
            self._bursts.popleft()

    def rate(self, now: float) -> float | None:
        """None until something came after the first burst, which says nothing about how long it took."""
        bursts = list(self._bursts)
        if len(bursts) > 2 and now - bursts[-1][0] < _BURST_S:
            bursts.pop()  # it may not be over
        if len(bursts) < 2:
            return None
        (_, first, before), (_, last, rows) = bursts[0], bursts[-1]
        usual = (last - first) / (len(bursts) - 1)
        # Waiting as long as usual changes nothing, waiting longer does.
        return (rows - before) / (max(last, now - usual) - first)

    def trusted(self, now: float) -> bool:
        """Whether enough was seen to say how long the rest will take."""
        return len(self._bursts) > _TRUSTED_BURSTS and now - self._bursts[0][1] >= _TRUSTED_S


def _tick(progress: "weakref.ref[Progress]", over: threading.Event) -> None:
    """Ends with its progress, also with one that nobody closed."""
    while not over.wait(_TICK_S):
        alive = progress()
        if alive is None:
            return
        try:
            alive.tick()
        except (OSError, ValueError):  # nobody reads any more
            return
        del alive


def _speed(rate: float, unit: str) -> str:
    return f"{rate * 60:.2f} {unit}s/min" if 0 < rate < 0.1 else f"{rate:.2f} {unit}s/s"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
