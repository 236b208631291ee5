"""How tests start a recipe's script under accelerate."""

import sys
from pathlib import Path


RECIPES = Path(__file__).parents[2] / "recipes"


def launch(processes: int, script: str) -> list[str]:
    """`accelerate launch` of a recipe; several processes on one machine start only by its launcher for GPUs, which
    serves for CPUs as well."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--num_cpu_threads_per_process", "1", "--num_processes", str(processes)]
    command += ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else ["--cpu"]
    return [*command, str(RECIPES / script)]
