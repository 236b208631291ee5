"""`PAlignConfig`: TRL's `SFTConfig`, and what prefix alignment adds to it."""

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

from transformers import TrainingArguments
from trl import SFTConfig

from palign_hf.config.values import Bounds, Unfit, fit, told
from palign_hf.errors import UserError, listed, nearest
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
            "their prefix at an earlier sentence, `error` refuses them. They are counted, and none is cut otherwise, "
            "but by `packing_strategy='wrapped'`, which cuts every row and keeps all tokens."
        },
    )
    check: bool = field(
        default=True,
        metadata={
            "help": "Whether to look before training at the prompts and at what ends the student's turn. Rows with a "
            "prefix are refused if something is wrong there; for others there is a warning."
        },
    )

    def __post_init__(self) -> None:
        self.check_own()
        super().__post_init__()

    def check_own(self) -> None:
        """Check what prefix alignment adds, and with which settings of TRL it can be.

        Raises:
            UserError: If a setting can't be what it is, or not beside another one.
        """
        for name, hint in PAlignConfig.__annotations__.items():
            self._fit(name, hint)
        tag_style(self.tags)
        if not any(getattr(self, name) for name in _WEIGHTS):
            zeros = ", ".join(f"{name}=0" for name in _WEIGHTS)
            raise UserError(f"`{zeros}` leave nothing to learn: give one of them a weight above 0.")
        losses = SFTConfig.__dataclass_fields__["loss_type"].metadata.get("choices", [self.loss_type])
        if self.loss_type not in losses:
            raise UserError(
                f"`loss_type={told(self.loss_type)}` is unknown{nearest(self.loss_type, losses)}. Choose one of "
                f"{listed(losses)}."
            )
        if self.loss_type not in ("nll", "chunked_nll") and self.weighted:
            raise UserError(
                f"`loss_type={self.loss_type!r}` makes another loss of each token's probability, so the weights of "
                f"prefix and continuation would not be theirs. Leave it out, or leave all weights at 1."
            )
        if self.label_smoothing_factor and self.weighted:
            raise UserError(
                f"`label_smoothing_factor={self.label_smoothing_factor}` takes another way to the loss, on which "
                f"there are no weights. Leave it out, or leave all weights at 1."
            )
        refuse_sharded_sequences(self.parallelism_config)

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


def as_given(model: Any, args: TrainingArguments | None) -> SFTConfig:
    """The arguments that a trainer keeps, also where those of `SFTTrainer` or none were given.

    A subclass of `SFTConfig` is kept as it is, with whatever is its own, as `SFTTrainer` keeps it.
    """
    if args is None:
        name = model if isinstance(model, str) else getattr(model.config, "_name_or_path", "")
        return PAlignConfig(f"{name.rstrip('/').split('/')[-1] or 'student'}-P-ALIGN")
    return args if isinstance(args, SFTConfig) and type(args) is not SFTConfig else as_config(args)


def as_config(args: TrainingArguments) -> PAlignConfig:
    """The same settings as a `PAlignConfig`; what it adds is at its defaults.

    The attributes are taken as they are: `to_dict` is for reading, and hides or drops some of them. Plain
    `TrainingArguments` get the defaults of `SFTConfig`, as in `SFTTrainer`.
    """
    if isinstance(args, PAlignConfig):
        return args
    if not isinstance(args, SFTConfig):
        given = {one.name: getattr(args, one.name) for one in fields(args) if one.init}
        if own := sorted(given.keys() - {one.name for one in fields(PAlignConfig)}):
            raise UserError(
                f"`args={type(args).__name__}(...)` has {listed(own)}, which `SFTConfig` doesn't have, so it belongs "
                f"to another trainer. Derive `{type(args).__name__}` from `PAlignConfig`, or give a `PAlignConfig`."
            )
        return PAlignConfig(**given)
    config = PAlignConfig.__new__(PAlignConfig)
    for one in fields(PAlignConfig):
        if one.default is not MISSING or one.default_factory is not MISSING:
            setattr(config, one.name, one.default if one.default_factory is MISSING else one.default_factory())
    vars(config).update(vars(args))
    config.check_own()
    return config
