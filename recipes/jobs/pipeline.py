# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["palign-hf[vllm,eval]>=0.1,<0.2"]
# ///
"""A whole chain wherever `uv` is, with nothing else installed: uv makes the environment from the lines above.

    uv run recipes/jobs/pipeline.py qwen3-1.7b/pipeline.yaml

The options are those of `palign run`. `palign jobs` starts the same script as a job of the Hub.
"""

import sys

from palign_hf.cli import main


if __name__ == "__main__":
    sys.exit(main(["run", *sys.argv[1:]]))
