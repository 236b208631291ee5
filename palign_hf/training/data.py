"""The rows of a training: rows to train on, held-out rows, and the counts of all others.

PAIRS are made into a baseline and counted row by row. A table of any other layout that `PAlignTrainer` takes is passed
on as it is, row by row.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palign_hf.data.balance import draw
from palign_hf.data.baselines import read_baseline
from palign_hf.data.pairs import has_no_splits, is_pairs, load_pairs
from palign_hf.data.sources import open_source
from palign_hf.errors import UserError, shown
from palign_hf.runs.report import commit_of
from palign_hf.schema import PREFIXES
from palign_hf.training.settings import TracedSettings, TrainConfig


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from palign_hf.training.features import Layout

# Columns of PAIRS that decide a training.
READ = ("id", "question", "prefix", "continuation")
_HELD_OUT = "kept for the evaluation"
# Columns that identify a problem, the first that a table has.
_PROBLEM = ("id", "question", "prompt", "messages", "conversations", "input_ids")


@dataclass
class Lessons:
    """The rows of a training.

    Args:
        train ([`~datasets.Dataset`]): Rows to train on.
        measured ([`~datasets.Dataset`], *optional*): Held-out rows.
        given (`int`): Rows that were read.
        commit (`str`, *optional*): Commit of a Hub dataset.
        left_out (`Counter[str]`): Rows in neither of the two, by reason.
        layout (`str`, *optional*, defaults to `"question"`): The layout for the trainer; `None` for plain data.
        pairs (`bool`, *optional*, defaults to `True`): Whether the table is PAIRS.
    """

    train: "Dataset"
    measured: "Dataset | None"
    given: int
    commit: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    layout: "Layout | None" = "question"
    pairs: bool = True

    @property
    def read(self) -> tuple[str, ...]:
        """The columns that decide a training."""
        return READ if self.pairs else tuple(sorted(self.train.column_names))

    @property
    def layout_name(self) -> str:
        """The layout in reports: PAIRS, plain data, or the columns of a prefix."""
        if self.pairs:
            return "PAIRS"
        names = {
            None: "plain data",
            "question": "question, prefix, continuation",
            "prompt": "prompt, prefix, continuation",
            "completion": "completion with tags",
            "tokens": "tokens with segments",
        }
        return names[self.layout]


def read_lessons(config: TrainConfig, tokenizer: "PreTrainedTokenizerBase") -> Lessons:
    """Read and check the rows of a training; of PAIRS, make the baseline.

    Args:
        config ([`TrainConfig`]): The settings.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): The student's tokenizer, which counts a budget.

    Returns:
        [`Lessons`]: The rows; `train` and `left_out` add up to `given`.
    """
    settings = config.pairs
    rows = _load(config, settings.split)
    commit = commit_of(rows)
    if settings.max_samples is not None:
        rows = rows.select(range(min(settings.max_samples, len(rows))))
    given, left_out = len(rows), Counter[str]()
    pairs = is_pairs(rows.column_names)
    layout = "question" if pairs else _layout(rows, config)
    if not pairs:
        rows = _kept(rows, layout, left_out)
    apart: Dataset | None = None
    if isinstance(config.eval, str):
        apart = _load(config, config.eval)
        if is_pairs(apart.column_names) != pairs or (not pairs and _layout(apart, config) != layout):
            raise UserError(
                f"`eval={config.eval!r}` is a split of another layout than `{settings.split}`. Give both the same "
                f"columns."
            )
        if not pairs:
            apart = _kept(apart, layout, Counter())
    elif config.eval is not None:
        problems = rows["id"][:] if pairs else _problems(rows, config.planned.dataset_text_field)
        held_out = _drawn(problems, rows["status"][:] if pairs else None, config.eval)
        apart = rows.select([at for at, name in enumerate(problems) if name in held_out])
        rows = rows.select([at for at, name in enumerate(problems) if name not in held_out])
        left_out[_HELD_OUT] = len(apart)
    if not pairs:
        return Lessons(rows, apart, given, commit, left_out, layout, pairs=False)
    traces = _traces(config.prefixes) if config.kind.text == "trace" and config.prefixes else None
    options: dict[str, Any] = {"tokenizer": tokenizer, "per_problem": config.per_problem}
    measured = None if apart is None else read_baseline(apart, config.kind, traces, **options)[0]
    train, others = read_baseline(rows, config.kind, traces, budget=config.budget, **options)
    return Lessons(train, measured, given, commit, left_out + others)


def _load(config: TrainConfig, split: str) -> "Dataset":
    """A split of the source: PAIRS as `load_pairs` reads them, other tables as they are."""
    settings = config.pairs
    chosen = None if split == "train" and has_no_splits(settings.source) else split
    rows: Any
    rows, _ = open_source(
        settings.source, split=chosen, config=settings.config, revision=settings.revision, streaming=False
    )
    if is_pairs(rows.column_names):
        rows = load_pairs(rows)
    elif set(PREFIXES.columns) <= set(rows.column_names):
        raise UserError(
            f"`{settings.source}` is a table of PREFIXES, which has no continuations. Make pairs of it with `palign "
            f"align`, and train on these."
        )
    if not len(rows):
        raise UserError(
            f"`{settings.source}` has no rows in the split `{split}`. Give a split with rows, or check how it was "
            f"written."
        )
    pairs: Dataset = rows
    return pairs


def _layout(rows: "Dataset", config: TrainConfig) -> "Layout | None":
    """The layout of a table that isn't PAIRS, and refusal of settings that only PAIRS have."""
    from palign_hf.training.rows import layout_of

    source = config.pairs.source
    if images := sorted({"image", "images"} & set(rows.column_names)):
        raise UserError(
            f"`{source}` has the column `{images[0]}`, and `palign train` trains on text. Train on it with "
            f"`PAlignTrainer` and the student's processor, or remove the column."
        )
    try:
        layout = layout_of(rows, config.planned)
    except UserError as error:
        raise UserError(f"`{source}` can't be trained on: {error}") from error
    only_pairs = {"baseline": config.kind.name != "p-align", "budget": config.budget is not None}
    only_pairs["per_problem"] = config.per_problem not in (None, 1)
    for name, given in only_pairs.items():
        if given:
            raise UserError(
                f"`{name}={shown(str(getattr(config, name)))}` needs PAIRS, and `{source}` is another table: it has "
                f"no samples with `id` and `status`. Leave `{name}` out, or give the pairs of `palign align`."
            )
    return layout


def _kept(rows: "Dataset", layout: "Layout | None", left_out: Counter[str]) -> "Dataset":
    """The rows whose `status`, if they have one, is one to train on."""
    from palign_hf.training.rows import Account, kept_rows

    if layout not in ("question", "prompt") or "status" not in rows.column_names:
        return rows
    account = Account("train", given=len(rows))
    kept: Any = kept_rows(rows, account)
    left_out.update({f"not kept: {status}": count for status, count in account.not_kept.items()})
    if not len(kept):
        raise UserError(
            f"None of the {len(rows)} rows has a `status` that is trained on. Check the column, or remove it."
        )
    found: Dataset = kept
    return found


def _traces(settings: TracedSettings) -> "Dataset":
    found, _ = open_source(
        settings.source,
        split=settings.split,
        config=settings.config,
        revision=settings.revision,
        streaming=False,
    )
    return found


def _problems(rows: "Dataset", text_field: str) -> list[str]:
    """The problem of each row as text, from the first column that identifies it."""
    present = [name for name in (*_PROBLEM, text_field) if name in rows.column_names]
    column = next((name for name in present if None not in rows[name][:]), present[-1])
    return [value if isinstance(value, str) else json.dumps(value, sort_keys=True) for value in rows[column][:]]


def _drawn(names: list[str], statuses: list[str] | None, part: float) -> set[str]:
    """The held-out problems: a share of those with a kept pair, the same in every order of rows."""
    kept = names
    if statuses is not None:
        kept = [name for name, status in zip(names, statuses, strict=True) if status == "kept"]
    problems = sorted(set(kept), key=lambda name: draw(0, "eval", name))
    count = max(1, round(part * len(problems)))
    if count >= len(problems):
        what = "problems" if statuses is None else "problems with a kept pair"
        raise UserError(
            f"`eval={part}` of {len(problems)} {what} would leave nothing to train on. Give a smaller share, or more "
            f"rows."
        )
    return set(problems[:count])
