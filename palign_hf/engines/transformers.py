"""transformers engine in this process: for machines without vLLM, and as an independent check of the other engines.

One growing key-value cache: a score computes only the tokens that it doesn't share with the score before it, so one
problem at a time is fastest. Layers whose past can't be cropped (sliding window, recurrent) are recomputed each time.
The samples of one prompt are generated as one batch, whose rows share the prompt's forward pass.

Reproducibility: the noise of a draw depends on the seed alone, on every device. A sample is the same as long as the
logits are the same, and on CPUs (toy student, bfloat16 and float32) they are, alone and as one of several samples; GPU
kernels round differently for another number of rows, so there a sample may differ where two tokens are near.
"""

import asyncio
import contextlib
import os
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

T = TypeVar("T")


class TransformersEngine:
    """Plain forward passes, no batching between problems: simple, exact, slower than vLLM."""

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
    ) -> None:
        """`device` defaults to the first GPU, else the CPU; `threads` to its cores, unless OMP_NUM_THREADS is set.

        The other options are those of `from_pretrained`.
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
        self._cache: DynamicCache | None = None
        self._cached_ids: list[int] = []
        # One thread, not a lock: a cancelled question leaves its forward running, and the next must wait for that.
        self._worker: ThreadPoolExecutor | None = None

    @property
    def capacity(self) -> tuple[int, int]:
        """One problem at a time: a second one would throw away the first one's cache."""
        return 1, 2**62

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
        return await self._in_turn(lambda: self._score(prompt_ids, label_ids))

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """`model.generate` with the sampling asked for and nothing of the model's own defaults."""
        self._check_length(len(prompt_ids) + sampling.max_tokens)
        return await self._in_turn(lambda: self._generate(prompt_ids, sampling))

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
        """Run `work`; a failed forward leaves some layers longer than others, so the cache goes with it."""
        import torch

        try:
            return work()
        except (EngineDied, RequestFailed):
            raise
        except torch.AcceleratorError as error:
            # After such an error the device answers this process nothing more.
            raise EngineDied(f"the device failed: {_shown(error)}") from error
        except Exception as error:
            self._forget()
            raise RequestFailed(f"transformers could not compute the answer: {_shown(error)}") from error

    def _set_threads(self) -> None:
        """In the thread that computes: OpenMP counts for each by itself."""
        import torch

        if self._threads is None and "OMP_NUM_THREADS" in os.environ:
            return
        self._threads_before = torch.get_num_threads()
        torch.set_num_threads(self._threads or sensible_threads())

    def _forget(self) -> None:
        self._cache, self._cached_ids = None, []

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
        model: PreTrainedModel = loaded.to(device).eval()
        self._try(model)
        # `generate` fills what a request leaves open from the model's own settings: only its stop tokens are wanted.
        model.generation_config = GenerationConfig(eos_token_id=loaded.generation_config.eos_token_id)
        return model

    def _try(self, model: "PreTrainedModel") -> None:
        """Run a first forward pass: weights that give NaN are refused before any request."""
        import torch

        embeddings: Any = model.get_input_embeddings()
        ids = first_ids(int(embeddings.num_embeddings))
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
            refuse_no_numbers(self._student, torch.log_softmax(logits.float(), dim=-1).tolist())

    def _score(self, prompt_ids: list[int], label_ids: tuple[int, ...]) -> Score:
        import torch

        model = self._running
        reused = self._keep_shared(prompt_ids)
        with torch.inference_mode():
            output = model(
                input_ids=torch.tensor([prompt_ids[reused:]], device=model.device),
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits = output.logits[0, -1].float()
            logprobs = torch.log_softmax(logits, dim=-1)
            read = tuple(logprobs[list(label_ids)].tolist())
            top = int(logits.argmax())
        self._cached_ids = list(prompt_ids)
        return Score(read, top in label_ids, prompt_tokens=len(prompt_ids), cached_tokens=reused)

    def _keep_shared(self, prompt_ids: list[int]) -> int:
        """Crop the cache to its common beginning with `prompt_ids`; return the number of shared tokens."""
        from transformers import DynamicCache

        shared = 0
        # The last token is always computed: its logits are what is read.
        for old, new in zip(self._cached_ids, prompt_ids[:-1], strict=False):
            if old != new:
                break
            shared += 1
        if self._cache is None or shared == 0 or not _plain(self._cache):
            self._cache = DynamicCache(config=self._running.config)
            shared = 0
        elif shared < len(self._cached_ids):
            self._cache.crop(shared - len(self._cached_ids))
        return shared

    def _generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        import torch
        from transformers import GenerationConfig, StoppingCriteriaList

        from palign_hf.engines.logits_processors import StopTexts, processors

        model: Any = self._running
        ends = model.generation_config.eos_token_id
        end_ids = {ends} if isinstance(ends, int) else set(ends or ())
        stop_ids = end_ids | set(sampling.stop_token_ids)
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


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(". ")
