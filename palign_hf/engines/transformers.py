"""transformers engine in this process: for machines without vLLM, and as an independent check of the other engines.

Each problem has a growing key-value cache: a score computes only what it doesn't share with the problem's score before
it. Prompts are read in blocks that begin at the same places whatever is cached, so on a CPU a score is the same to the
bit after an interruption, and in another order. Samples of many prompts are generated side by side in slots, see
`batching.py`. Layers whose past can't be cropped or padded (sliding window, recurrent) are recomputed for each score,
and generate prompt by prompt.

Reproducibility: the noise of a draw depends on the seed alone, on every device. A sample is the same as long as the
logits are the same; `batching.py` says when they are. GPUs may round differently from one release to the next.
"""

import asyncio
import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from palign_hf.config.resolve import knows_old_names
from palign_hf.engines.base import (
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    RequestFailed,
    Sampling,
    Score,
    completion,
)
from palign_hf.engines.loading import sensible_threads
from palign_hf.weights import BrokenWeights, first_ids, refuse_incomplete, refuse_no_numbers


if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

    from palign_hf.engines.batching import SlotBatch

T = TypeVar("T")

# Samples at once on a CPU and on a GPU, and the bytes that their keys and values may take.
_SLOTS = {"cpu": (48, 4 * 2**30), "cuda": (64, 16 * 2**30)}
# Tokens of a prompt that a forward pass reads.
_BLOCKS = {"cpu": 64, "cuda": 512}
# Tokens that are generated before a score may come in between.
_STEPS = 8
# Numbers of weights: up to the smaller one CPUs are faster in float32 and in one thread, and up to the larger one in
# float32 unless they have matrix units for bfloat16 (docs/costs.md).
_TINY, _SMALL = 30_000_000, 2_000_000_000


class TransformersEngine:
    """Plain forward passes: simple, exact, and for large students slower than vLLM."""

    name = "transformers"

    @knows_old_names
    def __init__(
        self,
        student: str,
        revision: str | None = None,
        max_model_len: int | None = None,
        trust_remote_code: bool = False,
        dtype: str = "auto",
        device: str | None = None,
        attn_implementation: str | None = None,
        threads: int | None = None,
        max_num_seqs: int | None = None,
    ) -> None:
        """`device` defaults to the first GPU, else the CPU; `threads` to its cores, or one for a tiny student, unless
        OMP_NUM_THREADS is set.

        `dtype="auto"` is that of the weights, but float32 where a CPU computes that faster. `max_num_seqs` is the
        number of samples that are computed at once; by default 48 on a CPU and 64 on a GPU, fewer if their keys and
        values would take more than 4 or 16 GiB. The other options are those of `from_pretrained`.
        """
        self._load = {"revision": revision, "trust_remote_code": trust_remote_code, "dtype": dtype}
        if attn_implementation:
            self._load["attn_implementation"] = attn_implementation
        self._student = student
        self._max_model_len = max_model_len
        self._device = device
        self._threads = threads
        self._threads_before: int | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        self._model: PreTrainedModel | None = None
        # By problem, the one that was used last at the end.
        self._caches: OrderedDict[str, tuple[DynamicCache, list[int]]] = OrderedDict()
        self._max_num_seqs = max_num_seqs
        self._batch: SlotBatch | None = None
        self._cache_tokens = 0
        self._turn = threading.Lock()
        self._advancing = False
        # One thread, not a lock: a cancelled question leaves its forward running, and the next must wait for that.
        self._worker: ThreadPoolExecutor | None = None

    @property
    def capacity(self) -> tuple[int, int]:
        """As many problems as samples at once; without slots one at a time."""
        return (1, 2**62) if self._batch is None else (self._batch.slots, self._cache_tokens)

    @property
    def identity(self) -> EngineIdentity:
        """The release of transformers, and the number format that the weights were loaded in."""
        import transformers

        return EngineIdentity(self.name, transformers.__version__, str(self._running.dtype).removeprefix("torch."))

    async def start(self) -> None:
        """Load the student's weights."""
        try:
            self._model = await asyncio.to_thread(self._load_model)
        except BrokenWeights:
            raise
        except Exception as error:  # whatever the libraries of weights and configs raise, there is no model
            raise EngineUnavailable(
                f"transformers could not load the student `{self._student}`: {_shown(error)}. Check the name or the "
                f"path; weights that need the repository's own code: `trust_remote_code=True`."
            ) from error
        self._worker = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="palign-transformers", initializer=self._set_threads
        )

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """One forward of what is new in `prompt_ids`."""
        self._check_length(len(prompt_ids) + 1)
        return await self._in_turn(lambda: self._score(prompt_ids, label_ids, problem))

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """Samples with the sampling asked for and nothing of the model's own defaults."""
        self._check_length(len(prompt_ids) + sampling.max_tokens)
        if self._batch is None:
            return await self._in_turn(lambda: self._generate(prompt_ids, sampling))
        from palign_hf.engines.batching import Request

        request = Request(tuple(prompt_ids), sampling)
        self._batch.waiting.append(request)
        self._advance()
        return await asyncio.wrap_future(request.future)

    async def close(self) -> None:
        """Drop the weights and the cache once what is being computed has ended, and hand GPU memory back."""
        worker, self._worker, self._model = self._worker, None, None
        if worker is None:
            return
        # One job after the other: the last one's end is the end of all. At the exit of the interpreter no job is taken
        # any more, since all have been waited for.
        with contextlib.suppress(RuntimeError):
            await asyncio.wrap_future(worker.submit(int))
        worker.shutdown(wait=False)
        self._batch = None
        self._forget()
        import torch

        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    async def _in_turn(self, work: Callable[[], T]) -> T:
        if self._worker is None:
            raise EngineDied("the transformers engine is not running")
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._guarded, work)

    def _guarded(self, work: Callable[[], T]) -> T:
        """Run `work`; a failed forward leaves some layers longer than others, so the caches go with it."""
        try:
            return work()
        except (EngineDied, RequestFailed):
            raise
        except Exception as error:
            self._forget()
            raise _failure(error) from error

    def _advance(self) -> None:
        """Have the worker generate until no request is left, unless it does already."""
        with self._turn:
            if self._worker is None:
                raise EngineDied("the transformers engine is not running")
            if not self._advancing:
                self._advancing = True
                self._worker.submit(self._some_steps)

    def _some_steps(self) -> None:
        """Generate some tokens for all requests; the rest comes after the scores that wait."""
        import torch

        batch = self._batch
        assert batch is not None
        try:
            with torch.inference_mode():
                for _ in range(_STEPS):
                    batch.step(_failure)
        except Exception as error:
            batch.fail(_failure(error))
        with self._turn:
            self._advancing = batch.busy and self._worker is not None
            if self._advancing and self._worker is not None:
                self._worker.submit(self._some_steps)
            elif batch.busy:
                batch.fail(EngineDied("the transformers engine is not running"))

    def _set_threads(self) -> None:
        """In the thread that computes: OpenMP counts for each by itself."""
        import torch

        if self._threads is None and "OMP_NUM_THREADS" in os.environ:
            return
        self._threads_before = torch.get_num_threads()
        # Two threads that share so little work wait for each other longer than they compute.
        most = 1 if self._running.num_parameters() <= _TINY else sensible_threads()
        torch.set_num_threads(self._threads or most)

    def _forget(self) -> None:
        self._caches.clear()

    def _load_model(self) -> "PreTrainedModel":
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig
        from transformers.utils import logging

        logging.disable_progress_bar()
        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        made: Any = AutoModelForCausalLM.from_pretrained(self._student, output_loading_info=True, **self._load)
        loaded, info = made
        if getattr(loaded.config, "quantization_config", None) is None:
            refuse_incomplete(self._student, info)
        if self._load["dtype"] == "auto" and device == "cpu" and _faster_in_float32(loaded):
            loaded = loaded.float()
        model: PreTrainedModel = loaded.to(device).eval()
        self._try(model)
        # `generate` fills what a request leaves open from the model's own settings: only its stop tokens are wanted.
        model.generation_config = GenerationConfig(eos_token_id=loaded.generation_config.eos_token_id)
        self._batch = self._slots(model)
        return model

    def _try(self, model: "PreTrainedModel") -> None:
        """Run a first forward pass: weights that give NaN are refused before any request."""
        import torch

        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([_some_ids(model)], device=model.device), use_cache=False).logits
            refuse_no_numbers(self._student, torch.log_softmax(logits[0, -1].float(), dim=-1).tolist())

    def _slots(self, model: "PreTrainedModel") -> "SlotBatch | None":
        """The slots of this student; None where its layers or its attention don't allow them."""
        import torch
        from transformers import DynamicCache

        from palign_hf.engines.batching import SlotBatch

        if model.config._attn_implementation != "sdpa":
            return None
        ids, cache = _some_ids(model), DynamicCache(config=model.config)
        with torch.inference_mode():
            if not _plain(cache):
                return None
            model(input_ids=torch.tensor([ids], device=model.device), past_key_values=cache, use_cache=True)
            layers: Any = cache.layers
            held = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) // len(ids)
            most, memory = _SLOTS.get(model.device.type, _SLOTS["cuda"])
            context = self._max_model_len or getattr(model.config, "max_position_embeddings", None) or 8192
            slots = self._max_num_seqs or most
            while not self._max_num_seqs and slots > 1 and slots * context * held > memory:
                slots //= 2
            self._cache_tokens = memory // held
            batch = SlotBatch(model, slots, lambda: self._text_of)
            return batch if batch.agrees(ids) else None

    def _score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        import torch

        model = self._running
        cache, reused = self._shared(prompt_ids, problem)
        begin, block = reused, self._block(cache)
        with torch.inference_mode():
            while begin < len(prompt_ids) - block:
                _more(model, prompt_ids[begin : begin + block], cache)
                begin += block
            logits = _more(model, prompt_ids[begin:], cache)
            logprobs = torch.log_softmax(logits, dim=-1)
            read = tuple(logprobs[list(label_ids)].tolist())
            top = int(logits.argmax())
        if _plain(cache):
            whole = len(prompt_ids) // block * block
            if whole < len(prompt_ids):
                cache.crop(whole - len(prompt_ids))
            self._keep(problem, cache, prompt_ids[:whole])
        return Score(read, top in label_ids, prompt_tokens=len(prompt_ids), cached_tokens=reused)

    def _block(self, cache: "DynamicCache") -> int:
        """The tokens of a forward pass: a prompt is read in the same pieces whatever is cached of it."""
        if not _plain(cache):
            return 2**62
        return _BLOCKS.get(self._running.device.type, _BLOCKS["cuda"])

    def _shared(self, prompt_ids: list[int], problem: str) -> "tuple[DynamicCache, int]":
        """The problem's cache, cropped to the blocks that it shares with `prompt_ids`, and the length of those."""
        from transformers import DynamicCache

        cache, held = self._caches.pop(problem, (None, []))
        if cache is None:
            return DynamicCache(config=self._running.config), 0
        shared = 0
        # The last token is always computed: its logits are what is read.
        for old, new in zip(held, prompt_ids[:-1], strict=False):
            if old != new:
                break
            shared += 1
        block = self._block(cache)
        shared = shared // block * block
        if shared == 0:
            return DynamicCache(config=self._running.config), 0
        if shared < len(held):
            cache.crop(shared - len(held))
        return cache, shared

    def _keep(self, problem: str, cache: "DynamicCache", ids: list[int]) -> None:
        """Keep a problem's cache; those that were not used for longest go if all are too large."""
        self._caches[problem] = (cache, ids)
        problems, tokens = self.capacity
        while len(self._caches) > 1 and (
            len(self._caches) > problems or sum(len(held) for _, held in self._caches.values()) > tokens
        ):
            self._caches.popitem(last=False)

    def _generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        """Samples of one prompt, for students without slots."""
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        from palign_hf.engines.batching import end_ids
        from palign_hf.engines.logits_processors import StopTexts, processors

        model: Any = self._running
        stop_ids = end_ids(model) | set(sampling.stop_token_ids)
        texts = StopTexts(self._text_of, sampling.stop, len(prompt_ids)) if sampling.stop else None
        config = GenerationConfig(
            max_new_tokens=sampling.max_tokens,
            # The draw is one of the processors, see there.
            do_sample=False,
            eos_token_id=sorted(stop_ids) or None,
            pad_token_id=min(stop_ids, default=0),
        )
        prompt = torch.tensor([prompt_ids], device=model.device).repeat(sampling.n, 1)
        with torch.inference_mode():
            rows = model.generate(
                inputs=prompt,
                attention_mask=torch.ones_like(prompt),
                past_key_values=self._read_once(prompt) if sampling.n > 1 else None,
                generation_config=config,
                logits_processor=processors(sampling),
                stopping_criteria=StoppingCriteriaList([texts] if texts else []),
            )
        samples = []
        for row, seed in enumerate(sampling.seeds):
            ids = rows[row, len(prompt_ids) :].tolist()
            end = next((place + 1 for place, token in enumerate(ids) if token in stop_ids), None)
            text = None
            # What follows the end of a row is padding, which may look like a stop text.
            if texts and row in texts.ends and (end is None or texts.ends[row][0] <= end):
                end, text = texts.ends[row]
            samples.append(completion(sampling, ids[:end], "length" if end is None else "stop", seed, text))
        return Generation(tuple(samples), prompt_tokens=len(prompt_ids), cached_tokens=0)

    def _read_once(self, prompt: Any) -> "DynamicCache | None":
        """The cache of a batch's common prompt, computed for one row; None where a cache can't be copied."""
        from transformers import DynamicCache

        model = self._running
        cache = DynamicCache(config=model.config)
        if prompt.shape[1] < 2 or not _plain(cache):
            return None
        model(input_ids=prompt[:1, :-1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompt))
        return cache

    @property
    def _text_of(self) -> "PreTrainedTokenizerBase":
        """The student's tokenizer, which only stop texts need."""
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            options = {name: self._load[name] for name in ("revision", "trust_remote_code")}
            self._tokenizer = AutoTokenizer.from_pretrained(self._student, **options)
        return self._tokenizer

    @property
    def _running(self) -> "PreTrainedModel":
        if self._model is None:
            raise EngineDied("the transformers engine is not running")
        return self._model

    def _check_length(self, tokens: int) -> None:
        if self._max_model_len and tokens > self._max_model_len:
            raise RequestFailed(f"the request needs {tokens} tokens, but the context holds {self._max_model_len}")


def _plain(cache: "DynamicCache") -> bool:
    """Whether all layers keep the whole past, so that the cache can be cropped or copied."""
    from transformers.cache_utils import DynamicLayer

    return bool(cache.layers) and all(type(layer) is DynamicLayer for layer in cache.layers)


def _more(model: Any, ids: list[int], cache: "DynamicCache") -> Any:
    """The logits after some more tokens."""
    import torch

    given = torch.tensor([ids], device=model.device)
    return model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1].float()


def _some_ids(model: "PreTrainedModel") -> list[int]:
    embeddings: Any = model.get_input_embeddings()
    return first_ids(int(embeddings.num_embeddings))


def _faster_in_float32(model: Any) -> bool:
    """Whether a CPU computes this student faster in float32 than in its 16-bit format."""
    import torch

    size = model.num_parameters()
    units = torch.cpu.get_capabilities().get("amx_bf16", False)
    return bool(model.dtype.itemsize == 2 and (size <= _TINY or (size <= _SMALL and not units)))


def _failure(error: Exception) -> Exception:
    """What a request ends with after an error of a forward pass."""
    import torch

    if isinstance(error, torch.AcceleratorError):
        # After such an error the device answers this process nothing more.
        return EngineDied(f"the device failed: {_shown(error)}")
    return RequestFailed(f"transformers could not compute the answer: {_shown(error)}")


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")
