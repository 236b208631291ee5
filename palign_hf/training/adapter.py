"""An adapter for all or some layers of a student, as the section `lora` says."""

from typing import TYPE_CHECKING

from palign_hf.training.settings import LoraSettings


if TYPE_CHECKING:
    from peft import LoraConfig


def adapter(settings: LoraSettings) -> "LoraConfig":
    """The section in peft's own form."""
    from peft import LoraConfig

    layers = settings.target_modules
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=layers if isinstance(layers, str) else list(layers),
        task_type="CAUSAL_LM",
    )
