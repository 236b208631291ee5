"""The turns of a training row as tokens: what the student is asked, what it says, and what ends its turn.

A problem is asked with the tokens of `ChatPrompt(SOLVE)`, which alignment and evaluation use as well. What a row says
is data: a special token's name in it is spelled out, and ends nothing. Only a prompt that is given as one text
(`prompt` without roles) is read as its author rendered it, special tokens included.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from palign_hf.asking.deadline import call_within
from palign_hf.asking.rendering import RENDERING_LIMIT, TODAY, ChatPrompt
from palign_hf.asking.texts import TextTokenizer
from palign_hf.errors import UserError, listed, shown
from palign_hf.prompts import SOLVE


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, Any]


class ReplyEnd(NamedTuple):
    """What a chat template puts behind a reply: its visible text, and the special token that this is, if it is one."""

    text: str
    token: str | None


_QUESTION, _REPLY, _SPELLED = "PalignQuestionGoesHere", "PalignReplyGoesHere", "PalignTokenSpelledOut"


class Turns:
    """One student's tokens for prompts and replies; made once for a tokenizer, since a copy of it is made here."""

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
        """The prompt of a problem, as in evaluation."""
        return ChatPrompt(self._tokenizer, SOLVE, self.student)

    def said(self, text: str) -> tuple[list[int], np.ndarray]:
        """A reply's tokens and the character at which each starts."""
        ids, starts = self.texts.encode_with_starts(text, inside=True)
        if control := self._special & set(ids):
            names = listed(self._tokenizer.convert_ids_to_tokens(sorted(control)))
            raise UserError(
                f"The tokenizer of `{self.student}` takes {names} in `{shown(text)}` for a special token and can't "
                f"spell it out, so the student would learn to end its turn there. Leave this row out."
            )
        return ids, starts

    def asked(self, prompt: str | Sequence[Message], more: Mapping[str, Any] | None = None) -> list[int]:
        """The tokens of a prompt that is given, a conversation or one text; `more` goes to the chat template."""
        if isinstance(prompt, str):
            return self._as_rendered(prompt)
        if not prompt or not all(isinstance(one, Mapping) and isinstance(one.get("content"), str) for one in prompt):
            raise UserError(
                f"The prompt `{shown(repr(prompt))}` is neither a text nor a list of messages with a `role` and a "
                f"text as `content`. Convert it, or give the problem alone as `question`."
            )
        spelled: dict[str, str] = {}
        messages = [{**one, "content": self._name.sub(lambda found: _mark(spelled, found[0]), one["content"])}
                    for one in prompt]  # fmt: skip
        text = self._rendered(messages, add_generation_prompt=True, **(more or {}))
        begun = self._rendered(messages, **(more or {}))
        tail = text.removeprefix(begun) if text.startswith(begun) else ""
        if "<think>" in tail and "</think>" not in tail:
            text += "\n</think>\n\n"  # as `ChatPrompt` asks a student that always thinks
        return self._read(text, spelled)

    @cached_property
    def ending(self) -> tuple[list[int], list[int]]:
        """What the chat template puts behind a reply: what ends the turn, which is learned, and white space."""
        _, after = self._conversation
        read = self._tokenizer(after, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        visible = len(after.rstrip())
        learned = sum(start < visible for start, _ in read["offset_mapping"])
        return read["input_ids"][:learned], read["input_ids"][learned:]

    @cached_property
    def reply_end(self) -> ReplyEnd:
        """What ends a reply, as messages name it."""
        learned, _ = self.ending
        token = next((str(self.decode([id])) for id in learned if id in self._special), None)
        return ReplyEnd(self._conversation[1].strip(), token)

    @cached_property
    def around_reply(self) -> tuple[str, str]:
        """What the chat template puts before a reply: when it is asked for, and when it is there."""
        asked = self._rendered([{"role": "user", "content": _QUESTION}], add_generation_prompt=True)
        return asked, self._conversation[0]

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens as text, special ones included."""
        return str(self._tokenizer.decode(ids))

    @cached_property
    def _conversation(self) -> tuple[str, str]:
        """A question and a reply as the template renders them: what stands before the reply, and what behind it."""
        asked = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _REPLY}]
        before, found, after = self._rendered(asked).partition(_REPLY)
        if not found or _REPLY in after:
            raise UserError(
                f"The chat template of `{self.student}` drops or repeats what the assistant says, so what ends its "
                f"turn can't be told. Give a template that renders it with `chat_template_path`, or mend this one."
            )
        return before, after

    @property
    def end_token(self) -> str:
        """The name of the tokenizer's end token, with which texts may end already."""
        return str(self._tokenizer.eos_token or "")

    @property
    def text_ending(self) -> tuple[list[int], list[int]]:
        """What ends a reply to a prompt that is one text: the tokenizer's end token."""
        end = self._tokenizer.eos_token_id
        return ([] if end is None else [end]), []

    def _rendered(self, messages: Sequence[Message], **more: Any) -> str:
        if not self._tokenizer.chat_template:
            raise UserError(
                f"The student `{self.student}` has no chat template, so it can't be asked anything: it is a base "
                f"model, or its tokenizer was saved without one. Set `chat_template_path` to a tokenizer that has one "
                f"(a name on the Hub or a folder): its tokens are added, too, which a `.jinja` file can't do."
            )
        given = {"enable_thinking": False, "strftime_now": TODAY.strftime, **more}
        try:
            tokenizer = self._tokenizer
            whole = call_within(
                RENDERING_LIMIT, lambda: tokenizer.apply_chat_template(messages, tokenize=False, **given)
            )
            return str(whole)
        except Exception as error:  # whatever a template written by others raises
            roles = listed(one.get("role") for one in messages)
            raise UserError(
                f"The chat template of `{self.student}` fails on a conversation of {roles}: {error}. Mend the "
                f"template, or give the problem alone as `question`."
            ) from error

    def _read(self, text: str, spelled: Mapping[str, str]) -> list[int]:
        """Tokens of a rendered conversation; between the template's special tokens all is plain text."""
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
        """A text as its author wrote it, behind what the tokenizer begins every text with."""
        ids: list[int] = self._tokenizer(prompt, verbose=False)["input_ids"]
        ended = bool(ids) and ids[-1] == self._tokenizer.eos_token_id and not prompt.endswith(self.end_token)
        return ids[:-1] if ended else ids


@lru_cache(maxsize=2)
def turns_of(tokenizer: "PreTrainedTokenizerBase", chat_template: str | None) -> Turns:
    """The turns of a tokenizer, kept over the batches of a `map`; with another template they are others."""
    return Turns(tokenizer)


def _mark(spelled: dict[str, str], name: str) -> str:
    """A word that stands for a special token's name until the template has been rendered."""
    mark = next((mark for mark, known in spelled.items() if known == name), f"{_SPELLED}{len(spelled)}X")
    spelled[mark] = name
    return mark
