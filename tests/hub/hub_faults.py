"""Faults on request: which requests fail, how, and how often.

A fault is a status that is answered instead (nothing is carried out), or one of:

`reset`      the connection is reset as soon as the request's beginning has come; nothing is carried out
`lost`       the request is carried out, and the connection closes without an answer
`cut`        carried out, and the connection closes half-way through the answer, head and content counted together
`truncated`  carried out, and only half the promised content comes; an answer without content is cut
`slow`       carried out, and the answer comes after `seconds`
"""

import re
import threading
from dataclasses import dataclass


KINDS = ("reset", "lost", "cut", "truncated", "slow")
STATUSES = {
    401: "Invalid username or password.",
    403: "Forbidden",
    408: "Request Timeout",
    409: "Conflict",
    412: "A commit has happened since. Please refresh and try again.",
    429: "Too Many Requests",
    500: "Internal Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


@dataclass
class Fault:
    """One fault; `left` counts down, None is for always, and `met` counts the requests that it struck."""

    method: str
    path: str
    kind: str | int
    left: int | None
    retry_after: int | None = None
    seconds: float = 1.0
    met: int = 0

    def strikes(self, method: str, path: str) -> bool:
        return self.left != 0 and self.method in (method, "*") and re.search(self.path, path) is not None


class Faults:
    """All that were asked for; the first that fits a request strikes it."""

    def __init__(self) -> None:
        self._asked: list[Fault] = []
        self._lock = threading.Lock()

    def ask(
        self,
        method: str,
        path: str,
        kind: str | int,
        times: int | None = 1,
        *,
        retry_after: int | None = None,
        seconds: float = 1.0,
    ) -> Fault:
        """Let requests fail whose method (`*`: any) and path with query (a pattern, searched) fit."""
        if kind not in KINDS and kind not in STATUSES:
            raise ValueError(f"`{kind}` is no kind of fault. Choose from {', '.join(KINDS)} or {sorted(STATUSES)}.")
        fault = Fault(method, path, kind, times, retry_after, seconds)
        with self._lock:
            self._asked.append(fault)
        return fault

    def clear(self) -> None:
        """From now on nothing fails."""
        with self._lock:
            self._asked.clear()

    def strike(self, method: str, path: str) -> Fault | None:
        """The fault of a request, which is then used up by one."""
        with self._lock:
            fault = next((one for one in self._asked if one.strikes(method, path)), None)
            if fault:
                fault.met += 1
                fault.left = fault.left - 1 if fault.left is not None else None
            return fault
