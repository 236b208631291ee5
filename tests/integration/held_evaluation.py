"""`palign` whose student answers so many times and then no more, for whoever means to end it there.

Run as `python held_evaluation.py ANSWERS COMMAND ...`.
"""

import asyncio
import sys

from palign_hf.cli import main
from palign_hf.engines.transformers import TransformersEngine


def hold(answers: int) -> None:
    """Let the engine give so many samples."""
    generate, asked = TransformersEngine.generate, 0

    async def held(self, *given):
        nonlocal asked
        asked += 1
        if asked > answers:
            await asyncio.Event().wait()
        return await generate(self, *given)

    TransformersEngine.generate = held


if __name__ == "__main__":
    hold(int(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
