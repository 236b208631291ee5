"""Chat prompts as token ids: one renderer for judging, solving and finishing, in alignment, training and evaluation.

The chat template is rendered once with markers in the places of question and prefix, so its text splits into fixed
parts; a problem's text is inserted between them. A growing prefix tokenizes only the few characters around each cut:
`exact` says whether that gives the tokens of the whole text for this tokenizer (it does for byte-level BPE); otherwise
every prompt is tokenized whole. A started reply (`begun=`) is the beginning of the student's turn, to be continued;
`reply_ids` are the tokens of a reply.

A problem's text is data: `<|im_end|>` in a trace is encoded like any other text and ends nothing. Only the template's
own parts before and after the user's text are read for special tokens.
"""

import ctypes
import datetime
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from palign_hf.errors import UserError
from palign_hf.prompts import NO_PREFIX, Template
from palign_hf.students import TextTokenizer, begins_word


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


T = TypeVar("T")


class OutOfTime(Exception):
    """The call exceeded its limit."""


class _Ended(BaseException):
    """Raised inside the thread whose time is up; no `except Exception` catches it."""


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what `call` does; `OutOfTime` if it takes longer.

    It runs in a thread, which ends at its next Python instruction after the limit. Signals would reach the main thread
    only, and a separate process would load its libraries first.
    """
    given: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            given.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="palign-within", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Ended))
        raise OutOfTime(f"it did not end within {seconds:g} s")
    if raised:
        # Time was up just as it ended.
        raise raised[0]
    return given[0]


logger = logging.getLogger(__name__)

# Markers that survive trimming, escaping and any tokenizer's normalisation.
_QUESTION, _PREFIX = "PalignQuestionGoesHere", "PalignPrefixGoesHere"
# How far before a cut the shortcut starts: no merge of a byte-level BPE reaches over a word that long ago.
_LOOKBACK = 24
# Templates that print today's date would make another prompt tomorrow, and no answer could be used again.
TODAY = datetime.date(2025, 1, 1)
# Seconds that a chat template may take over one message; each needs less than a thousandth of it.
RENDERING_LIMIT = 20.0
_SAMPLE = (
    "We need \\(a_{n+1} = 2a_n\\), i.e. $x^2 + 3.14 = 0$.  So 12,345 items?\n\nWait -- \u201cno\u201d: "
    "let\u2019s re-check! \\[\\frac{1}{2}\\]\n1. First, n = 10\n2. Then don't stop...   \n\tHmm, caf\u00e9 "
    "\u2192 \u4e2d\u6587\u3002 ok"
)


class ChatPrompt:
    """One student's rendering of a template: fixed text around the problem, up to the start of the reply.

    A prompt is `head_ids`, the tokens of one text, `tail_ids` and `forced_ids`. The text begins with `head` after the
    template's last special token before the user's text, and ends with `tail` at the first one after it.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: Template, student: str) -> None:
        self.texts = TextTokenizer(tokenizer, student)
        self.template = template
        self._tokenizer = tokenizer
        self._student = student
        # The id of any unknown word: it is special, but no text can mean it.
        self.unknown = tokenizer.unk_token_id
        self.special = {id: token.content for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        head, self.middle, tail = self._fixed_text(template)
        ids, offsets, special = self._read(head)
        last = max(special, default=-1)
        self.head_ids, self.head = ids[: last + 1], head[offsets[last][1] :] if special else head
        ids, offsets, special = self._read(tail)
        first = min(special, default=len(ids))
        self.tail_ids, self.tail = ids[first:], tail[: offsets[first][0]] if special else tail
        # Forced beginning of the reply; judges have their labels' common beginning here.
        self.forced_ids: list[int] = []
        self._tail_tokens, self._whole_tail = len(ids), tail

    @property
    def suffix_tokens(self) -> int:
        """Tokens behind the user's text."""
        return self._tail_tokens + len(self.forced_ids)

    def ids(self, question: str, prefix: str | None = None, begun: str = "") -> list[int]:
        """The tokens of one prompt; `begun` is the beginning of the student's own turn."""
        text = f"{self.head}{self.middle.join(self.template.fields(question, prefix).values())}{self.tail}"
        ids = self.head_ids + self.texts.encode(text, bool(self.head_ids)) + self.tail_ids + self.forced_ids
        return ids + self.reply_ids(begun) if begun else ids

    def reply_ids(self, text: str) -> list[int]:
        """Tokens of a reply in the student's turn: plain text behind the prompt, whatever it looks like."""
        return self.texts.encode(text, inside=True)

    def control(self, ids: Iterable[int]) -> list[str]:
        """Special tokens among those of a plain text: some tokenizers keep them among their words."""
        found = self.special.keys() & set(ids) - {self.unknown}
        return [self.special[token] for token in sorted(found)]

    @cached_property
    def exact(self) -> bool:
        """Whether the tokens around a cut equal those of the whole text (tested on a fixed sample)."""
        if not self.texts.parts_words(_SAMPLE):
            return False
        sample = self.problem("How many?", _SAMPLE * 3)
        ends = range(len(_SAMPLE), 2 * len(_SAMPLE))
        return all(sample._ids_nearby(end) == sample._ids_whole(end) for end in ends)

    def problem(self, question: str, trace: str) -> "ProblemPrompt":
        """Tokenise one problem: everything that its prompts at growing prefixes share."""
        return ProblemPrompt(self, f"{self.head}{question}{self.middle}", trace)

    def _read(self, text: str) -> tuple[list[int], list[tuple[int, int]], list[int]]:
        """Ids and offsets of the template's own text, and at which places its special tokens stand."""
        whole: Any = self._tokenizer
        read = whole(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        names = set(self.special.values())
        # An unknown word can have a special token's id; only one that is spelled in the text is the template's.
        special = [at for at, (start, end) in enumerate(read["offset_mapping"]) if text[start:end].strip() in names]
        return read["input_ids"], read["offset_mapping"], special

    def _fixed_text(self, template: Template) -> tuple[str, str, str]:
        if not self._tokenizer.chat_template:
            raise UserError(
                f"The student `{self._student}` has no chat template, so no prompt can be rendered: it is a base "
                f"model, or its tokenizer was saved without one. Take the instruct version, or set "
                f"`tokenizer.chat_template` and save it beside the weights."
            )
        marks = {"question": _QUESTION, "prefix": _PREFIX}
        content = template.render(**{slot: marks[slot] for slot in template.slots})
        try:
            text = call_within(
                RENDERING_LIMIT,
                lambda: self._tokenizer.apply_chat_template(
                    [{"role": "user", "content": content}],
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,
                    strftime_now=TODAY.strftime,
                ),
            )
        except OutOfTime as error:
            raise UserError(
                f"The chat template of `{self._student}` takes more than {RENDERING_LIMIT:g} s over the "
                f"{template.name} prompt, a single user message: it loops. Mend the template (`chat_template.jinja`, "
                f"or `chat_template` in tokenizer_config.json), or take another student."
            ) from error
        except Exception as error:  # whatever a template written by others raises
            raise UserError(
                f"The chat template of `{self._student}` fails on a single user message: {error}. Mend the template "
                f"or take another student."
            ) from error
        head, found, tail = str(text).partition(_QUESTION)
        middle, whole = "", bool(found) and _QUESTION not in tail
        if "prefix" in template.slots:
            middle, found, tail = tail.partition(_PREFIX)
            whole = whole and bool(found) and _PREFIX not in tail
        if not whole:
            raise UserError(
                f"The chat template of `{self._student}` drops or repeats the user's text, so the {template.name} "
                f"prompt can't be held in it. Mend the template, or take another student."
            )
        if "<think>" in tail and "</think>" not in tail:
            # A student that always thinks gets its thought already closed: the next token is its reply.
            tail += "\n</think>\n\n"
        return head, middle, tail


class JudgePrompt(ChatPrompt):
    """The judge prompt with its labels: their common beginning is forced, the first differing token is read."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        template: Template,
        labels: Sequence[str],
        student: str,
        forced: bool = True,
    ) -> None:
        super().__init__(tokenizer, template, student)
        self.label_ids: tuple[int, ...] = ()
        # A free-text verdict is left to the student from its first token.
        if forced:
            self.forced_ids, self.label_ids = self._find_labels(self._whole_tail, labels)

    def _find_labels(self, tail: str, labels: Sequence[str]) -> tuple[list[int], tuple[int, ...]]:
        """The labels' common tokens (forced) and the first tokens in which they differ (read)."""
        spelled = [self._spell(tail, label) for label in labels]
        shared = 0
        while all(len(ids) > shared for ids in spelled) and len({ids[shared] for ids in spelled}) == 1:
            shared += 1
        read = tuple(ids[shared] for ids in spelled if len(ids) > shared and ids[shared] != self.unknown)
        if len(set(read)) < len(labels):
            shown = ", ".join(f"`{label}` = {ids}" for label, ids in zip(labels, spelled, strict=True))
            raise UserError(
                f"The labels don't diverge in the tokens of `{self._student}` ({shown}), so one token can't "
                f"distinguish them. Use other labels, or `verdict='generate'`, which reads text."
            )
        self._warn_of_unequal(read)
        return spelled[0][:shared], read

    def _spell(self, tail: str, label: str) -> list[int]:
        """The label's tokens where the student would write it."""
        before, both = self._read(tail)[0], self._read(tail + label)[0]
        return both[len(before) :] if both[: len(before)] == before else self._read(label)[0]

    def _warn_of_unequal(self, read: Sequence[int]) -> None:
        texts = [str(self._tokenizer.decode([token])) for token in read]
        for shorter, longer in permutations(texts, 2):
            if shorter and longer.startswith(shorter):
                logger.warning(
                    "`%s` distinguishes the labels by tokens of unequal spelling (`%s` begins `%s`): the student may "
                    "spell the longer one in pieces, which counts for the other label. Check the label mass.",
                    self._student,
                    shorter,
                    longer,
                )


class ProblemPrompt:
    """One problem's text and tokens: the prompt at any cut, and the number of tokens before it."""

    __slots__ = (
        "_anchors",
        "_fixed",
        "_fixed_tokens",
        "_ids",
        "_inside",
        "_prompt",
        "_starts",
        "_text",
        "head_tokens",
        "trace_tokens",
    )

    def __init__(self, prompt: ChatPrompt, fixed: str, trace: str) -> None:
        self._prompt = prompt
        self._fixed = len(fixed)
        self._text = fixed + trace
        # What stands before the text: the template's special tokens, if it has any there.
        self._inside = bool(prompt.head_ids)
        self._ids, self._starts = prompt.texts.encode_with_starts(self._text, self._inside)
        self._fixed_tokens = int(np.searchsorted(self._starts, self._fixed))
        self.head_tokens = len(prompt.head_ids) + self._fixed_tokens
        self.trace_tokens = len(self._ids) - self._fixed_tokens
        self._anchors: np.ndarray | None = None

    def tokens_before(self, ends: Sequence[int]) -> list[int]:
        """For each offset in the trace, how many of the trace's tokens start before it."""
        at = np.searchsorted(self._starts, np.asarray(ends, dtype=np.int64) + self._fixed)
        counts: list[int] = (at - self._fixed_tokens).tolist()
        return counts

    @property
    def control(self) -> list[str]:
        """Special tokens that the tokenizer finds in the plain text all the same."""
        return self._prompt.control(self._ids)

    def ids(self, end: int) -> list[int]:
        """Token ids of the prompt that shows `trace[:end]`, up to the token that distinguishes the labels."""
        prompt = self._prompt
        text = self._ids_nearby(end) if prompt.exact else self._ids_whole(end)
        return prompt.head_ids + text + prompt.tail_ids + prompt.forced_ids

    def _shown_end(self, end: int) -> int:
        """The cut in the whole text, without the white space before it: templates trim what a message ends with."""
        return len(self._text[self._fixed : self._fixed + end].rstrip()) + self._fixed

    def _ids_whole(self, end: int) -> list[int]:
        stop = self._shown_end(end)
        shown = self._text[:stop] if stop > self._fixed else self._text[: self._fixed] + NO_PREFIX
        return self._prompt.texts.encode(shown + self._prompt.tail, self._inside)

    def _ids_nearby(self, end: int) -> list[int]:
        """As `_ids_whole`, tokenising only from the last safe boundary before the cut."""
        stop = self._shown_end(end)
        tail = self._prompt.tail
        if stop == self._fixed:
            stop, tail = self._fixed, NO_PREFIX + tail
        anchors = self._safe_anchors()
        at = int(np.searchsorted(self._starts[anchors], stop - _LOOKBACK, side="right")) - 1
        if at < 0:
            return self._prompt.texts.encode(self._text[:stop] + tail, self._inside)
        token = int(anchors[at])
        piece = self._text[int(self._starts[token]) : stop] + tail
        return self._ids[:token] + self._prompt.texts.encode(piece, inside=True)

    def _safe_anchors(self) -> np.ndarray:
        """Tokens that begin a word: what comes before them doesn't depend on what comes after."""
        if self._anchors is None:
            self._anchors = np.array(
                [token for token, start in enumerate(self._starts.tolist()) if begins_word(self._text, start)],
                dtype=np.int64,
            )
        return self._anchors
