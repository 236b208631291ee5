"""PAIRS or other rows -> a student, on the GPUs of one or several machines. All processes train one student together.

    accelerate launch --config_file recipes/accelerate/ddp.yaml recipes/train.py --config qwen3-8b/train_lora.yaml

Without accelerate, run `palign train`. The same command resumes from the last checkpoint, also with another number of
processes if a step has the same number of rows. On several machines `output_dir` must be a shared folder.
"""

import sys

from palign_hf.runs.launch import launch
from palign_hf.runs.stages import find_stage


if __name__ == "__main__":
    sys.exit(launch(find_stage("train")))
