"""The judge's prompt as token ids, exact at every cut, with each problem tokenised once.

The chat template is rendered once with markers in the places of question and prefix, so its text splits into fixed
parts; a probe then tokenises only the few characters around its cut. `exact` says whether that gives the tokens
of the whole text for this tokenizer (it does for byte-level BPE); where it doesn't, every probe is tokenised whole.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.errors import UserError
from palign_hf.prompts import NO_PREFIX, Template


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Markers that survive trimming, escaping and any tokenizer's normalisation.
_QUESTION, _PREFIX = "PalignQuestionGoesHere", "PalignPrefixGoesHere"
# How far before a cut the shortcut starts: no merge of a byte-level BPE reaches over a word that long ago.
_LOOKBACK = 24
_SAMPLE = (
    "We need \\(a_{n+1} = 2a_n\\), i.e. $x^2 + 3.14 = 0$.  So 12,345 items?\n\nWait -- \u201cno\u201d: "
    "let\u2019s re-check! \\[\\frac{1}{2}\\]\n1. First, n = 10\n2. Then don't stop...   \n\tHmm, caf\u00e9 "
    "\u2192 \u4e2d\u6587\u3002 ok"
)


class JudgePrompt:
    """One student's rendering of the judge prompt: fixed text, labels to read, and prompts at any cut."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: Template,
        labels: Sequence[str],
        student: str,
        forced: bool = True,
    ) -> None:
        if not tokenizer.is_fast:
            raise UserError(
                f"The tokenizer of `{student}` tells no offsets, so cuts can't be placed in its tokens. "
                f"Save a fast tokenizer (tokenizer.json) beside the weights."
            )
        self._tokenizer = tokenizer
        # The backend without its wrapper: the same ids at a fifth of the time, at every probe.
        self._backend: Any = tokenizer.backend_tokenizer
        self._student = student
        self.head, self.middle, self.tail = self._fixed_text(template)
        # A free-text verdict is left to the student from its first token.
        self.forced_ids, self.label_ids = self._find_labels(labels) if forced else ([], ())
        self.suffix_tokens = len(self.encode(self.tail)) + len(self.forced_ids)

    @cached_property
    def exact(self) -> bool:
        """Whether the tokens around a cut can be had without tokenising the whole text (tried on a fixed sample)."""
        sample = self.problem("How many?", _SAMPLE * 3)
        ends = range(len(_SAMPLE), 2 * len(_SAMPLE))
        return all(sample._ids_nearby(end) == sample._ids_whole(end) for end in ends)

    def problem(self, question: str, trace: str) -> "ProblemPrompt":
        """Tokenise one problem: everything that its probes share."""
        return ProblemPrompt(self, f"{self.head}{question}{self.middle}", trace)

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece of the rendered prompt; the template itself brings every special token."""
        ids: list[int] = self._backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_with_starts(self, text: str) -> tuple[list[int], np.ndarray]:
        """Token ids, and the offset at which each token starts."""
        encoded = self._backend.encode(text, add_special_tokens=False)
        return encoded.ids, np.array([start for start, _ in encoded.offsets], dtype=np.int64)

    def _fixed_text(self, template: Template) -> tuple[str, str, str]:
        if not self._tokenizer.chat_template:
            raise UserError(
                f"The student `{self._student}` has no chat template, so it can't be asked to judge: it is a base "
                f"model, or its tokenizer was saved without one. Take the instruct version, or set "
                f"`tokenizer.chat_template` and save it beside the weights."
            )
        content = template.render(question=_QUESTION, prefix=_PREFIX)
        try:
            text = self._tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
            )
        except Exception as error:  # whatever a template written by others raises
            raise UserError(
                f"The chat template of `{self._student}` fails on a single user message: {error}. Mend the template "
                f"or take another student."
            ) from error
        head, found_question, rest = str(text).partition(_QUESTION)
        middle, found_prefix, tail = rest.partition(_PREFIX)
        if not found_question or not found_prefix or _PREFIX in tail or _QUESTION in rest:
            raise UserError(
                f"The chat template of `{self._student}` drops or repeats the user's text, so the judge prompt can't "
                f"be held in it. Mend the template, or take another student."
            )
        if "<think>" in tail and "</think>" not in tail:
            # A student that always thinks is judged with its thought already closed: the next token is its verdict.
            tail += "\n</think>\n\n"
        return head, middle, tail

    def _find_labels(self, labels: Sequence[str]) -> tuple[list[int], tuple[int, ...]]:
        """What the labels share (forced) and the first token in which they differ (read)."""
        spelled = [self._label_ids(label) for label in labels]
        shared = 0
        while all(len(ids) > shared for ids in spelled) and len({ids[shared] for ids in spelled}) == 1:
            shared += 1
        read = [ids[shared] if len(ids) > shared else None for ids in spelled]
        if None in read or len(set(read)) < len(read):
            shown = ", ".join(f"`{label}` = {ids}" for label, ids in zip(labels, spelled, strict=True))
            raise UserError(
                f"The labels don't diverge in the tokens of `{self._student}` ({shown}), so one token can't tell them "
                f"apart. Use other labels, or `verdict='generate'`, which reads text."
            )
        return spelled[0][:shared], tuple(token for token in read if token is not None)

    def _label_ids(self, label: str) -> list[int]:
        before, both = self.encode(self.tail), self.encode(self.tail + label)
        return both[len(before) :] if both[: len(before)] == before else self.encode(label)


class ProblemPrompt:
    """One problem's text and tokens: the prompt at any cut, and how many tokens lie before it."""

    __slots__ = ("_anchors", "_fixed", "_ids", "_prompt", "_starts", "_text", "head_tokens", "trace_tokens")

    def __init__(self, prompt: JudgePrompt, fixed: str, trace: str) -> None:
        self._prompt = prompt
        self._fixed = len(fixed)
        self._text = fixed + trace
        self._ids, self._starts = prompt.encode_with_starts(self._text)
        self.head_tokens = int(np.searchsorted(self._starts, self._fixed))
        self.trace_tokens = len(self._ids) - self.head_tokens
        self._anchors: np.ndarray | None = None

    def tokens_before(self, ends: Sequence[int]) -> list[int]:
        """For each offset in the trace, how many of the trace's tokens start before it."""
        at = np.searchsorted(self._starts, np.asarray(ends, dtype=np.int64) + self._fixed)
        counts: list[int] = (at - self.head_tokens).clip(min=0).tolist()
        return counts

    def ids(self, end: int) -> list[int]:
        """Token ids of the prompt that shows `trace[:end]`, up to the token that tells the labels apart."""
        found = self._ids_nearby(end) if self._prompt.exact else self._ids_whole(end)
        return found + self._prompt.forced_ids

    def _shown_end(self, end: int) -> int:
        """The cut in the whole text, without the white space before it: templates trim what a message ends with."""
        return len(self._text[self._fixed : self._fixed + end].rstrip()) + self._fixed

    def _ids_whole(self, end: int) -> list[int]:
        stop = self._shown_end(end)
        shown = self._text[:stop] if stop > self._fixed else self._text[: self._fixed] + NO_PREFIX
        return self._prompt.encode(shown + self._prompt.tail)

    def _ids_nearby(self, end: int) -> list[int]:
        """As `_ids_whole`, tokenising only from the last safe boundary before the cut."""
        stop = self._shown_end(end)
        tail = self._prompt.tail
        if stop == self._fixed:
            stop, tail = self._fixed, NO_PREFIX + tail
        anchors = self._safe_anchors()
        at = int(np.searchsorted(self._starts[anchors], stop - _LOOKBACK, side="right")) - 1
        if at < 0:
            return self._prompt.encode(self._text[:stop] + tail)
        token = int(anchors[at])
        return self._ids[:token] + self._prompt.encode(self._text[int(self._starts[token]) : stop] + tail)

    def _safe_anchors(self) -> np.ndarray:
        """Tokens that start with one space and a letter after a non-space: no word tokenizer merges there."""
        if self._anchors is None:
            text, last = self._text, len(self._text) - 1
            self._anchors = np.array(
                [
                    token
                    for token, start in enumerate(self._starts.tolist())
                    if 0 < start < last
                    and text[start] == " "
                    and text[start + 1].isalpha()
                    and text[start + 1].isascii()
                    and not text[start - 1].isspace()
                ],
                dtype=np.int64,
            )
        return self._anchors


def plain_tokens(tokenizer: "PreTrainedTokenizerBase", text: str, ends: Sequence[int]) -> list[int]:
    """For each offset in `text`, how many of its tokens start before it; no prompt around it."""
    backend: Any = tokenizer.backend_tokenizer
    starts = np.array([start for start, _ in backend.encode(text, add_special_tokens=False).offsets], dtype=np.int64)
    counts: list[int] = np.searchsorted(starts, np.asarray(ends, dtype=np.int64)).tolist()
    return counts
