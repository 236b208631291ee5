"""Report of reading a teacher dataset: rows in = rows out + rows dropped, each with its reason."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from palign_hf.errors import listed


# Origin of an answer that is used only because no better one exists.
OWN_ANSWER = "the teacher's own"
OWN_ADVICE = (
    "No column is known to hold a better one, and a wrong trace counts as right by its own answer. "
    "Name the gold column with `columns={'answer': ...}`, or add one to the dataset."
)


@dataclass
class TraceReport:
    """Counts of one reading; while streaming they grow as rows are consumed, and restart with the stream."""

    source: str | None = None
    layout: str = ""
    columns_left_out: tuple[str, ...] = ()
    rows_in: int = 0
    rows_out: int = 0
    # Reason -> rows.
    dropped: Counter[str] = field(default_factory=Counter)
    # Where the gold answer came from -> rows kept; "none" for those without one.
    answers_found: Counter[str] = field(default_factory=Counter)
    # Notes about kept rows -> rows.
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def warning(self) -> str | None:
        """Warning about unreliable gold answers, with a remedy; None if there are none."""
        own = self.answers_found[OWN_ANSWER]
        if not own:
            return None
        return f"{own} of {self.rows_out} rows have the teacher's own answer as gold. {OWN_ADVICE}"

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
        """The report in one line, its warning included."""
        rows = f"{self.rows_in} rows in, {self.rows_out} out" if self.rows_in else "no rows read yet"
        parts = [f"{self.source or 'dataset'} (layout `{self.layout}`): {rows}"]
        for title, counts in (("dropped", self.dropped), ("answers", self.answers_found), ("notes", self.notes)):
            if counts:
                parts.append(f"{title}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
        if self.columns_left_out:
            parts.append(f"columns left out: {listed(self.columns_left_out)}")
        return "; ".join(parts) + (f". {self.warning}" if self.warning else "")
