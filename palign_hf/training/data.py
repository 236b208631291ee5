"""Pairs as a training takes them up: what is learned of them, what is only measured, and the account of all."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.pairs.baselines import read_baseline
from palign_hf.pairs.drawing import draw
from palign_hf.pairs.load import load_pairs
from palign_hf.runs.provenance import commit_of
from palign_hf.traces.sources import open_source
from palign_hf.training.settings import TracedSettings, TrainConfig


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

# What a training reads of a row.
READ = ("id", "question", "prefix", "continuation")
_MEASURED = "kept for the evaluation"


@dataclass
class Lessons:
    """The rows that are learned, those that are measured, and what became of the rest of the pairs."""

    train: "Dataset"
    measured: "Dataset | None"
    given: int
    commit: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)


def read_lessons(config: TrainConfig, tokenizer: "PreTrainedTokenizerBase") -> Lessons:
    """Read and check the pairs that a recipe names, and make its baseline of them."""
    settings = config.pairs
    pairs = _load(config, settings.split)
    commit = commit_of(pairs)
    if settings.limit is not None:
        pairs = pairs.select(range(min(settings.limit, len(pairs))))
    given, left_out = len(pairs), Counter[str]()
    traces = _traces(config.prefixes) if config.kind.text == "trace" and config.prefixes else None
    options: dict[str, Any] = {"tokenizer": tokenizer, "per_problem": config.per_problem}
    apart: Dataset | None = None
    if isinstance(config.eval, str):
        apart = _load(config, config.eval)
    elif config.eval is not None:
        kept_apart = _drawn(pairs, config.eval)
        names = pairs["id"][:]
        apart = pairs.select([at for at, name in enumerate(names) if name in kept_apart])
        pairs = pairs.select([at for at, name in enumerate(names) if name not in kept_apart])
        left_out[_MEASURED] = len(apart)
    measured = None if apart is None else read_baseline(apart, config.kind, traces, **options)[0]
    train, others = read_baseline(pairs, config.kind, traces, budget=config.budget, **options)
    return Lessons(train, measured, given, commit, left_out + others)


def _load(config: TrainConfig, split: str) -> "Dataset":
    settings = config.pairs
    pairs = load_pairs(settings.source, split=split, config=settings.config, revision=settings.revision)
    if not len(pairs):
        raise UserError(f"`{settings.source}` has no rows in the split `{split}`, so there is nothing to learn.")
    return pairs


def _traces(settings: TracedSettings) -> "Dataset":
    found, _ = open_source(
        settings.source,
        split=settings.split,
        config=settings.config,
        revision=settings.revision,
        streaming=False,
    )
    return found


def _drawn(pairs: "Dataset", part: float) -> set[str]:
    """The problems that are measured: that share of those with a kept pair, the same in every order of rows."""
    named = zip(pairs["id"], pairs["status"], strict=True)
    problems = sorted({name for name, status in named if status == "kept"}, key=lambda name: draw(0, "eval", name))
    count = max(1, round(part * len(problems)))
    if count >= len(problems):
        raise UserError(
            f"`eval={part}` of {len(problems)} problems with a kept pair would leave nothing to learn. Give less, or "
            f"more pairs."
        )
    return set(problems[:count])
