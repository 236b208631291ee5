"""The prompt from which a student continues a prefix, in tokens, and the room left for the continuation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palign_hf.alignment.fallbacks import full_end, longer_ends
from palign_hf.alignment.rows import Beginning
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.asking.rendering import ChatPrompt
from palign_hf.prompts import Template, tag_style


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Tokens of a started reply that are decoded again with what follows them.
_ANCHOR = 4


class BeginningPrompt:
    """One student's prompts in one mode: the prefix in the user's turn, or as the started reply.

    A started reply follows the solve prompt and has the tags of a training target, so the sample continues exactly the
    text that the student will be trained on.
    """

    def __init__(
        self,
        settings: AlignmentSettings,
        template: Template,
        tokenizer: "PreTrainedTokenizerBase",
        student: str,
        max_model_len: int,
    ) -> None:
        self._chat = ChatPrompt(tokenizer, template, student)
        self._template_ids = Counter(self._chat.head_ids + self._chat.tail_ids)
        self._settings, self._max_model_len, self._tokenizer = settings, max_model_len, tokenizer
        # In the user's turn a prefix has no tags; those of the training target are the usual ones.
        self._begun = settings.style
        self._style = self._begun or tag_style("prefix")

    def found(self, source: Mapping[str, Any]) -> Beginning:
        """The prefix of the row."""
        tokens = source["prefix_tokens"]
        if tokens is None:
            tokens = len(self._chat.texts.encode(source["prefix"]))
        return Beginning(source["prefix"], source["prefix_end"], tokens, self._ids(source, source["prefix"]))

    def fallbacks(self, source: Mapping[str, Any]) -> list[Beginning]:
        """Fallback prefixes in the order in which they are tried; those that don't fit are left out."""
        kind = self._settings.fallback
        if kind == "drop":
            return []
        ends = full_end(source) if kind == "full_trace" else longer_ends(source, self._settings.fallback_cuts)
        counts = self._chat.texts.count_before(source["trace"], ends) if ends else []
        tried = []
        for end, tokens in zip(ends, counts, strict=True):
            prefix = source["trace"][:end]
            one = Beginning(prefix, end, tokens, self._ids(source, prefix), kind)
            if self.refused(one) is None:
                tried.append(one)
        return tried

    def refused(self, one: Beginning) -> str | None:
        """Why the student can't continue from this prefix, or None."""
        if tag := self.tag_in(one.prefix):
            return f"the prefix holds `{tag}` itself, which would be taken for its border"
        # More of them than the template has: the text's own.
        if control := self._chat.control((Counter(one.prompt) - self._template_ids).elements()):
            return f"this student's tokenizer can't distinguish {', '.join(control)} in the text from control tokens"
        if self.room(one) < 1:
            return f"the prompt has {len(one.prompt)} tokens, and the context holds {self._max_model_len}"
        return None

    def tag_in(self, text: str) -> str | None:
        """The tag of the training target that occurs in a text, or None."""
        return self._style.tag_in(text)

    def room(self, one: Beginning) -> int:
        """Token limit of a continuation."""
        left = self._max_model_len - len(one.prompt)
        return left if self._settings.max_tokens is None else min(left, self._settings.max_tokens)

    def text(self, ids: Sequence[int], one: Beginning) -> str:
        """The student's text, without the token that ended it."""
        if self._goes_on:
            # Some tokenizers take the space off a text that comes first, and this one comes behind another.
            before = one.prompt[-_ANCHOR:]
            known, whole = self._decoded(before), self._decoded([*before, *ids])
            if whole.startswith(known):
                return whole[len(known) :]
        return self._decoded(ids)

    def controls(self, ids: Sequence[int], finish_reason: str) -> list[str]:
        """Special tokens before the end of the student's turn, which decoding would drop."""
        return self._chat.control(ids[:-1] if finish_reason == "stop" else ids)

    @property
    def _goes_on(self) -> bool:
        """Whether a reply continues from the prefix's last word."""
        return self._begun is not None and not self._begun.close

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _ids(self, source: Mapping[str, Any], prefix: str) -> list[int]:
        if self._begun is not None:
            return self._chat.ids(source["question"], begun=self._begun.wrap(prefix, ""))
        return self._chat.ids(source["question"], prefix)
