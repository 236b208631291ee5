"""How the toy student is trained on two CPU cores, wherever that is done in a moment: in the demo and in the study."""

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
