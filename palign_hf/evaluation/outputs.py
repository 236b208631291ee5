"""Reader of outputs in any table, one row a problem with a list of outputs or one row a sample, and of problems.

The reference layout is `answer` and `output`, a list of texts; they may be objects with the text and its finish
reason. Our own SAMPLES are read, too, and for anything else the columns are named. Nothing expected is dropped: a
problem without outputs has as many empty ones as the others have outputs.
"""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from palign_hf.config.resolve import check_function, located, may_call
from palign_hf.data.exact import number_text
from palign_hf.data.sources import open_source
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.evaluation.samples import SAMPLES, StudentOutput


if TYPE_CHECKING:
    from datasets import Dataset


# Role -> known column names.
KNOWN: dict[str, tuple[str, ...]] = {
    "output": ("output", "outputs", "text"),
    "gold": ("answer", "gold"),
    "id": ("id", "problem_id", "unique_id"),
    "benchmark": ("benchmark",),
    "sample": ("sample",),
    "question": ("question", "problem", "prompt_ori"),
    "finish_reason": ("finish_reason",),
    "tokens": ("tokens",),
    "draft_tokens": ("draft_tokens",),
    "forced_at": ("forced_at",),
    "seed": ("seed",),
    "error": ("error",),
}
_OURS = {name: name for name in KNOWN if name != "output"} | {"output": "text"}
# The keys of an output that is an object.
_TEXTS = ("text", "content", "output")
_COUNTS = ("tokens", "draft_tokens", "forced_at", "seed")
_PARTS = {"finish_reason": str, "error": str, **dict.fromkeys(_COUNTS, int)}
# As wide as the columns of SAMPLES; a seed is any number of 64 bits.
_RANGES = {"seed": (-(2**63), 2**63 - 1)}
# Half a surrogate pair is no character: neither UTF-8 nor parquet can hold it.
_REPLACED = "half a character, replaced by \ufffd"


@dataclass(frozen=True)
class Outputs:
    """All outputs of a file, how it was read, and notes about it."""

    outputs: list[StudentOutput]
    columns: dict[str, str]
    rows: int
    notes: Counter[str]


def read_outputs(
    rows: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str] | None = None,
    carry: Iterable[str] = (),
    benchmark: str = "outputs",
) -> Outputs:
    """Read the outputs of rows, grouped by problem; `columns` map roles to columns, as {"gold": "label"}.

    `carry` names columns to keep with the labels; `benchmark` is the name where no column has one.
    """
    present = list(dict.fromkeys(name for row in rows for name in row))
    ours = not columns and set(SAMPLES.columns) <= set(present)
    found = dict(_OURS) if ours else _columns(present, columns or {})
    about = [name for name in present if name not in SAMPLES.columns] if ours else list(carry)
    if missing := [name for name in about if name not in present]:
        raise UserError(
            f"`{shown(missing[0])}` can't be carried{nearest(missing[0], present)}. The columns are {listed(present)}."
        )
    reader = _Reader(found, about, benchmark, Counter())
    lists = any(isinstance(row.get(found["output"]), list) for row in rows)
    outputs = list(reader.wide(rows) if lists else reader.long(rows))
    return Outputs(outputs, found, len(rows), reader.notes)


def _columns(present: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The column of each role: as given, else the known one."""
    for target, column in given.items():
        if target not in KNOWN:
            raise UserError(f"`{shown(target)}` is not a column role{nearest(target, KNOWN)}. Name {listed(KNOWN)}.")
        if column not in present:
            raise UserError(
                f"There is no column `{shown(column)}`, given for the {target}{nearest(column, present)}. There are "
                f"{listed(present)}."
            )
    found = dict(given)
    taken = set(given.values())
    for target, names in KNOWN.items():
        there = [name for name in names if name in present and name not in taken]
        if target in found or not there:
            continue
        if len(there) > 1:
            raise UserError(
                f"Both {listed(there)} may hold the {target}. Say which: `columns={{'{target}': '{there[0]}'}}`."
            )
        found[target] = there[0]
    if missing := [target for target in ("output", "gold") if target not in found]:
        raise UserError(
            f"No column is known to hold the {missing[0]}: there are {listed(present)}. Name it: "
            f"`columns={{'{missing[0]}': ...}}`."
        )
    return found


@dataclass
class _Reader:
    """Reads rows whose columns are known."""

    columns: Mapping[str, str]
    about: Sequence[str]
    benchmark: str
    notes: Counter[str]

    def wide(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[StudentOutput]:
        """One row a problem."""
        lists = []
        for at, row in enumerate(rows):
            cell = self._cell(row, "output")
            if cell is not None and not isinstance(cell, list):
                raise self._wrong(at, "output", cell, "a list, as in other rows")
            lists.append(cell or [])
        each = min((len(one) for one in lists if one), default=1)
        seen: dict[tuple[str, str], int] = {}
        for at, (row, texts) in enumerate(zip(rows, lists, strict=True)):
            problem = self._problem(at, row)
            if (before := seen.setdefault((problem["benchmark"], problem["id"]), at)) != at:
                raise UserError(
                    f"The problem `{shown(problem['id'])}` has the rows {before + 1} and {at + 1}. Put its outputs "
                    f"into one row, or name a column that identifies problems: `columns={{'id': ...}}`."
                )
            if not texts:
                self.notes[f"problems without outputs, counted with {each} empty ones"] += 1
            beside = self._beside(row, len(texts))
            for sample, part in enumerate(texts or [None] * each):
                fields = {name: values[sample] for name, values in beside.items()}
                fields |= part if isinstance(part, dict) else {"text": part}
                yield StudentOutput(**problem, sample=sample, **self._part(at, fields))

    def _beside(self, row: Mapping[str, Any], texts: int) -> dict[str, list[Any]]:
        """The values of other columns for each output, where they are lists of the same length."""
        found = {}
        for name in _PARTS:
            cell = self._cell(row, name)
            if isinstance(cell, list) and len(cell) == texts:
                found[name] = cell
            elif cell is not None:
                self.notes[f"rows whose `{self.columns[name]}` is no list like the outputs: it was not read"] += 1
        return found

    def long(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[StudentOutput]:
        """One row a sample: those with one id are of one problem."""
        if "id" not in self.columns:
            self._refuse_repeats(rows)
        found: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = {}
        golds: dict[tuple[str, str], str] = {}
        for at, row in enumerate(rows):
            problem = self._problem(at, row)
            key = problem["benchmark"], problem["id"]
            found.setdefault(key, []).append((at, row))
            if golds.setdefault(key, problem["gold"]) != problem["gold"]:
                raise UserError(
                    f"The problem `{shown(key[1])}` has several gold answers, `{shown(golds[key])}` and, in row "
                    f"{at + 1}, `{shown(problem['gold'])}`. Give each problem an id of its own."
                )
        for group in found.values():
            for count, (at, row) in enumerate(group):
                numbered = self._number(at, row, "sample")
                part = {name: row[self.columns[name]] for name in _PARTS if self._cell(row, name) is not None}
                fields = self._part(at, part | {"text": self._cell(row, "output")})
                yield StudentOutput(**self._problem(at, row), sample=count if numbered is None else numbered, **fields)

    def _problem(self, at: int, row: Mapping[str, Any]) -> dict[str, Any]:
        gold = written(self._cell(row, "gold"))
        if gold is None:
            cell = self._cell(row, "gold")
            if cell is not None and not isinstance(cell, str | float):
                raise self._wrong(at, "gold", cell, "text or a number")
            raise UserError(
                f"Row {at + 1} has no gold answer in `{self.columns['gold']}`, so nothing could be right there. Fill "
                f"it in, or leave that problem out for all models alike."
            )
        named = {name: self._mended(written(self._cell(row, name))) for name in ("id", "benchmark", "question")}
        if named["id"] is None and "id" in self.columns:
            raise UserError(f"Row {at + 1} has no id in `{self.columns['id']}`. Give every problem one.")
        return {
            "id": named["id"] or str(at),
            "benchmark": named["benchmark"] or self.benchmark,
            "question": named["question"],
            "gold": self._mended(gold),
            "about": {name: self._mended(written(row.get(name))) for name in self.about},
        }

    def _part(self, at: int, part: Mapping[str, Any]) -> dict[str, Any]:
        """One output as an object: its text and the values beside it."""
        text = next((part[name] for name in _TEXTS if part.get(name) is not None), None)
        if text is not None and not isinstance(text, str):
            raise self._wrong(at, "output", text, "text, or an object with `text`")
        if not any(name in part for name in (*_TEXTS, "error")):
            raise self._wrong(at, "output", part, f"text, or an object with one of {listed(_TEXTS)}")
        fields: dict[str, Any] = {"text": self._mended(text)}
        for name, kind in _PARTS.items():
            value = part.get(name)
            if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
                raise self._wrong(at, name, value, "a whole number" if kind is int else "text")
            if isinstance(value, int):
                self._check_range(at, name, value)
            fields[name] = value
        # A grade's own error is found again; what is kept is why there is no text.
        fields["error"] = fields["error"] if text is None else None
        return fields

    def _number(self, at: int, row: Mapping[str, Any], target: str) -> int | None:
        value = self._cell(row, target)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise self._wrong(at, target, value, "a whole number")
        if value is not None:
            self._check_range(at, target, value)
        return value

    def _check_range(self, at: int, target: str, value: int) -> None:
        """Refuse values that SAMPLES can't hold: counts are never negative, and no text has that many tokens."""
        least, most = _RANGES.get(target, (0, 2**31 - 1))
        if not least <= value <= most:
            raise self._wrong(at, target, value, f"a whole number from {least} to {most}")

    def _cell(self, row: Mapping[str, Any], target: str) -> Any:
        return row.get(self.columns[target]) if target in self.columns else None

    def _refuse_repeats(self, rows: Sequence[Mapping[str, Any]]) -> None:
        seen: dict[str, int] = {}
        for at, row in enumerate(rows):
            question = written(self._cell(row, "question"))
            if question is not None and (before := seen.setdefault(question, at)) != at:
                raise UserError(
                    f"Rows {before + 1} and {at + 1} have the same question and no id, so whether they are samples of "
                    f"one problem is unknown. If so: `columns={{'id': '{self.columns['question']}'}}`."
                )

    def _mended(self, text: str | None) -> str | None:
        if text is None or text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text):
            return text
        self.notes[_REPLACED] += 1
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _wrong(self, at: int, target: str, value: Any, wanted: str) -> UserError:
        column = self.columns.get(target, target)
        return UserError(
            f"Row {at + 1}: `{column}` holds a `{type(value).__name__}` ({shown(repr(value))}), but {wanted} is "
            f"needed. Convert it first, or name another column: `columns={{'{target}': ...}}`."
        )


def written(value: Any) -> str | None:
    """Text, or a number as people write it (142.0 is "142"); None for blanks and anything else."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return None if math.isnan(value) else number_text(value) if math.isfinite(value) else str(value)
    return number_text(value) if isinstance(value, int | Decimal) else None


# The columns of a problem.
_PROBLEM = ("id", "question", "gold")


def is_file(given: str) -> bool:
    """Whether a task is a file of one's own."""
    return os.path.isfile(os.path.expanduser(given))


def own_problems(given: str) -> "Dataset":
    """The problems of a file, or of the user's own code, with the columns of `_PROBLEM`.

    Where nothing of the user's may be called there are none.
    """
    from datasets import Dataset, Features, Value

    if is_file(given):
        found: Any = open_source(given, split=None, config=None, revision=None, streaming=False)[0]
    else:
        found = located("task", given)
        if callable(found):
            check_function("task", found, given, ())
            found = _called(found, given) if may_call() else ()
    try:
        rows = [dict(row) for row in found]
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The task `{shown(given)}` is no list of rows but a `{type(found).__name__}`. Give rows with `question` "
            f"and `gold`, or a function without arguments that returns them."
        ) from error
    if not rows and (may_call() or is_file(given)):
        raise UserError(f"The task `{shown(given)}` has no problems. Give rows with `question` and `gold`.")
    present = dict.fromkeys(str(name) for row in rows for name in row)
    columns = {name: [column for column in KNOWN[name] if column in present] for name in _PROBLEM}
    for name, there in columns.items() if rows else ():
        if len(there) > 1 or (not there and name != "id"):
            which = f"{listed(there)} may all hold" if there else "no column is known to hold"
            raise UserError(
                f"The task `{shown(given)}` has the columns {listed(present)}: {which} the {name}. Name one of them "
                f"`{name}`, and none of the others {listed(KNOWN[name])}."
            )
    cells = {
        name: [_cell(name, row.get(there[0]) if there else None) for row in rows] for name, there in columns.items()
    }
    return Dataset.from_dict(cells, features=Features({name: Value("string") for name in _PROBLEM}))


def _called(function: Callable[[], Any], given: str) -> list[Any]:
    try:
        return list(function())
    except Exception as error:  # the user's code may raise anything
        raise UserError(
            f"The task `{shown(given)}` raised {type(error).__name__}: {shown(str(error), 300)}. It must return rows "
            f"with `question` and `gold`."
        ) from error


def _cell(name: str, value: Any) -> str | None:
    return value if isinstance(value, str) and name == "question" else written(value)
