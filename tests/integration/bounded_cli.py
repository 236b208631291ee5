"""`palign` that keeps whoever means to end it waiting in a known place, however fast the machine is.

Run as `python bounded_cli.py ANSWERS COMMAND ...`: vLLM answers so many questions and then none. With `writing`
instead of a number, the first rows that are to be written stay on their way. On SIGUSR1 every thread says where it is.
"""

import asyncio
import faulthandler
import signal
import sys
import time

import pyarrow.parquet

from palign_hf.cli import main
from palign_hf.engines.vllm import VLLMEngine


def bound(answers: int) -> None:
    """Let the engine answer so many questions."""
    score, asked = VLLMEngine.score, 0

    async def bounded(self, *given):
        nonlocal asked
        asked += 1
        if asked > answers:
            await asyncio.Event().wait()
        return await score(self, *given)

    VLLMEngine.score = bounded


def hold_writing() -> None:
    """Say that something is to be written, and don't."""

    def held(*given, **options):
        sys.stderr.write("writing\n")
        sys.stderr.flush()
        time.sleep(600)

    pyarrow.parquet.write_table = held


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)
    if sys.argv[1] == "writing":
        hold_writing()
    else:
        bound(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
