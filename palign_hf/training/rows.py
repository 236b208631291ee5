"""Tokenization, filtering and packing of the training rows, with an account of every row that is left out."""

import logging
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from datasets import Dataset, Features, IterableDataset, List, Value
from trl import SFTConfig, pack_dataset

from palign_hf.data.exact import cached_apart
from palign_hf.errors import UserError, listed, nearest
from palign_hf.prompts import TAG_STYLES, TagStyle, tag_style
from palign_hf.schema import OUTCOMES, STATUSES, TRAINED
from palign_hf.training.config import PAlignConfig
from palign_hf.training.features import (
    COLUMNS,
    LENGTH,
    SHORTENED,
    VERSION,
    Layout,
    build_features,
    completion_text,
    tag_inside,
)


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

Rows: TypeAlias = Dataset | IterableDataset

_FEATURES = Features(
    {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int32")),
        "segment_ids": List(Value("int8")),
        LENGTH: Value("int32"),
        SHORTENED: Value("bool"),
    }
)
# Rows of a stream that are searched for tags before training.
_PEEK = 64
_STREAMED = 64


@dataclass
class Account:
    """Counts of the rows of one dataset: used, and left out by reason. Rows of a stream are not counted.

    Args:
        name (`str`): Name of the dataset, as `train`.
        given (`int`, *optional*): Rows of the dataset; `None` for a stream.
        trained (`int`, *optional*): Rows that are used.
        overlong (`int`): Rows longer than `max_length`.
        tagged (`int`): Rows whose own text holds a tag.
        shortened (`int`): Used rows with a shortened prefix.
        parted (`int`): Used rows that packing splits.
        not_kept (`Counter[str]`): Rows of PAIRS by a status that is not trained on.
    """

    name: str
    given: int | None = None
    trained: int | None = None
    overlong: int = 0
    tagged: int = 0
    shortened: int = 0
    parted: int = 0
    not_kept: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        if self.given is None:
            return f"The {self.name} dataset is a stream: its rows are not counted."
        reasons = [f"{count:,} {status}" for status, count in sorted(self.not_kept.items())]
        reasons += [f"{self.overlong:,} longer than `max_length`"] * bool(self.overlong)
        reasons += [f"{self.tagged:,} with a tag in their own text"] * bool(self.tagged)
        left = f", left out: {', '.join(reasons)}" if reasons else ""
        cut = f"; {self.shortened:,} with a shortened prefix" if self.shortened else ""
        if self.parted:
            cut += f"; {self.parted:,} longer than `max_length` continue in the next packed row"
        return f"{self.trained:,} of {self.given:,} rows of the {self.name} dataset are used{left}{cut}."


def column_names(dataset: Rows) -> list[str]:
    """The columns of a dataset; those of the first row where a stream declares none."""
    return list(dataset.column_names if dataset.column_names is not None else next(iter(dataset)))


def layout_of(dataset: Rows, config: PAlignConfig) -> Layout | None:
    """How the rows give prefix and continuation; None for plain data, which TRL prepares.

    Raises:
        UserError: If the columns are those of no known layout.
    """
    names = set(column_names(dataset))
    if "input_ids" in names:
        return "tokens" if "segment_ids" in names else None
    if {"prefix", "continuation"} <= names and ("question" in names or "prompt" in names):
        return "question" if "question" in names else "prompt"
    if {"prompt", "completion"} <= names:
        return "completion" if _tagged(dataset, tag_style(config.tag_style)) else None
    if names & {config.dataset_text_field, "messages", "conversations", "image", "images"}:
        return None
    wanted = {"question", "prompt", "prefix", "continuation", "completion"}
    missing = [(name, nearest(name, names - wanted)) for name in sorted(wanted - names)]
    near = "".join(f"`{name}`{match} is missing. " for name, match in missing if match)
    raise UserError(
        f"A dataset with the columns {listed(sorted(names), 'none')} can't be trained on. {near}"
        f"Give rows of PAIRS, `question` or `prompt` with `prefix` and `continuation`, or a format of `SFTTrainer`: "
        f"`prompt` and `completion`, `messages` or `{config.dataset_text_field}`."
    )


def build_rows(
    dataset: Rows,
    layout: Layout,
    tokenizer: "PreTrainedTokenizerBase",
    config: PAlignConfig,
    name: str,
    packing: bool = False,
) -> tuple[Rows, Account]:
    """Add tokens, labels and segment ids to the rows, and leave out those that can't be trained on.

    Other columns stay, as in `SFTTrainer`: callbacks read them. With `packing_strategy="wrapped"` a row may be longer
    than `max_length`, since packing cuts the rows anyway.

    Args:
        dataset: Rows of a layout, a `Dataset` or a stream.
        layout: Their layout, as `layout_of` returns it.
        tokenizer: The student's tokenizer, with its chat template.
        config ([`PAlignConfig`]): tags, `max_length`, `overlong` and packing.
        name (`str`): Name of the dataset in messages, as `train`.
        packing (`bool`, *optional*, defaults to `False`): Whether the rows are packed afterwards.

    Returns:
        The dataset and the account of its rows.
    """
    account = Account(name, given=len(dataset) if isinstance(dataset, Dataset) else None)
    dataset = cached_apart(dataset.with_format(None))
    if layout in ("question", "prompt") and "status" in column_names(dataset):
        dataset = kept_rows(dataset, account)
    dataset = _without_tags(dataset, layout, tag_style(config.tag_style), account)
    _refuse_nothing(dataset, account)
    described = {"desc": f"Tokenizing {name} dataset", "num_proc": config.dataset_num_proc}
    # The first row of a stream is ready only with its whole batch.
    options = described if isinstance(dataset, Dataset) else {"batch_size": _STREAMED}
    came_packed = layout == "tokens" and "seq_lengths" in column_names(dataset)
    # A stream of undeclared types can't keep its columns: `features` of a `map` must name all of them.
    known = dataset.features or {}
    dropped = [each for each in column_names(dataset) if each not in known]
    if layout != "tokens" and "seq_lengths" in known:
        dropped.append("seq_lengths")  # they belong to other tokens
    dataset = dataset.map(
        build_features,
        batched=True,
        with_indices=True,
        fn_kwargs={
            "tokenizer": tokenizer,
            "layout": layout,
            "tag_style": config.tag_style,
            "max_length": config.max_length,
            "shorten": config.overlong == "truncate_prefix",
            "version": VERSION,
        },
        remove_columns=dropped,
        features=Features({each: known[each] for each in known if each not in dropped} | _FEATURES),
        **options,
    )
    parts = packing and config.packing_strategy == "wrapped" and not came_packed
    dataset = _within(dataset, config, account, parts)
    _refuse_nothing(dataset, account)
    if account.trained is not None:
        odd = account.overlong or account.shortened or account.tagged
        logger.log(logging.WARNING if odd else logging.INFO, "%s", account)
    return dataset.remove_columns([LENGTH, SHORTENED]), account


def packed(dataset: Rows, config: SFTConfig, name: str) -> Rows:
    """Pack rows up to `max_length` with TRL's packing; tokens keep their segment ids.

    Packed rows stay as they are: packed again, their documents would attend to each other.
    """
    if "seq_lengths" in column_names(dataset):
        return dataset
    if config.max_length is None:
        raise UserError("`packing=True` needs a length, but `max_length=None`. Set `max_length` to a number.")
    if config.shuffle_dataset:
        dataset = dataset.shuffle(seed=config.seed)
    described = {"desc": f"Packing {name} dataset", "num_proc": config.dataset_num_proc}
    dataset = dataset.select_columns(list(COLUMNS))
    return pack_dataset(
        dataset, config.max_length, config.packing_strategy, described if isinstance(dataset, Dataset) else {}
    )


def kept_rows(dataset: Rows, account: Account) -> Rows:
    """The rows whose `status` is one to train on."""
    if "correct" in column_names(dataset) and "strict" not in column_names(dataset):
        raise UserError(
            "This table of PAIRS is of version 1, whose `status` is not about the continuation. Read it with "
            "`load_pairs`, or select the rows to train on and remove `status`."
        )
    if isinstance(dataset, IterableDataset):
        return dataset.filter(_is_kept, input_columns="status")
    statuses = dataset["status"][:]
    counts = Counter(statuses)
    if unknown := set(counts) - {*OUTCOMES, *STATUSES}:
        raise UserError(
            f"Column `status` holds {listed(sorted(map(str, unknown)))}, which is no status of PAIRS: rows with "
            f"{listed(TRAINED)} are trained on, others are left out. Remove the column if it means something else."
        )
    account.not_kept = Counter({status: count for status, count in counts.items() if status not in TRAINED})
    if not account.not_kept:
        return dataset
    return dataset.select([row for row, status in enumerate(statuses) if status in TRAINED])


def _without_tags(dataset: Rows, layout: Layout, style: TagStyle, account: Account) -> Rows:
    """The rows whose target has each tag once; from others the student would learn to close a draft twice."""
    if layout == "tokens" or not style.open:
        return dataset
    read = ["completion"] if layout == "completion" else ["prefix", "continuation"]
    if isinstance(dataset, IterableDataset):
        return dataset.filter(_Tagless(layout, style))
    # The account counts them, so no warning is needed.
    tagless = _Tagless(layout, style, warned=True)
    rows = [at for at, row in enumerate(dataset.select_columns(read)) if tagless(row)]
    account.tagged = len(dataset) - len(rows)
    return dataset.select(rows) if account.tagged else dataset


@dataclass
class _Tagless:
    """Whether a row's target has each tag once; warns once, since rows of a stream are not counted."""

    layout: Layout
    style: TagStyle
    warned: bool = False

    def __call__(self, row: Any) -> bool:
        try:
            tag = tag_inside(row, self.layout, self.style)
        except (TypeError, AttributeError):  # not texts: `build_features` raises the error
            return True
        if tag is not None and not self.warned:
            logger.warning(
                "Rows that hold `%s` in their own text are left out: their target would have it twice.", tag
            )
        self.warned = self.warned or tag is not None
        return tag is None


def _refuse_nothing(dataset: Rows, account: Account) -> None:
    if isinstance(dataset, Dataset):
        account.trained = len(dataset)
        if not account.trained:
            use = "train on" if account.name == "train" else "evaluate on"
            raise UserError(f"{account} Nothing is left to {use}. Check the rows, or raise `max_length`.")


def _within(dataset: Rows, config: PAlignConfig, account: Account, parts: bool) -> Rows:
    """The rows that fit; `overlong` decides about others, unless packing splits them (`parts`)."""
    most, refuse = config.max_length, config.overlong == "error"
    if most is None:
        return dataset
    if isinstance(dataset, IterableDataset):
        return dataset.filter(_Fits(most, refuse), input_columns=LENGTH) if refuse or not parts else dataset
    tokens = np.asarray(dataset[LENGTH][:], dtype=np.int64)
    account.shortened = int(np.sum(np.asarray(dataset[SHORTENED][:], dtype=bool) & (tokens <= most)))
    overlong = int(np.sum(tokens > most))
    if overlong and refuse:
        raise _too_long(f"{overlong:,} of {len(dataset):,} rows are", most, int(tokens.max()))
    if parts:
        account.parted = overlong
        return dataset
    account.overlong = overlong
    if not overlong:
        return dataset
    return dataset.select(np.flatnonzero(tokens <= most))


def _too_long(rows: str, most: int, longest: int) -> UserError:
    return UserError(
        f"`max_length={most}`: {rows} longer, up to {longest:,} tokens, and `overlong='error'` refuses them. Raise "
        f"`max_length`, or set `overlong` to `drop` (leave them out) or `truncate_prefix` (shorten their prefix)."
    )


def _is_kept(status: str) -> bool:
    return status in TRAINED


@dataclass
class _Fits:
    """Whether a row of a stream fits; warns once, since rows of a stream are not counted."""

    most: int
    refuse: bool
    warned: bool = False

    def __call__(self, tokens: int) -> bool:
        if tokens <= self.most:
            return True
        if self.refuse:
            raise _too_long("a row of the stream is", self.most, tokens)
        if not self.warned:
            logger.warning(
                "Rows of the stream longer than `max_length=%d` are left out: one has %d.", self.most, tokens
            )
        self.warned = True
        return False


def _tagged(dataset: Rows, style: TagStyle) -> bool:
    """Whether any completion begins with the opening tag; raises if one begins with the tag of another style."""
    others = [other for other in TAG_STYLES.values() if other.open.startswith("<Begin") and other.name != style.name]
    for text in _completions(dataset):
        if style.open and text.startswith(style.open):
            return True
        for other in others:
            if text.startswith(other.open):
                raise UserError(
                    f"A completion begins with `{other.open}`, but `tag_style={style.name!r}` looks for "
                    f"`{style.open.strip() or 'no tags'}`. Set `tag_style={other.name!r}`."
                )
    return False


def _completions(dataset: Rows) -> Any:
    rows = dataset.select_columns(["completion"])
    if isinstance(rows, Dataset):
        rows = rows.with_format(None)
        texts = (value for batch in rows.iter(1000) for value in batch["completion"])
    else:
        texts = (row["completion"] for row in islice(rows, _PEEK))
    return (text for value in texts if (text := completion_text(value)) is not None)
