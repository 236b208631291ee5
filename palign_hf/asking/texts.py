"""Tokenization of plain text: a problem's text is data, whatever it looks like."""

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import AddedToken, Tokenizer

from palign_hf.errors import UserError


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextTokenizer:
    """A student's tokens for plain text: special tokens are encoded as text, nothing is added, trimmed or padded.

    It works on a copy of the backend: the settings are not the student's, and without the wrapper the same ids take a
    fifth of the time, at every probe.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", student: str) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"The tokenizer of `{student}` gives no offsets, so cuts can't be placed in its tokens. "
                f"Save a fast tokenizer (tokenizer.json) beside the weights."
            )
        whole: Any = tokenizer
        self._backend: Any = Tokenizer.from_str(whole.backend_tokenizer.to_str())
        self._backend.no_truncation()
        self._backend.no_padding()
        self._backend.post_processor = None
        self._backend.encode_special_tokens = True
        # Some tokenizers put a space before the text that comes first. Text inside a prompt is encoded behind this
        # token, which is then dropped; it is random so that no trace can hold it.
        self._before = f"<{secrets.token_hex(16)}>"
        self._backend.add_tokens([AddedToken(self._before, special=False, normalized=False)])

    def encode(self, text: str, inside: bool = False) -> list[int]:
        """Token ids; `inside` says that something stands before the text."""
        if not inside:
            ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
            return ids
        rest: list[int] = self._backend.encode(self._before + text, add_special_tokens=False).ids[1:]
        return rest

    def encode_with_starts(self, text: str, inside: bool = False) -> tuple[list[int], np.ndarray]:
        """Token ids, and the offset at which each token starts."""
        before = self._before if inside else ""
        encoded = self._backend.encode(before + text, add_special_tokens=False)
        starts = np.array([start for start, _ in encoded.offsets], dtype=np.int64)
        # What a tokenizer puts before a text has no place in it; counting needs starts that never fall.
        starts = np.maximum.accumulate(starts - len(before)).clip(min=0)
        return (encoded.ids[1:], starts[1:]) if inside else (encoded.ids, starts)

    def parts_words(self, text: str) -> bool:
        """Whether no token of `text` can reach over the beginning of a word."""
        if self._backend.pre_tokenizer is None:
            return False
        if self._backend.normalizer is not None:
            text = self._backend.normalizer.normalize_str(text)
        parts = {start for _, (start, _) in self._backend.pre_tokenizer.pre_tokenize_str(text)}
        words = {at for at in range(len(text)) if begins_word(text, at)}
        return bool(words) and words <= parts

    def count_before(self, text: str, ends: Sequence[int]) -> list[int]:
        """For each offset in `text`, how many of its tokens start before it; no prompt around it."""
        _, starts = self.encode_with_starts(text)
        counts: list[int] = np.searchsorted(starts, np.asarray(ends, dtype=np.int64)).tolist()
        return counts


def begins_word(text: str, at: int) -> bool:
    """Whether one space and a letter stand here after a non-space: word tokenizers part the text there."""
    if not 0 < at < len(text) - 1 or text[at] != " " or text[at - 1].isspace():
        return False
    return text[at + 1].isascii() and text[at + 1].isalpha()
