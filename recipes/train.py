"""PAIRS -> a student, on the GPUs of one machine or of several: all processes train one student together.

    accelerate launch --config_file recipes/accelerate/ddp.yaml recipes/train.py --config qwen3-8b/train_lora.yaml

Without accelerate it is `palign train`. The same command again goes on from the last checkpoint; with another number
of processes, too, if a step has as many rows. On several machines `output` must be a folder that all share.
"""

import sys

from palign_hf.runs.launch import launch
from palign_hf.training.run import TRAIN


if __name__ == "__main__":
    sys.exit(launch(TRAIN, __doc__.split("\n\n")[0]))
