"""Exact cost of probes on an engine with a prefix cache."""

from palign_hf.errors import UserError


class BlockCache:
    """The prefix cache of one problem: whole blocks are reused, and the last token of a prompt is always computed.

    Only the shared part of prompts (head and trace) is cached: a judge's suffix is at another place each time.
    """

    def __init__(self, block: int = 16) -> None:
        if block < 1:
            raise UserError(f"`block={block}` holds no token. Give the engine's block size, 16 on most GPUs.")
        self.block = block
        self.held = 0

    def ask(self, prompt_tokens: int, shared_prefix_tokens: int) -> int:
        """Tokens computed for a prompt whose first `shared_prefix_tokens` are those of the problem's longest text."""
        if not 0 <= shared_prefix_tokens <= prompt_tokens:
            raise UserError(
                f"`shared_prefix_tokens={shared_prefix_tokens}` aren't in a prompt of {prompt_tokens} tokens. "
                f"Give the length of the part before the suffix."
            )
        shared = shared_prefix_tokens - shared_prefix_tokens % self.block
        reusable = (prompt_tokens - 1) // self.block * self.block
        hit = max(0, min(self.held, shared, reusable))
        self.held = max(self.held, shared)
        return prompt_tokens - hit
