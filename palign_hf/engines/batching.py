"""Samples of many prompts side by side in the transformers engine, in a fixed number of slots.

Each slot holds one sample with the keys and values of its past; a sample that has ended makes room for the next one.
Every forward pass computes one token for each slot, empty ones included, over a past of a multiple of 64 tokens, and
each prompt is read alone, once for all of its samples. So all passes have the same shapes, and the numbers of a sample
depend on its own tokens and on the number of slots, not on the samples beside it, their order, or its slot. On CPUs
that holds to the bit (measured in float32 and bfloat16 with AVX-512; tests/engines/test_batching.py checks it).
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import CacheLayerMixin

from palign_hf.engines.base import Completion, Generation, Sampling, completion
from palign_hf.engines.logits_processors import StopTexts, add_noise, generator, penalized, warpers


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The length of the past is a multiple of this: rounding depends on the length, but not on empty places.
_BLOCK = 64


@dataclass(eq=False)
class Request:
    """A prompt with its sampling, and the future of its samples.

    Args:
        prompt_ids (`Sequence[int]`): The prompt.
        sampling (`Sampling`): How to sample.
    """

    prompt_ids: Sequence[int]
    sampling: Sampling
    future: "Future[Generation]" = field(default_factory=Future)
    ended: dict[int, Completion] = field(default_factory=dict)
    started: int = 0
    past: DynamicCache | None = None
    logits: Any = None
    # What the samples of several requests must have in common to be drawn together.
    kind: Sampling = field(init=False)

    def __post_init__(self) -> None:
        self.kind = replace(self.sampling, seed=None)

    def end(self, sample: int, ended: Completion) -> None:
        """Note that a sample has ended; with the last one the request has its answer."""
        self.ended[sample] = ended
        if len(self.ended) == self.sampling.n:
            samples = tuple(self.ended[one] for one in range(self.sampling.n))
            with suppress(InvalidStateError):  # cancelled at this moment
                self.future.set_result(Generation(samples, prompt_tokens=len(self.prompt_ids), cached_tokens=0))

    def fail(self, error: Exception) -> None:
        """End the request with an error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(eq=False)
class _Row:
    """One sample in progress."""

    request: Request
    sample: int
    noise: torch.Generator | None
    texts: StopTexts | None
    ids: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens whose keys and values are known: all but the last one."""
        return len(self.request.prompt_ids) + len(self.ids) - 1


class _Slots(CacheLayerMixin):
    """Keys and values of one layer, each slot's from place 0 on."""

    is_sliding = False
    keys: Any
    values: Any

    def __init__(self, batch: "SlotBatch") -> None:
        super().__init__()
        self._batch = batch
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Nothing: the first prompt decides the shapes."""

    def take(self, slot: int, past: Any) -> None:
        """Take over the keys and values of a prompt."""
        places = past.keys.shape[2]
        if self.keys is None:
            self.keys, self.values = (self._empty(one, 0) for one in (past.keys, past.values))
        self.lengthen(places)
        self.keys[slot, :, :places], self.values[slot, :, :places] = past.keys[0], past.values[0]

    def _empty(self, like: torch.Tensor, places: int) -> torch.Tensor:
        return like.new_zeros(self._batch.slots, like.shape[1], places, like.shape[3])

    def lengthen(self, places: int) -> None:
        """Make room for this number of tokens in each slot."""
        held = self.keys.shape[2]
        if places > held:
            for name in ("keys", "values"):
                longer = self._empty(getattr(self, name), _rounded(places))
                longer[:, :, :held] = getattr(self, name)
                setattr(self, name, longer)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store one token's keys and values for each slot, at the slot's own place."""
        batch = self._batch
        self.lengthen(batch.places)
        self.keys[batch.every, :, batch.ends] = key_states[:, :, 0]
        self.values[batch.every, :, batch.ends] = value_states[:, :, 0]
        return self.keys[:, :, : batch.places], self.values[:, :, : batch.places]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the past."""
        return self._batch.places, 0

    def get_seq_length(self) -> int:
        """Places before the new token."""
        return self._batch.places - 1

    def get_max_length(self) -> int:
        """No limit of its own."""
        return -1


class SlotBatch:
    """Samples in progress, and the requests that wait for a slot.

    Args:
        model (`PreTrainedModel`): The student.
        slots (`int`): Samples that are computed at once.
        tokenizer (`Callable`): Gives the student's tokenizer, for stop texts.
    """

    def __init__(self, model: Any, slots: int, tokenizer: "Callable[[], PreTrainedTokenizerBase]") -> None:
        self.slots, self._model, self._tokenizer = slots, model, tokenizer
        self.waiting: deque[Request] = deque()
        self.every = torch.arange(slots, device=model.device)
        self._clear()

    def _clear(self) -> None:
        """Empty slots without memory."""
        self._rows: list[_Row | None] = [None] * self.slots
        self._layers = [_Slots(self) for _ in range(self._model.config.num_hidden_layers)]
        self._cache = Cache(layers=[*self._layers])
        self.places, self.ends = 0, torch.zeros_like(self.every)

    @property
    def busy(self) -> bool:
        """Whether anything is in progress or waits."""
        return bool(self.waiting) or any(self._rows)

    def fail(self, error: Exception) -> None:
        """End all requests with an error."""
        # Those of this moment: once the first has its error, others may come.
        requests = [row.request for row in self._rows if row is not None]
        requests += [self.waiting.popleft() for _ in range(len(self.waiting))]
        self._clear()
        for request in requests:
            request.fail(error)

    def step(self, refuse: Callable[[Exception], Exception]) -> None:
        """Fill empty slots from the waiting requests, and compute the next token of each slot.

        Args:
            refuse (`Callable`): Makes the error of a request whose prompt could not be read.
        """
        self._leave()
        while self.waiting and None in self._rows:
            request = self.waiting[0]
            if request.future.done():
                self.waiting.popleft()
                continue
            try:
                if request.past is None:
                    self._read(request)
                self._begin(request, self._rows.index(None))
            except Exception as error:
                if isinstance(error, torch.AcceleratorError):
                    raise
                request.fail(refuse(error))
            if request.started == request.sampling.n:
                self.waiting.popleft()
                request.past = request.logits = None
        rows = [(slot, row) for slot, row in enumerate(self._rows) if row is not None]
        if rows:
            logits = self._forward(rows)
            for group in _alike([row for _, row in rows]):
                self._append([rows[at][1] for at in group], logits[group])
            self._leave()
        if not any(self._rows):
            self._clear()

    def agrees(self, ids: Sequence[int]) -> bool:
        """Whether the model answers in slots as it does without; not every one takes such a mask.

        Args:
            ids (`Sequence[int]`): A few tokens; nothing may be in progress.
        """
        begun, whole = (Request(some, Sampling(max_tokens=2)) for some in (ids[:-1], ids))
        try:
            self._read(begun)
            self._read(whole)
            self._take(self.slots - 1, begun)
            found = self._forward([(self.slots - 1, _Row(begun, 0, None, None, [ids[-1]]))])[0]
        except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            return False
        finally:
            self._clear()
        wanted = whole.logits[0]
        return bool((found - wanted).abs().max() <= _ALIKE * (wanted.max() - wanted.min()))

    def _leave(self) -> None:
        """Empty the slots of requests that have their answer, or that nobody waits for."""
        for slot, row in enumerate(self._rows):
            if row is not None and (row.sample in row.request.ended or row.request.future.done()):
                self._rows[slot] = None

    def _read(self, request: Request) -> None:
        """Read a prompt, alone."""
        past = DynamicCache(config=self._model.config)
        ids = torch.tensor([[*request.prompt_ids]], device=self._model.device)
        request.logits = (
            self._model(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        )
        request.past = past

    def _begin(self, request: Request, slot: int) -> None:
        """Draw the first token of the next sample; unless it is the last one, too, the sample gets the slot."""
        sampling, sample = request.sampling, request.started
        request.started += 1
        noise = generator(sampling.seeds[sample]) if sampling.drawn else None
        texts = StopTexts(self._tokenizer(), sampling.stop, len(request.prompt_ids)) if sampling.stop else None
        row = _Row(request, sample, noise, texts)
        self._append([row], request.logits)
        if sample in request.ended:
            return
        self._take(slot, request)
        self._rows[slot] = row

    def _take(self, slot: int, request: Request) -> None:
        """Give a slot the past of a prompt."""
        assert request.past is not None
        for layer, past in zip(self._layers, request.past.layers, strict=True):
            layer.take(slot, past)

    def _forward(self, rows: Sequence[tuple[int, _Row]]) -> torch.Tensor:
        """The logits after the last token of each row."""
        last, ends = [0] * self.slots, [0] * self.slots
        for slot, row in rows:
            last[slot], ends[slot] = row.ids[-1], row.length
        self.places = _rounded(max(ends) + 1)
        self.ends = torch.tensor(ends, device=self.every.device)
        seen = torch.arange(self.places, device=self.every.device) <= self.ends[:, None]
        logits = self._model(
            input_ids=torch.tensor(last, device=self.every.device)[:, None],
            attention_mask=seen[:, None, None],
            position_ids=self.ends[:, None],
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits
        found: torch.Tensor = logits[[slot for slot, _ in rows], -1].float()
        return found

    def _append(self, rows: Sequence[_Row], logits: torch.Tensor) -> None:
        """Draw the next token of rows with the same sampling, and end those that it ends."""
        sampling = rows[0].request.sampling
        scores = penalized(sampling, [[*row.request.prompt_ids, *row.ids] for row in rows], logits)
        for warper in warpers(sampling):
            scores = warper(None, scores)
        if sampling.drawn:
            scores = add_noise(scores, [row.noise for row in rows])
        stops = end_ids(self._model) | set(sampling.stop_token_ids)
        for row, token in zip(rows, scores.argmax(-1).tolist(), strict=True):
            row.ids.append(token)
            text = row.texts.completed(row.ids) if row.texts is not None else None
            reason = "stop"
            if text is None and token not in stops:
                if len(row.ids) < sampling.max_tokens:
                    continue
                reason = "length"
            row.request.end(
                row.sample,
                completion(row.request.sampling, row.ids, reason, row.request.sampling.seeds[row.sample], text),
            )


# The largest difference of logits, as a share of their range: half precision rounds to a hundredth.
_ALIKE = 0.03


def end_ids(model: Any) -> set[int]:
    """The student's own end tokens."""
    ends = model.generation_config.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends or ())


def _alike(rows: Sequence[_Row]) -> list[list[int]]:
    """Rows by sampling."""
    groups: dict[Sampling, list[int]] = {}
    for at, row in enumerate(rows):
        groups.setdefault(row.request.kind, []).append(at)
    return [*groups.values()]


def _rounded(places: int) -> int:
    return -(-places // _BLOCK) * _BLOCK
