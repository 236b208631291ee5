"""Training arguments for the toy student on two CPU cores, shared by the demo and the study."""

from typing import Any


TRAINING: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "max_length": 2048,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
}
