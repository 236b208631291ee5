"""What reading a teacher dataset did, counted: rows in = rows out + rows dropped, each with its reason."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from palign_hf.errors import listed


@dataclass
class TraceReport:
    """The account of one reading; while streaming it grows as rows are consumed, and restarts with the stream."""

    source: str | None = None
    layout: str = ""
    columns_left_out: tuple[str, ...] = ()
    rows_in: int = 0
    rows_out: int = 0
    # Reason -> rows.
    dropped: Counter[str] = field(default_factory=Counter)
    # Where the gold answer came from -> rows kept; "none" for those without one.
    answers_found: Counter[str] = field(default_factory=Counter)
    # What was odd about rows that were kept -> rows.
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def think_unclosed(self) -> int:
        """Traces whose thinking tag was opened and never closed: the teacher was cut off."""
        return self.notes["thinking never closed"]

    @property
    def duplicates(self) -> int:
        """Rows whose question and trace repeat those of an earlier row; they are kept, their ids end in -1, -2, ..."""
        return self.notes["repeats an earlier row"]

    def count(self, row: dict[str, Any]) -> None:
        """Add one row as `read_row` returned it."""
        self.rows_in += 1
        if row["_dropped"]:
            self.dropped[row["_dropped"]] += 1
            return
        self.rows_out += 1
        self.answers_found[row["_answer_from"]] += 1
        self.notes.update(row["_notes"])

    def restart(self) -> None:
        """Set the counts to zero: a stream is read from its start again."""
        self.rows_in = self.rows_out = 0
        for counts in (self.dropped, self.answers_found, self.notes):
            counts.clear()

    def summary(self) -> str:
        """The report in one line."""
        rows = f"{self.rows_in} rows in, {self.rows_out} out" if self.rows_in else "no rows read yet"
        parts = [f"{self.source or 'dataset'} (layout `{self.layout}`): {rows}"]
        for title, counts in (("dropped", self.dropped), ("answers", self.answers_found), ("notes", self.notes)):
            if counts:
                parts.append(f"{title}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
        if self.columns_left_out:
            parts.append(f"columns left out: {listed(self.columns_left_out)}")
        return "; ".join(parts)
