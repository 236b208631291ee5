"""How far a run is: one bar on a terminal, one line now and then in a log file."""

import sys
import time
from collections.abc import Callable
from typing import Any


_LINE_EVERY_S = 30.0


class Progress:
    """Counts rows, or what `unit` says; `details` adds what else is worth knowing (probes per second, cached share).
    `before` were done by an earlier run: they count as done, not as fast.

    A terminal gets a tqdm bar. Anything else gets a line every half minute with rate and time left, so that a log of
    hours stays readable.
    """

    def __init__(
        self,
        total: int | None,
        what: str,
        shown: bool | None = None,
        details: Callable[[float], dict[str, str]] = lambda seconds: {},
        unit: str = "row",
        before: int = 0,
    ) -> None:
        self._unit, self._before = unit, before
        self._total, self._what, self._details = total, what, details
        self._done = before
        self._started = self._closed = False
        self._began = self._said = time.monotonic()
        self._bar: Any = None
        self._lines = shown is not False and not sys.stderr.isatty()
        if shown is not False and sys.stderr.isatty():
            from tqdm.auto import tqdm

            self._bar = tqdm(total=total, desc=what, unit=unit, initial=before, dynamic_ncols=True)

    def advance(self, rows: int = 1) -> None:
        """So many more rows are done."""
        now = time.monotonic()
        if not self._started and rows:
            self._start(now, rows)
        self._done += rows
        finished = bool(self._total) and self._done >= self._total  # type: ignore[operator]
        if self._bar is not None:
            self._bar.set_postfix(self._details(now - self._began), refresh=False)
            self._bar.update(rows)
        elif self._lines and not finished and now - self._said >= _LINE_EVERY_S:
            self._said = now
            sys.stderr.write(self._line(now - self._began) + "\n")
            sys.stderr.flush()
        if finished:
            self.close()

    def _start(self, now: float, rows: int) -> None:
        """What came before the first row, such as loading a student, says nothing about the time that is left."""
        self._started = True
        self._began = self._said = now
        self._before += rows
        if self._bar is not None:
            self._bar.unpause()

    def close(self) -> None:
        """End the bar, as the last row does; a log gets a last line only if the run was long enough for others."""
        if self._closed:
            return
        self._closed = True
        if self._bar is not None:
            self._bar.close()
            return
        seconds = time.monotonic() - self._began
        if self._lines and self._started and (self._said > self._began or seconds >= _LINE_EVERY_S):
            sys.stderr.write(self._line(seconds) + "\n")

    def _line(self, seconds: float) -> str:
        rate = (self._done - self._before) / seconds if seconds else 0.0
        parts = [f"{self._what}: {self._done}" + (f"/{self._total}" if self._total else "") + f" {self._unit}s"]
        parts.append(f"{rate:.2f} {self._unit}s/s")
        parts += [f"{name} {value}" for name, value in self._details(seconds).items()]
        if self._total and rate:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        return ", ".join(parts)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
