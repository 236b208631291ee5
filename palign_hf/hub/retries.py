"""Retries of requests to the Hub: which failures are retried, how long to wait, and their messages.

The clients try a commit, a new repository, a branch or a tag once, and say what went wrong in five unrelated families
of errors: their own HTTP errors, those of the HTTP library, `RuntimeError` around an upload, `ConnectionError` from
Xet, and JSON that breaks off. `fault_of` knows them, `Tries` waits between them. No message holds a token or
the signature of a URL, and the error that was caught is not kept as the context of the one that is raised.
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from palign_hf.redact import redact, remember


T = TypeVar("T")

_AGAIN = {408, 409, 412, 425, 429}
# Another writer was faster, or is at work.
_CONFLICT = {409, 412}
_DENIED = {401, 403}
_XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3})")
_RESET = re.compile(r"\bt=(\d+)")
# What follows the question mark of a signed URL, or stands before its host, is a key.
_SIGNED = re.compile(r"(https?://)(?:[^\s/@'\"]+@)?([^\s?'\"<>)]+)(\?[^\s'\"<>)]*)?")


@dataclass(frozen=True)
class Patience:
    """How often a step is tried, and how long one waits: doubling from `first_s`, or as long as the Hub asks."""

    tries: int = 6
    conflicts: int = 30
    first_s: float = 1.0
    longest_s: float = 60.0
    total_s: float = 300.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Fault:
    """The message of a failure, and whether it is retried."""

    words: str
    again: bool
    status: int | None = None
    wait_s: float | None = None

    @property
    def conflict(self) -> bool:
        """Whether somebody else has written meanwhile."""
        return self.status in _CONFLICT

    @property
    def denied(self) -> bool:
        """Whether the token isn't known, or may not do this."""
        return self.status in _DENIED


class GaveUp(Exception):
    """A step that failed for good; the caller knows what that means."""

    def __init__(self, doing: str, fault: Fault, tries: int) -> None:
        super().__init__(fault.words)
        self.doing, self.fault, self.tries = doing, fault, tries


def fault_of(error: BaseException) -> Fault | None:
    """What a failed call to the Hub means; None for what isn't about the Hub."""
    import httpx2
    from huggingface_hub.errors import (
        HfHubHTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
    )

    words = scrubbed(_message(error))
    if isinstance(error, LocalTokenNotFoundError):
        return Fault("no token was found", again=False, status=401)
    if isinstance(error, OfflineModeIsEnabled):
        return Fault(words, again=False)
    for one in _chain(error):
        if isinstance(one, HfHubHTTPError) and one.response is not None:
            status = one.response.status_code
            again = status in _AGAIN or status >= 500
            return Fault(words, again, status, _asked_to_wait(one.response.headers))
        if isinstance(one, httpx2.HTTPError):
            return Fault(words, again=True)
    if isinstance(error, ConnectionError) or (isinstance(error, RuntimeError) and "Error while upload" in str(error)):
        found = _XET_STATUS.search(str(error))
        refused = int(found[1]) if found else None
        return Fault(words, again=refused is None or refused in _AGAIN or refused >= 500, status=refused)
    if isinstance(error, LocalEntryNotFoundError | TimeoutError | json.JSONDecodeError):
        return Fault(words, again=True)
    return None


class Tries:
    """The tries of one step; conflicts with other writers are counted apart, since one of them always gets through."""

    def __init__(self, doing: str, patience: Patience) -> None:
        self._doing, self._patience = doing, patience
        self._failed = self._conflicts = 0
        self._until = patience.clock() + patience.total_s

    def wait(self, fault: Fault) -> None:
        """Wait before the next try, or give up."""
        patience = self._patience
        if fault.conflict:
            self._conflicts += 1
            # Not all at the same time again.
            seconds = patience.first_s * random.uniform(0.25, 1.0) * min(self._conflicts, 8)
        else:
            self._failed += 1
            seconds = min(patience.first_s * 2 ** (self._failed - 1), patience.longest_s)
        seconds = seconds if fault.wait_s is None else max(seconds, fault.wait_s)
        spent = self._failed >= patience.tries or self._conflicts >= patience.conflicts
        if not fault.again or spent or patience.clock() + seconds > self._until:
            raise GaveUp(self._doing, fault, self._failed + self._conflicts or 1)
        patience.sleep(seconds)


def patiently(doing: str, call: Callable[[], T], patience: Patience) -> T:
    """The result of a call that may be made twice, tried again where that helps."""
    tries = Tries(doing, patience)
    while True:
        try:
            return call()
        except Exception as error:
            fault = fault_of(error)
            if fault is None:
                raise
        # Outside of the handler: what is raised there would keep the error, and its headers, as its context.
        tries.wait(fault)


def scrubbed(text: str) -> str:
    """A message on one line, without the token in use, other keys, and the signatures of URLs."""
    from huggingface_hub import get_token

    remember(get_token())
    return " ".join(redact(_SIGNED.sub(r"\1\2", text)).split())


def _message(error: BaseException) -> str:
    """An error with the one that it was made from, where its own words say less."""
    cause = error.__cause__
    words = str(error).strip() or type(error).__name__
    return words if cause is None or not str(cause) or str(cause) in words else f"{words} ({cause})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__


def _asked_to_wait(headers: Any) -> float | None:
    """The seconds of `Retry-After`, as a number or as a date, or of the Hub's own header."""
    given = headers.get("retry-after")
    if given is not None:
        try:
            return max(0.0, float(given))
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(given).timestamp() - time.time())
        except ValueError:
            return None
    found = _RESET.search(headers.get("ratelimit", ""))
    return float(found[1]) if found else None
