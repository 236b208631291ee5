"""Kinds of training targets that pairs can have, and the reader of PAIRS, of the current version and of version 1.

A row of version 1 had all columns of PREFIXES, one verdict `correct` and no outcome. It becomes `kept` or `rejected`
by that verdict, which counts as strict and lenient; what version 1 lacks stays null.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from palign_hf.config import check_parameters, read_named
from palign_hf.config.resolve import knows_old_names
from palign_hf.data.exact import typed
from palign_hf.data.sources import open_source
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.schema import OUTCOMES, PAIRS, PREFIXES, SchemaError, check_table, check_version
from palign_hf.segmentation import cuts


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict


class Tokens(Protocol):
    """Token counts for cuts; implemented by `TextTokenizer`."""

    def count_before(self, text: str, ends: list[int]) -> list[int]:
        """For each offset in `text`, how many of its tokens start before it."""

    def encode_with_starts(self, text: str) -> tuple[list[int], Any]:
        """Token ids, and the offset at which each token starts."""


@dataclass(frozen=True)
class Baseline:
    """A kind without parameters. `text` is the column of the target, None for the gold answer."""

    name: ClassVar[str]
    text: ClassVar[str | None]
    # Whether the target is only the start of its text, up to a number of tokens.
    counted: ClassVar[bool] = False

    def end(self, trace: str, tokens: Tokens) -> int:
        """Where the target ends in the trace."""
        return len(trace)

    def __str__(self) -> str:
        given = ", ".join(f"{item.name}={getattr(self, item.name)}" for item in fields(self))
        return f"{self.name}({given})" if given else self.name


class PAlign(Baseline):
    """Prefix and continuation, the reference of the comparison."""

    name, text = "p-align", "continuation"


class Label(Baseline):
    """The gold answer in a box, without any reasoning."""

    name, text = "label", None


class Trace(Baseline):
    """The teacher's whole trace: the long-CoT baseline."""

    name, text = "trace", "trace"


class PrefixOnly(Baseline):
    """The prefix alone, which ends in the middle of the solution."""

    name, text = "prefix", "prefix"


class ContinuationOnly(Baseline):
    """The student's continuation, without its prefix."""

    name, text = "continuation", "continuation"


@dataclass(frozen=True)
class FixedRatio(Baseline):
    """The first share of a trace's tokens, to the nearest end of a sentence (of two, the first); never empty."""

    name: ClassVar[str] = "fixed"
    text: ClassVar[str | None] = "trace"
    counted: ClassVar[bool] = True
    ratio: float = math.nan

    def __post_init__(self) -> None:
        right = isinstance(self.ratio, (int, float)) and not isinstance(self.ratio, bool) and 0 < self.ratio <= 1
        if not right:
            given = "" if self.ratio is FixedRatio.ratio else f"ratio={shown(self.ratio)}"
            raise UserError(
                f"`fixed({given})`: must have a share of the trace, above 0 and at most 1, as `fixed(ratio=0.25)`."
            )

    def end(self, trace: str, tokens: Tokens) -> int:
        """The end of the sentence nearest to the share."""
        ends = cuts(trace)
        if not ends:
            return 0
        counts = tokens.count_before(trace, ends)
        wanted = self.ratio * counts[-1]
        return min(zip(ends, counts, strict=True), key=lambda one: (abs(one[1] - wanted), one[0]))[0]


@dataclass(frozen=True)
class First(Baseline):
    """The first tokens of a trace, at most as many as given, wherever they end."""

    name: ClassVar[str] = "first"
    text: ClassVar[str | None] = "trace"
    counted: ClassVar[bool] = True
    tokens: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.tokens, int) or isinstance(self.tokens, bool) or self.tokens < 1:
            given = f"tokens={shown(self.tokens)}" if self.tokens else ""
            raise UserError(
                f"`first({given})`: must have a whole number of tokens, at least 1, as `first(tokens=128)`."
            )

    def end(self, trace: str, tokens: Tokens) -> int:
        """Where the first token behind them starts; of a character that lies across it, nothing is taken."""
        _, starts = tokens.encode_with_starts(trace)
        return len(trace) if len(starts) <= self.tokens else int(starts[self.tokens])


_KINDS: tuple[type[Baseline], ...] = (PAlign, Label, Trace, PrefixOnly, ContinuationOnly, FixedRatio, First)
BASELINES = {kind.name: kind for kind in _KINDS}


def make_baseline(spec: "str | Mapping[str, Any] | Baseline") -> Baseline:
    """Build a baseline from text (`label`, `fixed(ratio=0.25)`), a mapping with its `name`, or a `Baseline`."""
    if isinstance(spec, Baseline):
        return spec
    if isinstance(spec, Mapping):
        spec = dict(spec)
    name, parameters = read_named(spec, "baseline", BASELINES, "fixed(ratio=0.25)")
    kind = BASELINES[name]
    check_parameters(name, parameters, [item.name for item in fields(kind)])
    return kind(**parameters)


# Raise it with any change of `read_version_1`'s output: `datasets` caches by the name of a function.
READER_VERSION = 1

# Rows of a baseline have no prefix, and one that was skipped may be so for want of a question.
_FILLED = ("id", "continuation", "sample", "status")
_VERSION_1 = (*PREFIXES.columns, "continuation", "finish_reason", "answer_found", "correct", "flags", "sample")
# Outcomes that are no verdict about a sample; version 1 had them from PREFIXES.
_UNASKED = ("skipped", "error")


@knows_old_names
def load_pairs(
    source: "str | Path | Dataset | DatasetDict | IterableDataset | IterableDatasetDict",
    config: str | None = None,
    *,
    split: str = "train",
    revision: str | None = None,
    token: str | bool | None = None,
) -> "Dataset":
    """Load and check a table of PAIRS; further columns are kept.

    Args:
        source (`str`, `Path`, `Dataset` or `DatasetDict`):
            Hub id, file, glob, folder (also a run's output folder), or loaded dataset.
        config (`str`, *optional*):
            Configuration name, as in `datasets.load_dataset`.
        split (`str`, defaults to `"train"`):
            `train` has the kept rows, `rejected` the others; a source without splits is read whole.
        revision (`str`, *optional*):
            Revision on the Hub, as in `datasets.load_dataset`.
        token (`str` or `bool`, *optional*):
            Token of the Hub, as in `datasets.load_dataset`.

    Returns:
        `Dataset`: a table of PAIRS; one of version 1 is converted.

    Raises:
        [`UserError`]: if the source can't be read, is a stream, or is no table of PAIRS.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from palign_hf import load_pairs
    >>> from palign_hf.schema import PAIRS

    >>> row = dict.fromkeys(PAIRS.columns) | {"id": "a", "question": "What is 2 + 3?", "status": "kept", "sample": 0}
    >>> row |= {"prefix": "I add. ", "continuation": "It is 5.", "answer": "5", "flags": []}
    >>> pairs = load_pairs(Dataset.from_list([row], features=PAIRS.features))
    >>> len(pairs)
    1
    ```
    """
    from datasets import Dataset

    chosen = None if split == "train" and has_no_splits(source) else split
    pairs, name = open_source(source, split=chosen, config=config, revision=revision, streaming=False, token=token)
    if not isinstance(pairs, Dataset):
        raise SchemaError(
            f"A `{type(pairs).__name__}` can't be read as PAIRS: which ids it repeats is known only of the whole "
            f"table. Load it without streaming."
        )
    pairs = typed(pairs.with_format(None), PAIRS)
    check_version(pairs, PAIRS)
    present = pairs.column_names
    if is_pairs(present) and not set(PAIRS.columns) <= set(present):
        pairs = _from_version_1(pairs)
    else:
        _check_columns(present, name or type(source).__name__)
    check_table(pairs, PAIRS, filled=_FILLED)
    odd = Counter(status for status in pairs["status"] if status not in OUTCOMES)
    if odd:
        raise SchemaError(
            f"Column `status` of PAIRS holds {listed(shown(status) for status in odd)}, but an outcome is one of "
            f"{listed(OUTCOMES)}. Write one of these."
        )
    return _exactly_typed(pairs)


def is_pairs(columns: Iterable[str]) -> bool:
    """Whether a table with these columns is PAIRS, of this release or of version 1."""
    present = set(columns)
    return set(PAIRS.columns) <= present or set(_VERSION_1) <= present


def split_by_outcome(pairs: "Dataset") -> "DatasetDict":
    """The splits of a run: `train` with the kept rows, `rejected` with all others and their reasons."""
    from datasets import DatasetDict

    kept: list[int] = []
    others: list[int] = []
    for row, status in enumerate(pairs["status"]):
        (kept if status == "kept" else others).append(row)
    return DatasetDict(train=pairs.select(kept), rejected=pairs.select(others))


def read_version_1(row: dict[str, Any], index: int, numbers: list[int] | None, version: int) -> dict[str, Any]:
    """The row of version 2 for a row of version 1; `numbers` are the sample numbers if the table has none."""
    right = row["correct"]
    out = dict.fromkeys(name for name in PAIRS.columns if name not in row) | {"strict": right, "lenient": right}
    if numbers is not None:
        out["sample"] = numbers[index]
    if right:
        return out | {"status": "kept", "reason": None}
    if right is None and row["status"] in _UNASKED:
        return out
    known = "not correct" if right is False else "not known to be correct"
    return out | {"status": "rejected", "reason": f"{known}, by version 1 of the table"}


def _from_version_1(pairs: "Dataset") -> "Dataset":
    from datasets import Features

    left_out = [name for name in _VERSION_1 if name not in PAIRS.columns]
    others = {name: kind for name, kind in pairs.features.items() if name not in {*PAIRS.columns, *left_out}}
    unnumbered = all(sample is None for sample in pairs["sample"])
    read = pairs.map(
        read_version_1,
        with_indices=True,
        fn_kwargs={"numbers": _numbers(pairs["id"]) if unnumbered else None, "version": READER_VERSION},
        remove_columns=left_out,
        features=Features({**PAIRS.features, **others}),
        desc="Reading pairs of version 1",
    )
    return read.select_columns([*PAIRS.columns, *others])


def _numbers(ids: Iterable[str]) -> list[int]:
    """The number of each row among those of its id."""
    seen: Counter[str] = Counter()
    numbers = []
    for row_id in ids:
        numbers.append(seen[row_id])
        seen[row_id] += 1
    return numbers


def _check_columns(present: list[str], what: str) -> None:
    missing = [name for name in PAIRS.columns if name not in present]
    if not missing:
        return
    lacks = ", ".join(f"`{name}`{nearest(name, set(present) - set(PAIRS.columns))}" for name in missing)
    if set(PREFIXES.columns) <= set(present):
        advice = "It is a table of PREFIXES: align it first, which makes pairs of it."
    else:
        advice = "PAIRS are made by alignment; prefixes that others published are read by `load_prefixes`."
    raise SchemaError(
        f"`{what}` is no table of PAIRS: it lacks {lacks}, and has {listed(present, 'no columns')}. {advice}"
    )


def _exactly_typed(pairs: "Dataset") -> "Dataset":
    """Cast columns of text files, which have no widths, and no type where all is null."""
    from datasets import Features

    wanted = Features({name: PAIRS.features.get(name, kind) for name, kind in pairs.features.items()})
    return pairs if wanted == pairs.features else pairs.cast(wanted)


def has_no_splits(source: Any) -> bool:
    """Whether a source is one table without splits."""
    from datasets import Dataset, IterableDataset

    if isinstance(source, (str, Path)):
        return (Path(source).expanduser() / "state.json").exists()  # as `Dataset.save_to_disk` writes it
    return isinstance(source, (Dataset, IterableDataset))
