"""`palign` whose vLLM answers so many questions and then keeps the next ones waiting.

Run as `python bounded_cli.py ANSWERS COMMAND ...`: whoever means to interrupt a run in its middle finds it there,
however fast the machine is and however late the interrupt comes.
"""

import asyncio
import sys

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


if __name__ == "__main__":
    bound(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
