"""Baselines for P-ALIGN from the same rows: the answer alone, the whole trace, a fixed share of it, and others.

    baseline(pairs, "label")
    baseline(pairs, "fixed(ratio=0.25)", prefixes, tokenizer="Qwen/Qwen2.5-7B-Instruct", budget=2_000_000)

Each is a table of PAIRS, so every view and trainer takes it like the pairs themselves: one row a problem, of its first
kept sample. Except for `p-align`, the target has no prefix and so no tags, measurements of the sample are null, and
`reason` names the baseline. Other columns than those of PAIRS are kept.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from palign_hf.data.balance import draw
from palign_hf.data.exact import cached_apart
from palign_hf.data.pairs import Baseline, make_baseline
from palign_hf.errors import UserError, listed, shown
from palign_hf.schema import PAIRS, check_table
from palign_hf.students import TextTokenizer, load_tokenizer, resolve_student


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger("palign_hf")

# Raise it with any change of a row's output: `datasets` caches by the name of a function, not by its code.
BASELINE_VERSION = 1

# Reasons why a row of PAIRS isn't in a baseline, besides its own status.
_OTHER_SAMPLE = "another sample of its problem"
_EMPTY = "the target would be empty"

_FILLED = ("id", "continuation", "sample", "status")
_SAME = ("id", "question", "answer", "source", "status", "sample")


def baseline(
    pairs: "Dataset",
    kind: "str | Mapping[str, Any] | Baseline",
    prefixes: "Dataset | None" = None,
    *,
    tokenizer: "PreTrainedTokenizerBase | str | None" = None,
    budget: int | None = None,
    seed: int = 0,
    per_problem: int | None = 1,
) -> "Dataset":
    r"""Return the training rows of a baseline, in the order of `pairs`.

    Args:
        pairs (`Dataset`):
            A table of PAIRS; its kept rows are used.
        kind (`str`, `Mapping` or `Baseline`):
            One of `BASELINES`, with its parameter in brackets or as a mapping: `p-align` (the pairs themselves),
            `label` (the boxed gold answer), `trace` (the whole trace), `prefix` and `continuation` (each alone),
            `fixed(ratio=0.25)` (the first share of the trace's tokens, to the nearest end of a sentence) or
            `first(tokens=128)` (the first tokens of the trace).
        prefixes (`Dataset`, *optional*):
            The table with the traces by `id`, such as PREFIXES or TRACES; needed for baselines made of the trace.
        tokenizer (`PreTrainedTokenizerBase` or `str`, *optional*):
            The student's tokenizer, or the student's name; needed for `fixed`, `first` and a budget.
        budget (`int`, *optional*):
            Maximum tokens of all targets together, without tags and end tokens. Rows are taken in an order drawn by
            `seed` and `id`, each that still fits.
        seed (`int`, defaults to 0):
            Seed of the order under a budget.
        per_problem (`int`, *optional*, defaults to 1):
            Kept samples of a problem; only `p-align` can have more than the first, None means all.

    Returns:
        `Dataset`: a table of PAIRS.

    Raises:
        [`UserError`]: if no row is kept, a trace or answer is missing, or a parameter is invalid.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from palign_hf import baseline, load_pairs
    >>> from palign_hf.schema import PAIRS

    >>> row = dict.fromkeys(PAIRS.columns) | {
    ...     "id": "a",
    ...     "question": "What is 2 + 3?",
    ...     "prefix": "I add. ",
    ...     "continuation": "It is 5.",
    ...     "answer": "5",
    ...     "status": "kept",
    ...     "sample": 0,
    ...     "flags": [],
    ... }
    >>> pairs = load_pairs(Dataset.from_list([row], features=PAIRS.features))
    >>> baseline(pairs, "label")[0]["continuation"]
    '\\boxed{5}'
    ```
    """
    rows, _ = read_baseline(
        pairs, kind, prefixes, tokenizer=tokenizer, budget=budget, seed=seed, per_problem=per_problem
    )
    return rows


def read_baseline(
    pairs: "Dataset",
    kind: "str | Mapping[str, Any] | Baseline",
    prefixes: "Dataset | None" = None,
    *,
    tokenizer: "PreTrainedTokenizerBase | str | None" = None,
    budget: int | None = None,
    seed: int = 0,
    per_problem: int | None = 1,
) -> "tuple[Dataset, Counter[str]]":
    """`baseline`, and the count of left-out rows of `pairs` by reason."""
    made = make_baseline(kind)
    if per_problem is not None and per_problem < 1:
        raise UserError(f"`per_problem={per_problem}` must be at least 1. Write None to take all samples.")
    if per_problem != 1 and made.name != "p-align":
        raise UserError(
            f"`per_problem={per_problem}`: more samples of a problem would be the same rows again, or other rows than "
            f"those of the other baselines. Only `p-align` has it; leave it out for `{made.name}`."
        )
    if budget is not None and budget < 1:
        raise UserError(f"`budget={budget}` must be at least 1 token. Leave it out to take all rows.")
    check_table(pairs, PAIRS, filled=_FILLED)
    pairs = cached_apart(pairs.with_format(None))
    first, left_out = _first_kept(pairs, per_problem)
    chosen = pairs.select(first)
    if not len(chosen):
        raise UserError(f"None of the {len(pairs)} pairs is kept, so there are no rows for `{made.name}`.")
    counted = made.counted or budget is not None
    tokens = _text_tokenizer(tokenizer, made.name) if counted else None
    if made.name != "p-align":
        filled = _of_kind(chosen, made, prefixes, tokens)
        left_out[_EMPTY] = len(chosen) - len(filled)
        chosen = filled
    if budget is not None and tokens is not None:
        within = _within(chosen, budget, tokens, seed)
        left_out[f"over the budget of {budget:,} tokens"] = len(chosen) - len(within)
        chosen = chosen.select(within)
    return chosen, +left_out


def baseline_row(
    row: dict[str, Any], index: int, kind: str, text: str | None, ends: list[int] | None, version: int
) -> dict[str, Any]:
    """A row whose target is one text: its column `text` up to an end, or the boxed answer."""
    end = None if ends is None else ends[index]
    target = f"\\boxed{{{row['answer']}}}" if text is None else (row[text] or "")[:end]
    changed = {"prefix": None, "continuation": target, "reason": f"baseline `{kind}`"}
    return {name: changed.get(name) for name in PAIRS.columns if name not in _SAME}


def _of_kind(chosen: "Dataset", made: Baseline, prefixes: "Dataset | None", tokens: TextTokenizer | None) -> "Dataset":
    from datasets import Features, concatenate_datasets

    columns = chosen.column_names
    if made.text is None:
        _check_answers(chosen)
    elif made.text == "trace":
        traces = _traces(chosen, made.name, prefixes).rename_column("trace", "_trace")
        chosen = concatenate_datasets([chosen, traces], axis=1)
    text = "_trace" if made.text == "trace" else made.text
    ends = None
    if made.counted and tokens is not None:
        ends = [made.end(trace, tokens) for trace in chosen["_trace"]]
    others = {name: kind for name, kind in chosen.features.items() if name not in PAIRS.columns and name != "_trace"}
    read = chosen.map(
        baseline_row,
        with_indices=True,
        fn_kwargs={"kind": str(made), "text": text, "ends": ends, "version": BASELINE_VERSION},
        remove_columns=["_trace"] if text == "_trace" else None,
        features=Features({**PAIRS.features, **others}),
        desc="Making a baseline",
    ).select_columns(columns)
    filled = [at for at, target in enumerate(read["continuation"]) if target.strip()]
    if len(filled) == len(read):
        return read
    empty = len(read) - len(filled)
    if not filled:
        raise UserError(f"All {empty} targets of `{made}` are empty: there is nothing to train on.")
    logger.warning("%s: %d of %d rows left out, whose target would be empty", made, empty, len(read))
    return read.select(filled)


def _first_kept(pairs: "Dataset", per_problem: int | None) -> tuple[list[int], Counter[str]]:
    """The rows of the first kept samples of each problem, in the order of rows, and the counts of other rows by
    reason.
    """
    kept: dict[str, list[tuple[int, int]]] = {}
    left_out: Counter[str] = Counter()
    for at, row in enumerate(pairs.select_columns(["id", "sample", "status"])):
        if row["status"] == "kept":
            kept.setdefault(row["id"], []).append((row["sample"], at))
        else:
            left_out[f"not kept: {row['status']}"] += 1
    first = sorted(at for samples in kept.values() for _, at in sorted(samples)[:per_problem])
    left_out[_OTHER_SAMPLE] = sum(map(len, kept.values())) - len(first)
    return first, left_out


def _traces(chosen: "Dataset", kind: str, prefixes: "Dataset | None") -> "Dataset":
    """The traces of the rows, in their order."""
    from datasets import Dataset

    if not isinstance(prefixes, Dataset) or not {"id", "trace"} <= set(prefixes.column_names):
        given = "no `prefixes` were given" if prefixes is None else f"a `{type(prefixes).__name__}` without was given"
        raise UserError(
            f"`{kind}` is made of the teacher's traces, which PAIRS don't repeat, and {given}. Pass the table that "
            f"the pairs were made from as `prefixes`: a `Dataset` with `id` and `trace`."
        )
    prefixes = prefixes.with_format(None)
    places = {row_id: at for at, row_id in enumerate(prefixes["id"])}
    if missing := [row_id for row_id in chosen["id"] if row_id not in places]:
        raise UserError(
            f"`{kind}` needs the trace of each pair, but `prefixes` has no row for {_some(missing)}. Pass the table "
            f"that these pairs were made from."
        )
    traces = prefixes.select([places[row_id] for row_id in chosen["id"]])
    if "status" in traces.column_names:
        named = zip(traces["id"], traces["status"], strict=True)
        if published := [row_id for row_id, status in named if status == "published"]:
            raise UserError(
                f"`{kind}` needs the teacher's whole trace, but of {_some(published)} only the prefix was published. "
                f"Use `prefix`, `continuation` or `label`, or leave these rows out."
            )
    traces = traces.select_columns("trace")
    if None in traces["trace"]:
        raise UserError(f"`{kind}` needs the trace of each pair, but some in `prefixes` are null. Fill them.")
    return traces


def _check_answers(chosen: "Dataset") -> None:
    named = zip(chosen["id"], chosen["answer"], strict=True)
    if missing := [row_id for row_id, answer in named if not (answer or "").strip()]:
        raise UserError(
            f"`label` trains on the gold answer, but {_some(missing)} has none. Leave such rows out of all that is "
            f"compared: `pairs.filter(lambda row: row['answer'])`."
        )


def _some(ids: list[str]) -> str:
    return listed(shown(row_id) for row_id in ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")


def _text_tokenizer(tokenizer: "PreTrainedTokenizerBase | str | None", kind: str) -> TextTokenizer:
    if tokenizer is None:
        raise UserError(
            f"Tokens can't be counted for `{kind}` without a tokenizer. Pass `tokenizer=`, the student's or its name."
        )
    if isinstance(tokenizer, str):
        return TextTokenizer(load_tokenizer(resolve_student(tokenizer)), tokenizer)
    return TextTokenizer(tokenizer, tokenizer.name_or_path)


def _within(chosen: "Dataset", budget: int, tokens: TextTokenizer, seed: int) -> list[int]:
    """Rows whose targets fit the budget together, in the order of rows."""
    sizes, places = [], []
    for at, row in enumerate(chosen.select_columns(["id", "sample", "prefix", "continuation"])):
        sizes.append(len(tokens.encode((row["prefix"] or "") + row["continuation"])))
        places.append((draw(seed, row["id"]), row["sample"], at))
    taken, left = [], budget
    for *_, at in sorted(places):
        if sizes[at] <= left:
            taken.append(at)
            left -= sizes[at]
    if not taken:
        raise UserError(f"`budget={budget}` holds no target: the shortest has {min(sizes)} tokens. Give more.")
    return sorted(taken)
