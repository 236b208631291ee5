"""Token ids of the prompt, the reply and the end of turn of a training row.

A problem gets the prompt `ChatPrompt(SOLVE)`, as in alignment and evaluation. The text of a row is data: the name of a
special token in it is encoded as plain text. The exception is a `prompt` that is one string, which its author has
rendered: its special tokens are kept.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from palign_hf.errors import UserError, listed, shown
from palign_hf.generation.rendering import RENDERING_LIMIT, TODAY, ChatPrompt, call_within
from palign_hf.prompts import SOLVE
from palign_hf.students import TextTokenizer


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]


class ReplyEnd(NamedTuple):
    """What a chat template puts after a reply: its visible text, and the special token in it, or None."""

    text: str
    token: str | None


_QUESTION, _REPLY, _SPELLED = "PalignQuestionGoesHere", "PalignReplyGoesHere", "PalignTokenSpelledOut"


class Turns:
    """Encodes the prompts and replies of one student. It copies the tokenizer, so make it once (`turns_of`)."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self.student = str(tokenizer.name_or_path or "the student")
        self.texts = TextTokenizer(tokenizer, self.student)
        self._tokenizer: Any = tokenizer
        special = {id: token.content for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._names = set(special.values())
        self._special = set(special) - {tokenizer.unk_token_id}
        longest_first = sorted(map(re.escape, self._names), key=len, reverse=True)
        self._name = re.compile("|".join(longest_first) or r"(?!)")

    @cached_property
    def solve(self) -> ChatPrompt:
        """The prompt of a problem, the same as in evaluation."""
        return ChatPrompt(self._tokenizer, SOLVE, self.student)

    def encode_reply(self, text: str) -> tuple[list[int], np.ndarray]:
        """The token ids of a reply, and the first character of each token."""
        ids, starts = self.texts.encode_with_starts(text, inside=True)
        if control := self._special & set(ids):
            names = listed(self._tokenizer.convert_ids_to_tokens(sorted(control)))
            raise UserError(
                f"The tokenizer of `{self.student}` encodes {names} in `{shown(text)}` as a special token and has no "
                f"other encoding, so the student would learn to end its turn there. Remove this row."
            )
        return ids, starts

    def encode_prompt(self, prompt: str | Sequence[Message], more: Mapping[str, Any] | None = None) -> list[int]:
        """The token ids of a prompt, a conversation or one text; `more` is passed to the chat template."""
        if isinstance(prompt, str):
            return self._as_rendered(prompt)
        if not prompt or not all(isinstance(one, Mapping) and isinstance(one.get("content"), str) for one in prompt):
            raise UserError(
                f"The prompt `{shown(repr(prompt))}` is neither a text nor a list of messages with a `role` and a "
                f"text as `content`. Convert it, or give the problem as `question`."
            )
        spelled: dict[str, str] = {}
        messages = [{**one, "content": self._name.sub(lambda found: _mark(spelled, found[0]), one["content"])}
                    for one in prompt]  # fmt: skip
        text = self._rendered(messages, add_generation_prompt=True, **(more or {}))
        begun = self._rendered(messages, **(more or {}))
        tail = text.removeprefix(begun) if text.startswith(begun) else ""
        if "<think>" in tail and "</think>" not in tail:
            text += "\n</think>\n\n"  # as in `ChatPrompt`, for a student that always thinks
        return self._read(text, spelled)

    def encode_conversation(self, messages: Sequence[Message], more: Mapping[str, Any] | None = None) -> list[int]:
        """The token ids of a whole conversation; `more` is passed to the chat template."""
        return self._read(self._rendered(messages, **(more or {})), {})

    @cached_property
    def ending(self) -> tuple[list[int], list[int]]:
        """What the chat template puts after a reply: the end of turn, which is learned, and white space."""
        _, after = self._conversation
        read = self._tokenizer(after, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        visible = len(after.rstrip())
        learned = sum(start < visible for start, _ in read["offset_mapping"])
        return read["input_ids"][:learned], read["input_ids"][learned:]

    @cached_property
    def reply_end(self) -> ReplyEnd:
        """The end of a reply, for messages."""
        learned, _ = self.ending
        token = next((str(self.decode([id])) for id in learned if id in self._special), None)
        return ReplyEnd(self._conversation[1].strip(), token)

    @cached_property
    def around_reply(self) -> tuple[str, str]:
        """What the chat template puts before a reply: as a generation prompt, and in a whole conversation."""
        prompt = self._rendered([{"role": "user", "content": _QUESTION}], add_generation_prompt=True)
        return prompt, self._conversation[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids as text, with special tokens."""
        return str(self._tokenizer.decode(ids))

    @cached_property
    def _conversation(self) -> tuple[str, str]:
        """The text before and after a reply, as the template renders a conversation of question and reply."""
        messages = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _REPLY}]
        before, found, after = self._rendered(messages).partition(_REPLY)
        if not found or _REPLY in after:
            raise UserError(
                f"The chat template of `{self.student}` drops or repeats the assistant's message, so the end of its "
                f"turn is unknown. Set `chat_template_path` to a template that renders it, or fix this one."
            )
        return before, after

    @property
    def end_token(self) -> str:
        """The name of the tokenizer's end token."""
        return str(self._tokenizer.eos_token or "")

    @property
    def text_ending(self) -> tuple[list[int], list[int]]:
        """The end of a reply to a prompt that is one text: the tokenizer's end token."""
        end = self._tokenizer.eos_token_id
        return ([] if end is None else [end]), []

    def _rendered(self, messages: Sequence[Message], **more: Any) -> str:
        if not self._tokenizer.chat_template:
            raise UserError(
                f"The student `{self.student}` has no chat template, so no prompt can be rendered: it is a base "
                f"model, or its tokenizer was saved without one. Set `chat_template_path` to a tokenizer that has one "
                f"(a Hub id or a folder): its special tokens are added as well, which a `.jinja` file can't do."
            )
        given = {"enable_thinking": False, "strftime_now": TODAY.strftime, **more}
        try:
            tokenizer = self._tokenizer
            whole = call_within(
                RENDERING_LIMIT, lambda: tokenizer.apply_chat_template(messages, tokenize=False, **given)
            )
            return str(whole)
        except Exception as error:  # a template can raise anything
            roles = listed(one.get("role") for one in messages)
            raise UserError(
                f"The chat template of `{self.student}` fails on a conversation of {roles}: {error}. Fix the "
                f"template, or give the problem as `question`."
            ) from error

    def _read(self, text: str, spelled: Mapping[str, str]) -> list[int]:
        """The token ids of a rendered conversation; all between the template's special tokens is plain text."""
        if not spelled:
            ids: list[int] = self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
            return ids
        read = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        found: list[int] = []
        at = 0
        for id, (start, end) in zip(read["input_ids"], read["offset_mapping"], strict=True):
            if text[start:end].strip() in self._names:
                found += [*self._plain(text[at:start], spelled, bool(found)), id]
                at = end
        return found + self._plain(text[at:], spelled, bool(found))

    def _plain(self, text: str, spelled: Mapping[str, str], inside: bool) -> list[int]:
        for mark, name in spelled.items():
            text = text.replace(mark, name)
        return self.texts.encode(text, inside) if text else []

    def _as_rendered(self, prompt: str) -> list[int]:
        """The token ids of a rendered text, after the tokens with which the tokenizer starts every text."""
        ids: list[int] = self._tokenizer(prompt, verbose=False)["input_ids"]
        ended = bool(ids) and ids[-1] == self._tokenizer.eos_token_id and not prompt.endswith(self.end_token)
        return ids[:-1] if ended else ids


@lru_cache(maxsize=2)
def turns_of(tokenizer: "PreTrainedTokenizerBase", chat_template: str | None) -> Turns:
    """The cached `Turns` of a tokenizer, for the batches of a `map`; the template is part of the key."""
    return Turns(tokenizer)


def _mark(spelled: dict[str, str], name: str) -> str:
    """A placeholder for the name of a special token, until the template is rendered."""
    mark = next((mark for mark, known in spelled.items() if known == name), f"{_SPELLED}{len(spelled)}X")
    spelled[mark] = name
    return mark
