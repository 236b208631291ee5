"""`PAlignConfig`: TRL's `SFTConfig`, and what prefix alignment adds to it."""

from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import TrainingArguments
from trl import SFTConfig

from palign_hf.config.values import Bounds, Unfit, fit, told
from palign_hf.errors import UserError
from palign_hf.prompts import tag_style
from palign_hf.training.segments import CLOSE_TAG, CONTINUATION, PREFIX, PROMPT


Overlong = Literal["drop", "truncate_prefix", "error"]

_WEIGHTS = ("prefix_loss_weight", "continuation_loss_weight", "close_tag_loss_weight")


@dataclass
class PAlignConfig(SFTConfig):
    """All settings of `SFTConfig`; the fields below say what the others are for.

    A weight scales the loss of each token of its part; the mean stays one over all learned tokens. Weight 0 takes the
    part out of the labels, which is plain training on the rest, at no cost.
    """

    prefix_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the teacher's prefix and its opening tag in the loss."}
    )
    continuation_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of the student's continuation and the end of its turn in the loss."}
    )
    close_tag_loss_weight: float = field(
        default=1.0,
        metadata={"help": "Weight of the closing tag in the loss: a student that misses it never ends its draft."},
    )
    tags: str = field(
        default="prefix",
        metadata={"help": "How a target marks the prefix: `prefix`, `draft`, `think`, or `none` for no tags at all."},
    )
    overlong: Overlong = field(
        default="drop",
        metadata={
            "help": "What becomes of rows longer than `max_length`: `drop` leaves them out, `truncate_prefix` ends "
            "their prefix at an earlier sentence, `error` refuses them. They are counted, and none is cut otherwise."
        },
    )
    check: bool = field(
        default=True,
        metadata={"help": "Whether to look before training at the prompts and at what ends the student's turn."},
    )

    def __post_init__(self) -> None:
        for name, hint in PAlignConfig.__annotations__.items():
            self._fit(name, hint)
        tag_style(self.tags)
        if not any(getattr(self, name) for name in _WEIGHTS):
            zeros = ", ".join(f"{name}=0" for name in _WEIGHTS)
            raise UserError(f"`{zeros}` leave nothing to learn: give one of them a weight above 0.")
        if self.loss_type not in ("nll", "chunked_nll"):
            raise UserError(
                f"`loss_type={self.loss_type!r}` makes another loss of each token's probability, so the weights of "
                f"prefix and continuation would not be theirs. Leave it out, or train with TRL's `SFTTrainer`."
            )
        if self.label_smoothing_factor and self.weighted:
            raise UserError(
                f"`label_smoothing_factor={self.label_smoothing_factor}` takes another way to the loss, on which "
                f"there are no weights. Leave it out, or leave all weights at 1."
            )
        refuse_sharded_sequences(self.parallelism_config)
        super().__post_init__()

    @property
    def segment_weights(self) -> tuple[float, ...]:
        """The weight of each segment, by its number. What someone's own labels teach of a prompt has weight 1."""
        weights = {
            PROMPT: 1.0,
            PREFIX: self.prefix_loss_weight,
            CLOSE_TAG: self.close_tag_loss_weight,
            CONTINUATION: self.continuation_loss_weight,
        }
        return tuple(weights[segment] for segment in sorted(weights))

    @property
    def weighted(self) -> bool:
        """Whether any part counts for more or less than in plain training."""
        return any(getattr(self, name) != 1 for name in _WEIGHTS)

    @property
    def masked_segments(self) -> tuple[int, ...]:
        """The segments that are not learned at all."""
        return tuple(segment for segment, weight in enumerate(self.segment_weights) if weight == 0)

    def _fit(self, name: str, hint: Any) -> None:
        value = getattr(self, name)
        try:
            fitted = fit(hint, value, Bounds(least=0 if name in _WEIGHTS else None), plain=False)
        except Unfit as unfit:
            raise UserError(f"`{name}={told(value)}` {unfit}.") from None
        setattr(self, name, fitted)


def refuse_sharded_sequences(parallelism: Any) -> None:
    """A sequence that is split over devices has its labels shifted elsewhere, and its segments would not follow."""
    for name in ("cp", "sp"):
        if parallelism is not None and getattr(parallelism, f"{name}_size", 1) > 1:
            raise UserError(
                f"`{name}_size={getattr(parallelism, f'{name}_size')}` splits each sequence over devices, where its "
                f"tokens can't be told apart as prefix and continuation. Leave it out: rows can be split over "
                f"devices (DDP, FSDP, ZeRO), and `packing` with gradient checkpointing saves memory."
            )


def as_config(model: Any, args: TrainingArguments | None) -> PAlignConfig:
    """The settings of a trainer, also where those of `SFTTrainer` or none were given."""
    if isinstance(args, PAlignConfig):
        return args
    if args is None:
        name = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "")
        return PAlignConfig(f"{name.rstrip('/').split('/')[-1] or 'student'}-P-ALIGN")
    given = args.to_dict()
    hidden = {name: getattr(args, name) for name in given if name.endswith("_token")}
    return PAlignConfig(**given | hidden)
