"""Counts of a PAIRS table in one pass, at about fifty bytes a row.

Rows of a problem may be anywhere, in any split: a hash of their `id` groups them.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from palign_hf.alignment.acceptance import FLAGS
from palign_hf.errors import shown
from palign_hf.runs.report import Reasons
from palign_hf.schema import FALLBACKS, OUTCOMES, PAIRS, SchemaError
from palign_hf.tables import share, spread


if TYPE_CHECKING:
    import pyarrow as pa


# Values of a column that are listed separately, those with most problems.
MOST_VALUES = 20


class ValueShare(TypedDict):
    """One value of a column, or the `values` that are grouped as others.

    `kept_rate` is of the sampled problems; `skew` is the share of the pairs over that of all problems.
    """

    value: str
    values: int
    problems: int
    problem_share: float
    asked: int
    kept_problems: int
    kept_rate: float | None
    pairs: int
    pair_share: float | None
    skew: float | None


class Problems:
    """Outcome of each problem: whether it was sampled, whether a pair was kept, and its number of pairs."""

    def __init__(self, asked: np.ndarray, kept: np.ndarray, pairs: np.ndarray) -> None:
        self.asked, self.kept, self.pairs = asked, kept, pairs

    def by_value(self, codes: np.ndarray, values: Sequence[str | None]) -> list[ValueShare]:
        """The shares of a column; `codes` maps each problem to one of `values`."""
        names = [_name(value) for value in values]
        counts = np.bincount(codes, minlength=len(names))
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda code: (-counts[code], names[code], code))
        listed, left = order[:MOST_VALUES], order[MOST_VALUES:]
        places = np.full(len(names), len(listed))
        places[listed] = np.arange(len(listed))
        shares = self._shares(places[codes], [names[code] for code in listed] + [f"{len(left)} others"] * bool(left))
        for others in shares[len(listed) :]:
            others["values"] = len(left)
        return shares

    def by_quarter(self, numbers: np.ndarray, unit: str) -> list[ValueShare]:
        """The shares of each quarter of the problems, by a number that is -1 where unknown."""
        known = numbers[numbers >= 0]
        if not len(known):
            return []
        # Bounds that are values themselves: a value is in one quarter, however often it occurs.
        bounds = np.unique(np.quantile(known, (0.25, 0.5, 0.75, 1.0), method="inverted_cdf"))
        places = np.where(numbers >= 0, np.searchsorted(bounds, numbers), len(bounds))
        ends = [(known[places[numbers >= 0] == place].min(), bound) for place, bound in enumerate(bounds)]
        names = [f"{low:,} to {high:,} {unit}" if low < high else f"{high:,} {unit}" for low, high in ends]
        return self._shares(places, names + ["not known"] * (len(known) < len(numbers)))

    def _shares(self, places: np.ndarray, names: Sequence[str]) -> list[ValueShare]:
        def sums(numbers: np.ndarray | None = None) -> list[int]:
            return [int(total) for total in np.bincount(places, numbers, minlength=len(names))]

        found: list[ValueShare] = []
        pairs_of_all = int(self.pairs.sum())
        for name, problems, asked, kept, pairs in zip(
            names, sums(), sums(self.asked), sums(self.kept), sums(self.pairs), strict=True
        ):
            pair_share = share(pairs, pairs_of_all)
            problem_share = problems / len(places)
            found.append(
                {
                    "value": name,
                    "values": 1,
                    "problems": problems,
                    "problem_share": problem_share,
                    "asked": asked,
                    "kept_problems": kept,
                    "kept_rate": share(kept, asked),
                    "pairs": pairs,
                    "pair_share": pair_share,
                    "skew": None if pair_share is None else pair_share / problem_share,
                }
            )
        return found


def _name(value: str | None) -> str:
    """Display name of a value."""
    return "(none)" if value is None else shown(value).strip() or "(empty)"


_TEXTS = ("id", "source", "status", "reason", "fallback", "mode", "finish_reason", "grading_error", "flags")
_READ = (*_TEXTS, "sample", "strict", "lenient", "tokens", "prefix_tokens", "trace_tokens")
# Statuses of samples, and of sampled problems.
_DRAWN = ("kept", "rejected")
_ASKED = (*_DRAWN, "error")
_SHARES_AT = (0.1, 0.25, 0.5, 0.75, 0.9)
_NO_REASON = "no reason given"
_UNKNOWN = -1


class Tally:
    """Accumulates batches of rows into the figures of a report; `by` names further columns to group by."""

    def __init__(self, by: Sequence[str] = ()) -> None:
        self.columns = tuple(dict.fromkeys((*_READ, *by)))
        self._by = tuple(dict.fromkeys(name for name in ("source", *by) if name != "trace_tokens"))
        self._statuses = Counter(dict.fromkeys(OUTCOMES, 0))
        self._reasons = Reasons()
        self._modes: Counter[str] = Counter()
        # Of all samples, and of the kept ones: the number checked for flags, and the count of each flag.
        self._looked_at = [0, 0]
        self._flags = {flag: [0, 0] for flag in FLAGS}
        self._codes: dict[str, dict[str | None, int]] = {name: {} for name in self._by}
        self._codes["fallback"] = {name: code for code, name in enumerate((None, *FALLBACKS))}
        self._parts: list[dict[str, np.ndarray]] = []

    def add(self, batch: "pa.Table") -> None:
        """Count the rows of an Arrow table that has `columns`."""
        import pyarrow as pa

        schema = PAIRS.features.arrow_schema
        rows = batch.select(_READ).cast(pa.schema([schema.field(name) for name in _READ]))
        for name in ("id", "status"):
            if rows[name].null_count:
                raise SchemaError(
                    f"Column `{name}` of PAIRS is null in some rows, so they can't be counted. Fill it, or drop them "
                    f"with `dataset.filter(lambda row: row[{name!r}] is not None)`."
                )
        part = _numbers(rows) | {"fallback": self._coded("fallback", rows["fallback"])}
        self._parts.append(part | {f"by {name}": self._coded(name, batch[name]) for name in self._by})
        self._statuses.update(map(shown, rows["status"].to_pylist()))
        for reason, count in Counter(rows["reason"].filter(pa.array(~part["kept"])).to_pylist()).items():
            self._reasons.add(_NO_REASON if reason is None else reason, count)
        for mode, count in Counter(rows["mode"].filter(pa.array(part["drawn"])).to_pylist()).items():
            self._modes["not known" if mode is None else shown(mode)] += count
        self._add_flags(rows["flags"].to_pylist(), part["drawn"], part["kept"])

    def figures(self) -> dict[str, Any]:
        """The fields of a report."""
        all_of = self._joined()
        drawn, kept, graded, first = (all_of[name] for name in ("drawn", "kept", "graded", "first"))
        strict, lenient, ended = all_of["strict"], all_of["lenient"], all_of["ended"]
        _, where, problem = np.unique(all_of["id"], return_index=True, return_inverse=True)

        def some(rows: np.ndarray) -> np.ndarray:
            """The problems that have such a row."""
            found = np.zeros(len(where), dtype=bool)
            found[problem[rows]] = True
            return found

        asked, with_pair = some(all_of["asked"]), some(kept)
        problems = Problems(asked, with_pair, np.bincount(problem[kept], minlength=len(where)))
        by = {name: problems.by_value(all_of[f"by {name}"][where], list(self._codes[name])) for name in self._by}
        return {
            "rows": len(problem),
            "statuses": dict(self._statuses),
            "reasons": dict(sorted(self._reasons.counted().items(), key=lambda one: (-one[1], one[0]))),
            "problems": len(where),
            "asked_problems": int(asked.sum()),
            "kept_problems": int(with_pair.sum()),
            "kept_problem_share": share(int(with_pair.sum()), int(asked.sum())),
            "samples": int(drawn.sum()),
            "samples_a_problem": share(int(drawn.sum()), int(some(drawn).sum())),
            "first_right": _part(strict, graded & first),
            "problem_right": share(int(some(graded & strict).sum()), int(some(graded).sum())),
            "graded": int(graded.sum()),
            "strict": _part(strict, graded),
            "lenient": _part(lenient, graded),
            "only_lenient": _part(lenient & ~strict, graded),
            "grading_errors": int((drawn & all_of["erred"]).sum()),
            "grading_error_share": _part(all_of["erred"], drawn),
            "finished": _part(all_of["finished"], drawn & ended),
            "modes": dict(sorted(self._modes.items())),
            "flags": {name: self._flagged(*counts) for name, counts in self._flags.items()},
            "tokens": _lengths(all_of["tokens"][drawn]),
            "kept_tokens": _lengths(all_of["tokens"][kept]),
            "prefix_share": _prefix_share(all_of["prefix_tokens"][kept], all_of["tokens"][kept]),
            "fallbacks": {
                shown(name): {
                    "problems": int(some(all_of["fallback"] == code).sum()),
                    "pairs": int((kept & (all_of["fallback"] == code)).sum()),
                }
                for name, code in self._codes["fallback"].items()
                if name is not None
            },
            "kept_by": by | {"trace_tokens": problems.by_quarter(all_of["trace_tokens"][where], "tokens")},
        }

    def _joined(self) -> dict[str, np.ndarray]:
        if not self._parts:
            import pyarrow as pa

            known = PAIRS.features.arrow_schema
            nothing = [
                known.field(name) if name in known.names else pa.field(name, pa.null()) for name in self.columns
            ]
            self.add(pa.schema(nothing).empty_table())
        return {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}

    def _coded(self, name: str, column: Any) -> np.ndarray:
        """Number the values in the order of their first occurrence."""
        codes = self._codes[name]
        texts = (None if value is None else str(value) for value in column.to_pylist())
        return np.fromiter((codes.setdefault(text, len(codes)) for text in texts), dtype=np.int32, count=len(column))

    def _add_flags(self, flags: Sequence[Sequence[str] | None], drawn: np.ndarray, kept: np.ndarray) -> None:
        for found, is_drawn, is_kept in zip(flags, drawn.tolist(), kept.tolist(), strict=True):
            if is_drawn and found is not None:
                counted = [self._looked_at, *(self._flags.setdefault(shown(flag), [0, 0]) for flag in set(found))]
                for counts in counted:
                    counts[0] += 1
                    counts[1] += is_kept

    def _flagged(self, samples: int, kept: int) -> dict[str, int | float | None]:
        among, among_kept = self._looked_at
        return {
            "samples": samples,
            "share": share(samples, among),
            "kept": kept,
            "kept_share": share(kept, among_kept),
        }


def _numbers(rows: "pa.Table") -> dict[str, np.ndarray]:
    """Counted columns: booleans, and lengths that are -1 where unknown."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def yes(answers: Any) -> Any:
        return pc.fill_null(answers, False)

    drawn = pc.is_in(rows["status"], value_set=pa.array(_DRAWN))
    found = {
        "drawn": drawn,
        "asked": pc.is_in(rows["status"], value_set=pa.array(_ASKED)),
        "kept": pc.equal(rows["status"], "kept"),
        "first": yes(pc.equal(rows["sample"], 0)),
        "graded": pc.and_(drawn, pc.is_valid(rows["strict"])),
        "strict": yes(rows["strict"]),
        "lenient": yes(rows["lenient"]),
        "erred": pc.is_valid(rows["grading_error"]),
        "ended": pc.is_valid(rows["finish_reason"]),
        "finished": yes(pc.equal(rows["finish_reason"], "stop")),
    }
    found |= {name: pc.fill_null(rows[name], _UNKNOWN) for name in ("tokens", "prefix_tokens", "trace_tokens")}
    digests = (blake2b(value.encode(), digest_size=8).digest() for value in rows["id"].to_pylist())
    ids = np.frombuffer(b"".join(digests), dtype="<u8")
    return {"id": ids} | {name: column.to_numpy() for name, column in found.items()}


def _part(such: np.ndarray, of: np.ndarray) -> float | None:
    return share(int((such & of).sum()), int(of.sum()))


def _lengths(tokens: np.ndarray) -> dict[str, float] | None:
    return spread(tokens[tokens != _UNKNOWN], (0.5, 0.95))


def _prefix_share(prefix: np.ndarray, continuation: np.ndarray) -> dict[str, float] | None:
    """Share of prefix tokens in the training targets."""
    whole = prefix.astype(np.int64) + continuation
    known = (prefix != _UNKNOWN) & (continuation != _UNKNOWN) & (whole > 0)
    return spread(prefix[known] / whole[known], _SHARES_AT)
