"""Configuration of `PAlignTrainer`: TRL's `SFTConfig` with the fields of prefix alignment."""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from transformers import TrainingArguments
from trl import SFTConfig

from palign_hf.config.resolve import KnowsOldNames
from palign_hf.config.values import Bounds, Unfit, fit
from palign_hf.config.values import shown_value as as_text
from palign_hf.errors import UserError, listed, nearest
from palign_hf.prompts import tag_style
from palign_hf.training.features import CLOSE_TAG, CONTINUATION, PREFIX, PROMPT


Overlong = Literal["drop", "truncate_prefix", "error"]

_WEIGHTS = ("prefix_loss_weight", "continuation_loss_weight", "close_tag_loss_weight")


@dataclass
class PAlignConfig(KnowsOldNames, SFTConfig):
    """Configuration of [`PAlignTrainer`]: all parameters of [`~trl.SFTConfig`], and those below.

    A weight scales the loss of each token of its segment; the loss is still the mean over all learned tokens. Weight 0
    masks the labels of the segment, which is plain training on the other segments, at no cost.

    Args:
        prefix_loss_weight (`float`, *optional*, defaults to `1.0`):
            Loss weight of the teacher's prefix and its opening tag.
        continuation_loss_weight (`float`, *optional*, defaults to `1.0`):
            Loss weight of the student's continuation and the end of its turn.
        close_tag_loss_weight (`float`, *optional*, defaults to `1.0`):
            Loss weight of the closing tag. A student that doesn't learn the tag never ends its draft.
        tag_style (`str`, *optional*, defaults to `"prefix"`):
            How a target marks the prefix: `"prefix"`, `"draft"`, `"think"`, or `"none"` for no tags.
        overlong (`str`, *optional*, defaults to `"drop"`):
            Rows longer than `max_length`: `"drop"` leaves them out, `"truncate_prefix"` cuts their prefix at an
            earlier sentence, `"error"` raises an error. They are counted in `PAlignTrainer.accounts`.
        sanity_checks (`bool`, *optional*, defaults to `True`):
            Whether to check the prompts and the end of the student's turn before training. A failed check is an error
            for rows with a prefix, and a warning for others.

    Example:

    ```python
    >>> from palign_hf import PAlignConfig

    >>> args = PAlignConfig("student", prefix_loss_weight=0.5, max_length=4096, bf16=False, use_cpu=True)
    >>> args.segment_weights
    (1.0, 0.5, 1.0, 1.0)
    ```
    """

    prefix_loss_weight: float = field(
        default=1.0, metadata={"help": "Loss weight of the teacher's prefix and its opening tag."}
    )
    continuation_loss_weight: float = field(
        default=1.0, metadata={"help": "Loss weight of the student's continuation and the end of its turn."}
    )
    close_tag_loss_weight: float = field(
        default=1.0,
        metadata={"help": "Loss weight of the closing tag. A student that doesn't learn it never ends its draft."},
    )
    tag_style: str = field(
        default="prefix",
        metadata={"help": "How a target marks the prefix: `prefix`, `draft`, `think`, or `none` for no tags."},
    )
    overlong: Overlong = field(
        default="drop",
        metadata={
            "help": "Rows longer than `max_length`: `drop` leaves them out, `truncate_prefix` cuts their prefix at an "
            "earlier sentence, `error` raises an error. They are counted. `packing_strategy='wrapped'` splits such "
            "rows instead and keeps all tokens."
        },
    )
    sanity_checks: bool = field(
        default=True,
        metadata={
            "help": "Whether to check the prompts and the end of the student's turn before training. A failed check "
            "is an error for rows with a prefix, and a warning for others."
        },
    )

    def __post_init__(self) -> None:
        self.check_own()
        super().__post_init__()

    def check_own(self) -> None:
        """Check the fields of prefix alignment, alone and beside those of TRL.

        Raises:
            UserError: If a value is invalid, or excluded by another setting.
        """
        for name, hint in PAlignConfig.__annotations__.items():
            self._fit(name, hint)
        tag_style(self.tag_style)
        if not any(getattr(self, name) for name in _WEIGHTS):
            zeros = ", ".join(f"{name}=0" for name in _WEIGHTS)
            raise UserError(f"`{zeros}` leave nothing to learn. Set one of them above 0.")
        losses = SFTConfig.__dataclass_fields__["loss_type"].metadata.get("choices", [self.loss_type])
        if self.loss_type not in losses:
            raise UserError(
                f"`loss_type={as_text(self.loss_type)}` is unknown{nearest(self.loss_type, losses)}. Choose one of "
                f"{listed(losses)}."
            )
        if self.loss_type not in ("nll", "chunked_nll") and self.weighted:
            raise UserError(
                f"`loss_type={self.loss_type!r}` isn't linear in the log-probabilities, so weights of prefix and "
                f"continuation don't apply to it. Leave it out, or leave all weights at 1."
            )
        if self.label_smoothing_factor and self.weighted:
            raise UserError(
                f"`label_smoothing_factor={self.label_smoothing_factor}` computes the loss without the weights of "
                f"prefix and continuation. Leave it out, or leave all weights at 1."
            )
        refuse_sharded_sequences(self.parallelism_config)

    @property
    def segment_weights(self) -> tuple[float, ...]:
        """The weight of each segment, by its id. Prompt tokens that a user's own labels include have weight 1."""
        weights = {
            PROMPT: 1.0,
            PREFIX: self.prefix_loss_weight,
            CLOSE_TAG: self.close_tag_loss_weight,
            CONTINUATION: self.continuation_loss_weight,
        }
        return tuple(weights[segment] for segment in sorted(weights))

    @property
    def weighted(self) -> bool:
        """Whether any weight differs from 1."""
        return any(getattr(self, name) != 1 for name in _WEIGHTS)

    @property
    def masked_segments(self) -> tuple[int, ...]:
        """The segments of weight 0."""
        return tuple(segment for segment, weight in enumerate(self.segment_weights) if weight == 0)

    def _fit(self, name: str, hint: Any) -> None:
        value = getattr(self, name)
        try:
            fitted = fit(hint, value, Bounds(least=0 if name in _WEIGHTS else None), plain=False)
        except Unfit as unfit:
            raise UserError(f"`{name}={as_text(value)}` {unfit}.") from None
        setattr(self, name, fitted)


def refuse_sharded_sequences(parallelism: Any) -> None:
    """Raise for context or sequence parallelism: labels of a split sequence are shifted without their segments."""
    for name in ("cp", "sp"):
        if parallelism is not None and getattr(parallelism, f"{name}_size", 1) > 1:
            raise UserError(
                f"`{name}_size={getattr(parallelism, f'{name}_size')}` splits each sequence over devices, without the "
                f"segments of its tokens (prefix, continuation). Leave it out: use DDP, FSDP or ZeRO, and save memory "
                f"with `packing` and gradient checkpointing."
            )


def as_given(model: Any, args: TrainingArguments | None) -> SFTConfig:
    """The arguments of a trainer as a `PAlignConfig`; a subclass of `SFTConfig` is kept, as in `SFTTrainer`."""
    if args is None:
        name = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "")
        return PAlignConfig(f"{name.rstrip('/').split('/')[-1] or 'student'}-P-ALIGN")
    return args if isinstance(args, SFTConfig) and type(args) is not SFTConfig else as_config(args)


def as_config(args: TrainingArguments) -> PAlignConfig:
    """The same settings as a `PAlignConfig`, with the defaults of its own fields.

    Attributes are copied, since `to_dict` hides or drops some. Plain `TrainingArguments` get the defaults of
    `SFTConfig`, as in `SFTTrainer`.
    """
    if isinstance(args, PAlignConfig):
        return args
    if not isinstance(args, SFTConfig):
        given = {one.name: getattr(args, one.name) for one in fields(args) if one.init}
        if own := sorted(given.keys() - {one.name for one in fields(PAlignConfig)}):
            raise UserError(
                f"`args={type(args).__name__}(...)` has {listed(own)}, which `SFTConfig` doesn't have, so it belongs "
                f"to another trainer. Derive `{type(args).__name__}` from `PAlignConfig`, or pass a `PAlignConfig`."
            )
        return PAlignConfig(**given)
    config = PAlignConfig.__new__(PAlignConfig)
    for one in fields(PAlignConfig):
        if one.default is not MISSING or one.default_factory is not MISSING:
            setattr(config, one.name, one.default if one.default_factory is MISSING else one.default_factory())
    vars(config).update(vars(args))
    config.check_own()
    return config
