"""TRACES -> PREFIXES on one machine's GPUs, or on several machines: a shard and an engine for each process.

    accelerate launch --num_processes 4 recipes/truncate.py --config recipes/qwen2.5-7b-instruct/truncate.yaml

Without accelerate it is `palign truncate`. The same command again goes on where an interrupted one stopped, also with
another number of processes: what was answered is in the ledger. On several machines `output` must be a folder that
all share, and `ledger` a local disk of each.
"""

import argparse
import os
import sys
from datetime import timedelta


def pin_gpu() -> None:
    """Give this process's engine the GPU of its local rank, before torch or vllm look at what there is."""
    local, count = os.environ.get("LOCAL_RANK"), int(os.environ.get("WORLD_SIZE", "1"))
    if local is None or count == 1:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible == "":  # no GPU is wanted
        return
    devices = visible.split(",") if visible else None
    if devices and int(local) >= len(devices):
        sys.exit(f"truncate: process {local} has no GPU left of CUDA_VISIBLE_DEVICES={visible}. Start one a GPU.")
    os.environ["CUDA_VISIBLE_DEVICES"] = devices[int(local)] if devices else local


def main() -> int:
    """This process's shard; the first process then joins the report and says how it went."""
    # Reading and writing tables is quick here; the one bar is that of the work itself.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    from accelerate import PartialState

    from palign_hf.commands.truncate import add_recipe_arguments
    from palign_hf.config import load_config
    from palign_hf.errors import UserError
    from palign_hf.truncation.run import Shard, TruncateConfig, closing_words, finish, run_shard

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_recipe_arguments(parser)
    options = parser.parse_args()
    # On the CPU's backend: the GPU belongs to the engine. Shards end at different times, so the wait may be long.
    state = PartialState(cpu=True, timeout=timedelta(days=30))
    try:
        config = load_config(TruncateConfig, options.config, options.set)
        run_shard(
            config,
            Shard(state.process_index, state.num_processes),
            progress=None if state.is_main_process else False,
        )
        state.wait_for_everyone()
        failed = 0
        if state.is_main_process:
            report = finish(config, state.num_processes)
            print(closing_words(config, report))
            failed = report.failed
    except UserError as error:
        sys.stderr.write(f"truncate: {error}\n")
        return 2
    state.wait_for_everyone()
    state.destroy_process_group()
    return 1 if failed else 0


if __name__ == "__main__":
    pin_gpu()
    sys.exit(main())
