"""PREFIXES -> PAIRS on one machine's GPUs, or on several machines: a shard and an engine for each process.

    accelerate launch --num_processes 4 recipes/align.py --config recipes/qwen2.5-7b-instruct/align.yaml

Without accelerate it is `palign align`. The same command resumes an interrupted run, also with
another number of processes: what was drawn is in the ledger. On several machines `output_dir` must be a folder that
all share, and `ledger` a local disk of each.
"""

import sys

from palign_hf.runs.launch import launch
from palign_hf.runs.stages import find_stage


if __name__ == "__main__":
    sys.exit(launch(find_stage("align")))
