"""Reader of PAIRS, of the current version and of version 1.

A row of version 1 had all columns of PREFIXES, one verdict `correct` and no outcome. It becomes `kept` or `rejected`
by that verdict, which counts as strict and lenient; what version 1 lacks stays null.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config.renamed import knows_old_names
from palign_hf.errors import listed, nearest, shown
from palign_hf.schema import OUTCOMES, PAIRS, PREFIXES, SchemaError, check, check_version
from palign_hf.traces.exact import typed
from palign_hf.traces.sources import open_source


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

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
        revision (`str`, *optional*), token:
            Revision on the Hub, as in `datasets.load_dataset`.

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
    check(pairs, PAIRS, filled=_FILLED)
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
