"""Views of PAIRS for trainers: TRL's prompt-completion and preference formats, alpaca and ShareGPT.

    SFTTrainer(model, train_dataset=to_sft(pairs))
    to_alpaca(pairs).to_json("pairs.jsonl")      # for LLaMA-Factory, as is `to_sharegpt`

Any table with `question`, `prefix` and `continuation` has these views. The question is in the solve prompt, the same
bytes in each of them; the target is the tagged prefix, then the continuation (`palign_hf.data.views`).
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from palign_hf.config.resolve import knows_old_names
from palign_hf.data.balance import BALANCE
from palign_hf.data.exact import cached_apart
from palign_hf.errors import UserError, listed, nearest
from palign_hf.prompts import SOLVE, TagStyle, Template
from palign_hf.prompts import tag_style as style_of
from palign_hf.schema import TRAINED, SchemaError


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


Turns = list[dict[str, str]]


def target_text(row: Mapping[str, Any], style: TagStyle) -> str:
    """The training target: the tagged prefix and the continuation, or the continuation alone."""
    if row["prefix"] is None:
        return str(row["continuation"])
    return style.wrap(row["prefix"], row["continuation"])


def tag_inside(row: Mapping[str, Any], style: TagStyle) -> str | None:
    """A tag that occurs in the prefix or the continuation itself, so that the target would have it twice.

    A target without a prefix has no tags, so nothing can be confused with one.
    """
    if row["prefix"] is None:
        return None
    return style.tag_in(row["prefix"]) or style.tag_in(row["continuation"] or "")


def prompt_and_completion(row: Mapping[str, Any], style: TagStyle, template: Template) -> dict[str, Turns]:
    """Two conversations of one message each, as TRL's trainers take them."""
    return {"prompt": user_turn(row["question"], template), "completion": assistant_turn(target_text(row, style))}


def user_turn(question: str, template: Template) -> Turns:
    """The problem, in its prompt."""
    return [{"role": "user", "content": template.message(question)}]


def assistant_turn(text: str) -> Turns:
    """A reply to it."""
    return [{"role": "assistant", "content": text}]


def matches(rows: Iterable[Mapping[str, Any]], per_problem: int | None) -> list[tuple[int, int]]:
    """Return positions of (kept, rejected) samples, by problem in the order of their first kept sample.

    Within a problem the kept samples are ordered by number, and each is matched with the rejected ones after the same
    prefix: wrong answers first, then right ones with a flaw, by number; the first `per_problem` are taken.
    """
    kept: dict[str, list[tuple[int, int, str | None]]] = defaultdict(list)
    rejected: dict[tuple[str, str | None], list[tuple[bool, int, int]]] = defaultdict(list)
    for at, row in enumerate(rows):
        if row["status"] == "kept":
            kept[row["id"]].append((row["sample"], at, row["prefix"]))
        elif row["status"] == "rejected" and _for_what_it_says(row):
            right = bool(row.get("strict") or row.get("lenient"))
            rejected[row["id"], row["prefix"]].append((right, row["sample"], at))
    found: list[tuple[int, int]] = []
    for problem, samples in kept.items():
        of_one = [
            (at, other)
            for _, at, prefix in sorted(samples, key=lambda sample: sample[:2])
            for _, _, other in sorted(rejected.get((problem, prefix), ()))
        ]
        found += of_one[:per_problem]
    return found


def _for_what_it_says(row: Mapping[str, Any]) -> bool:
    """Whether a sample was rejected for its content, not by a balance cap or a failed grader."""
    return not (row["reason"] or "").startswith(BALANCE) and row.get("grading_error") is None


logger = logging.getLogger("palign_hf")

# Raise it with any change of a row's output: `datasets` caches by the name of a function, not by its code.
VIEW_VERSION = 1

_NEEDED = ("question", "prefix", "continuation")


@knows_old_names
def to_sft(pairs: "Dataset", tag_style: str = "prefix", template: Template = SOLVE) -> "Dataset":
    """Convert the kept pairs into prompt-completion conversations for `trl.SFTTrainer`.

    Args:
        pairs (`Dataset`):
            PAIRS, or any table with `question`, `prefix` and `continuation`.
        tag_style (`str`, defaults to `"prefix"`):
            Style of the tags around the prefix in the completion: `prefix`, `draft` or `none`.
        template (`Template`, defaults to `SOLVE`):
            Prompt template of the question.

    Returns:
        `Dataset`: `id` (where the pairs have one), `prompt` and `completion`, conversations of one message each. The
        loss is on the completion.

    Raises:
        [`UserError`]: if a column is missing, a text is null, or no row is kept.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from palign_hf import to_sft

    >>> rows = {"question": ["What is 2 + 3?"], "prefix": ["I add. "], "continuation": ["It is 5."]}
    >>> pairs = Dataset.from_dict(rows)
    >>> to_sft(pairs)[0]["completion"][0]["content"].endswith("It is 5.")
    True
    ```
    """
    return _view(pairs, sft_row, {"prompt": _turns(), "completion": _turns()}, tag_style, template, keep_id=True)


@knows_old_names
def to_alpaca(pairs: "Dataset", tag_style: str = "prefix", template: Template = SOLVE) -> "Dataset":
    """Convert the kept pairs to `instruction` (the whole user message), `input` (empty) and `output`."""
    return _view(pairs, alpaca_row, _texts("instruction", "input", "output"), tag_style, template)


@knows_old_names
def to_sharegpt(pairs: "Dataset", tag_style: str = "prefix", template: Template = SOLVE) -> "Dataset":
    """Convert the kept pairs to `conversations`: one turn of `human` and one of `gpt`."""
    return _view(pairs, sharegpt_row, {"conversations": _turns("from", "value")}, tag_style, template)


@knows_old_names
def to_dpo(
    pairs: "Dataset | DatasetDict", tag_style: str = "prefix", template: Template = SOLVE, per_problem: int | None = 1
) -> "Dataset":
    """Convert kept and rejected samples into preference pairs for `trl.DPOTrainer`.

    Both samples have the same problem and the same prefix. They are matched in the order of their numbers, wrong
    answers before right ones with a flaw. Samples that were rejected for a reason other than their content (a balance
    cap, a failed grader) are not used.

    Args:
        pairs (`Dataset` or `DatasetDict`):
            PAIRS with kept and rejected rows, in one table or in splits.
        tag_style (`str`, defaults to `"prefix"`):
            Style of the tags around the prefix: `prefix`, `draft` or `none`.
        template (`Template`, defaults to `SOLVE`):
            Prompt template of the question.
        per_problem (`int`, *optional*, defaults to 1):
            Maximum number of matches of each problem; None takes all.

    Returns:
        `Dataset`: `id`, `prompt`, `chosen` and `rejected`.

    Raises:
        [`UserError`]: if a column is missing or no problem has both a kept and a rejected sample of the same prefix.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from palign_hf import to_dpo

    >>> pairs = Dataset.from_dict(
    ...     {
    ...         "id": ["a", "a"],
    ...         "question": ["What is 2 + 3?"] * 2,
    ...         "prefix": ["I add. "] * 2,
    ...         "continuation": ["It is 5.", "It is 6."],
    ...         "sample": [0, 1],
    ...         "status": ["kept", "rejected"],
    ...         "reason": [None, "wrong answer"],
    ...     }
    ... )
    >>> to_dpo(pairs)[0]["rejected"][0]["content"].endswith("It is 6.")
    True
    ```
    """
    from datasets import DatasetDict, concatenate_datasets

    if per_problem is not None and per_problem < 1:
        raise UserError(f"`per_problem={per_problem}` must be at least 1. Write None to take all matches.")
    table = concatenate_datasets(list(pairs.values())) if isinstance(pairs, DatasetDict) else pairs
    _check(table, (*_NEEDED, "id", "sample", "status", "reason"))
    needed = ("id", "prefix", "sample", "status", "reason", "strict", "lenient", "grading_error")
    found = matches(
        table.with_format(None).select_columns([name for name in needed if name in table.column_names]), per_problem
    )
    if not found:
        raise UserError(
            "No problem has both a kept and a rejected sample of the same prefix, so no preference pair can be made. "
            'Draw several samples of each problem and keep them all (`sampling="all"`), '
            "and pass both splits, `train` and `rejected`."
        )
    against = table.select_columns("continuation").rename_column("continuation", "other")
    kept = table.select_columns(["id", *_NEEDED])
    matched = concatenate_datasets(
        [kept.select([at for at, _ in found]), against.select([other for _, other in found])], axis=1
    )
    for name in ("question", "continuation", "other"):
        _check_filled(matched, name)
    columns = {"prompt": _turns(), "chosen": _turns(), "rejected": _turns()}
    matched = _without_tags(matched, style_of(tag_style))
    return _mapped(matched, dpo_row, columns, tag_style, template, keep_id=True)


def target(row: Mapping[str, Any], tag_style: str) -> str:
    """The training target: the tagged prefix and the continuation, or the continuation alone."""
    return target_text(row, style_of(tag_style))


def sft_row(row: Mapping[str, Any], tag_style: str, template: Template, version: int) -> dict[str, Any]:
    """Two conversations of one message each."""
    return dict(prompt_and_completion(row, style_of(tag_style), template))


def alpaca_row(row: Mapping[str, Any], tag_style: str, template: Template, version: int) -> dict[str, Any]:
    """Two texts and an empty input, since trainers join a non-empty input in different ways."""
    return {"instruction": template.message(row["question"]), "input": "", "output": target(row, tag_style)}


def sharegpt_row(row: Mapping[str, Any], tag_style: str, template: Template, version: int) -> dict[str, Any]:
    """One conversation of two turns."""
    turns = (("human", template.message(row["question"])), ("gpt", target(row, tag_style)))
    return {"conversations": [{"from": who, "value": text} for who, text in turns]}


def dpo_row(row: Mapping[str, Any], tag_style: str, template: Template, version: int) -> dict[str, Any]:
    """A prompt and two replies; `other` is the continuation of the rejected one."""
    worse = target({"prefix": row["prefix"], "continuation": row["other"]}, tag_style)
    return {
        "prompt": user_turn(row["question"], template),
        "chosen": assistant_turn(target(row, tag_style)),
        "rejected": assistant_turn(worse),
    }


def _texts(*names: str) -> dict[str, Any]:
    from datasets import Value

    return {name: Value("string") for name in names}


def _turns(who: str = "role", what: str = "content") -> Any:
    from datasets import List

    return List(_texts(who, what))


def _view(
    pairs: "Dataset",
    read: Callable[..., dict[str, Any]],
    columns: dict[str, Any],
    tag_style: str,
    template: Template,
    keep_id: bool = False,
) -> "Dataset":
    """Convert the kept rows of a table with `read`."""
    _check(pairs, _NEEDED)
    kept = _trained(pairs)
    for name in ("question", "continuation"):
        _check_filled(kept, name)
    kept = _without_tags(kept, style_of(tag_style))
    return _mapped(kept, read, columns, tag_style, template, keep_id)


def _mapped(
    table: "Dataset",
    read: Callable[..., dict[str, Any]],
    columns: dict[str, Any],
    tag_style: str,
    template: Template,
    keep_id: bool,
) -> "Dataset":
    from datasets import Features

    ids = ["id"] if keep_id and "id" in table.column_names else []
    inputs = [name for name in (*_NEEDED, "other") if name in table.column_names]
    return (
        cached_apart(table.with_format(None))
        .select_columns([*ids, *inputs])
        .map(
            read,
            fn_kwargs={"tag_style": tag_style, "template": template, "version": VIEW_VERSION},
            remove_columns=inputs,
            features=Features({**{name: table.features[name] for name in ids}, **columns}),
            desc="Making a view",
        )
    )


def _check(pairs: Any, needed: tuple[str, ...]) -> None:
    from datasets import Dataset

    if not isinstance(pairs, Dataset):
        raise UserError(
            f"A `{type(pairs).__name__}` has no such view. Pass one `Dataset`: a split, as `pairs['train']`, or what "
            f"`load_pairs` gives."
        )
    present = pairs.column_names
    missing = [name for name in needed if name not in present]
    if missing:
        lacks = ", ".join(f"`{name}`{nearest(name, set(present) - set(needed))}" for name in missing)
        raise SchemaError(
            f"This view is made of {listed(needed)}, but the dataset lacks {lacks}. It has "
            f"{listed(present, 'no columns')}; rename them with `dataset.rename_columns({{...}})`."
        )
    if "correct" in present and "strict" not in present and "status" in present:
        raise SchemaError(
            "This table of PAIRS is of version 1, whose `status` says nothing about the continuation. Read it with "
            "`load_pairs`, which brings it up to this version."
        )


def _check_filled(table: "Dataset", name: str) -> None:
    row = next((row for row, value in enumerate(table[name]) if value is None), None)
    if row is not None:
        which = f" (`{table[row]['id']}`)" if "id" in table.column_names else ""
        raise SchemaError(
            f"`{name}` is null in a row that would be trained on{which}. Fill it, or leave such rows out with "
            f"`dataset.filter(lambda row: row[{name!r}] is not None)`."
        )


def _trained(pairs: "Dataset") -> "Dataset":
    if "status" not in pairs.column_names:
        return pairs
    rows = [row for row, status in enumerate(pairs["status"]) if status in TRAINED]
    left_out = len(pairs) - len(rows)
    if left_out and not rows:
        raise UserError(
            f"None of the {len(pairs)} rows is kept: there is nothing to train on. Pass the split `train` of a run; "
            f"`reason` says why rows were rejected."
        )
    if left_out:
        logger.info("%d of %d pairs left out of the view: their status is not kept", left_out, len(pairs))
    return pairs.select(rows) if left_out else pairs


def _without_tags(table: "Dataset", style: TagStyle) -> "Dataset":
    """Rows whose target has each tag once; others are left out with a warning."""
    names = [name for name in ("continuation", "other") if name in table.column_names]
    rows = []
    for at, row in enumerate(table.with_format(None).select_columns(["prefix", *names])):
        if not any(tag_inside({"prefix": row["prefix"], "continuation": row[name]}, style) for name in names):
            rows.append(at)
    left_out = len(table) - len(rows)
    if left_out and not rows:
        raise UserError(
            f"All {left_out} rows contain a tag of `tag_style={style.name!r}` in their own text, so prefix "
            f"and continuation couldn't be separated. Give another `tag_style`."
        )
    if left_out:
        logger.warning(
            "%d of %d rows left out of the view: their text holds a tag of `tag_style=%r` itself, which would stand "
            "in the target twice",
            left_out,
            len(table),
            style.name,
        )
    return table.select(rows) if left_out else table
