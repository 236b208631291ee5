"""What a stage would read, write and keep in memory, and from it hours and GB on a device: for `--dry-run`.

Hours of the named GPUs are estimates from data sheets, not measurements; `this` measures this machine. docs/costs.md
has the formulas.
"""

import asyncio
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from palign_hf.terminal import print_err


if TYPE_CHECKING:
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.students import StudentShape


GB = 1e9
Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp"]


@dataclass(frozen=True, kw_only=True)
class TrainingForecast:
    """A training in numbers. Memory is that of one process, in bytes.

    Args:
        steps (`int`): Optimizer steps.
        tokens (`int`): Tokens of all steps together.
        batch_tokens (`int`): Most tokens of one forward pass on one device.
        trained (`int`): Parameters that are trained.
        shape (`StudentShape`): The student; its `weight_bytes` is that of the loaded weights.
        compute_bytes (`int`): Bytes of a number in the forward pass: 2 in half precision.
        trained_bytes (`int`): Bytes of a trained weight.
        states (`int`): Numbers that the optimizer keeps for each trained weight: 2 for AdamW.
        state_bytes (`int`): Bytes of each of them.
        checkpointing (`bool`): Whether activations are computed again in the backward pass.
        processes (`int`): Processes that share the batch.
        sharding (`str`): What is divided among them: `zero1` the optimizer, `zero2` also gradients, `zero3` and `fsdp`
            also weights.
    """

    steps: int
    tokens: int
    batch_tokens: int
    trained: int
    shape: "StudentShape"
    compute_bytes: int = 2
    trained_bytes: int = 4
    states: int = 2
    state_bytes: int = 4
    checkpointing: bool = True
    processes: int = 1
    sharding: Sharding = "none"

    @property
    def _deepspeed(self) -> bool:
        return self.sharding.startswith("zero")

    @property
    def weights(self) -> float:
        """All weights, and the copies in half precision that autocast makes of float32 weights."""
        loaded = self.shape.weight_bytes
        each = self.compute_bytes if self._deepspeed else loaded + (2 if (loaded, self.compute_bytes) == (4, 2) else 0)
        return self.shape.parameters * each / (self.processes if self.sharding in ("zero3", "fsdp") else 1)

    @property
    def gradients(self) -> float:
        """One number for each trained weight."""
        each = self.compute_bytes if self._deepspeed else self.trained_bytes
        return self.trained * each / (1 if self.sharding in ("none", "zero1") else self.processes)

    @property
    def optimizer(self) -> float:
        """The optimizer's states; DeepSpeed also keeps a float32 copy of the trained weights."""
        each = self.states * self.state_bytes + (4 if self._deepspeed and self.compute_bytes == 2 else 0)
        return self.trained * each / (1 if self.sharding == "none" else self.processes)

    @property
    def activations(self) -> float:
        """What the backward pass needs of the forward pass, and a block of logits; attention scores aren't stored."""
        shape = self.shape
        layer = (8 * shape.hidden + 2 * shape.key_values + 4 * shape.intermediate) * self.compute_bytes
        stored = (
            shape.layers * shape.hidden * self.compute_bytes + layer if self.checkpointing else shape.layers * layer
        )
        logits = 2 * 4 * shape.vocabulary * min(self.batch_tokens, _LOGITS_BLOCK)
        return self.batch_tokens * (stored + 4 * shape.hidden) + logits

    @property
    def memory(self) -> float:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations

    def text(self) -> str:
        """Memory of one process, by what it is for."""
        each = " a process" if self.processes > 1 else ""
        parts = ", ".join(f"{name} {_gb(getattr(self, name))}" for name in _PARTS)
        return f"about {_gb(self.memory)}{each}: {parts}"

    @property
    def passes(self) -> float:
        """The work of a token in forward passes: one, another for the gradients of activations, one for those of the
        weights if all are trained, and one more with checkpointing.
        """
        return 2 + self.trained / self.shape.parameters + self.checkpointing

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the bytes of each kind."""
        return asdict(self) | {f"{name}_bytes": round(getattr(self, name)) for name in (*_PARTS, "memory")}


# Tokens whose logits are in memory at once: TRL computes log-probabilities in blocks.
_LOGITS_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a run would do, as text and as numbers; a number that can't be known before is None.

    Args:
        lines (`tuple`): The text, as (name, value) pairs; a pair without a name continues the one before.
        rows (`int`): Rows that are read.
        requests (`int`, *optional*): Requests to the engine.
        prompt_tokens (`int`, *optional*): Prompt tokens that the engine computes, each shared beginning once.
        written_tokens (`int`, *optional*): Tokens that the student is expected to write.
        most_written (`int`, *optional*): Tokens that it writes if each sample takes all that it may.
        request_tokens (`int`): Tokens that a request holds in the cache on average, prompt and reply.
        training (`TrainingForecast`, *optional*): Of a training.
        runner (`Mapping`): The arguments of the `StudentRunner` that would answer.
        parts (`Mapping`): Several runs by name, which have the numbers.
    """

    lines: tuple[tuple[str, str], ...] = ()
    rows: int = 0
    requests: int | None = None
    prompt_tokens: int | None = None
    written_tokens: int | None = None
    most_written: int | None = None
    request_tokens: int = 0
    training: TrainingForecast | None = None
    runner: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, "Forecast"] = field(default_factory=dict)

    def text(self, device: str | None = None) -> str:
        """The lines for a terminal, with time and memory on a device if one is named."""
        if self.parts:
            return "\n\n".join(f"== {name}\n{one.text(device)}" for name, one in self.parts.items())
        lines = self.lines
        if device is not None:
            lines = (*(line for line in lines if line[0] != "time"), *costs(self, device))
        return "\n".join(f"{name:<10} {value}" for name, value in lines)

    def __str__(self) -> str:
        return self.text()

    def as_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        if self.parts:
            return {name: one.as_dict() for name, one in self.parts.items()}
        names = ("rows", "requests", "prompt_tokens", "written_tokens", "most_written", "request_tokens")
        training = {"training": self.training.as_dict()} if self.training is not None else {}
        return {name: getattr(self, name) for name in names} | training


@dataclass(frozen=True, slots=True)
class Device:
    """A device: memory in GB, peak rates of dense half precision and of memory, and where they are from."""

    name: str
    memory: float
    tflops: float
    gb_a_second: float
    source: str


UNKNOWN_TIME = "not known before the run; `--device h100`, another one or `this` estimates it"

# From the data sheets of NVIDIA; where a sheet gives a rate "with sparsity", half of it.
DEVICES = {
    one.name: one
    for one in (
        Device("h200", 141, 989, 4800, "H200 SXM 141 GB: 989 TFLOPS bfloat16, 4,800 GB/s"),
        Device("h100", 80, 989, 3350, "H100 SXM5 80 GB: 989 TFLOPS bfloat16, 3,350 GB/s"),
        Device("a100", 80, 312, 2039, "A100 SXM4 80 GB: 312 TFLOPS bfloat16, 2,039 GB/s"),
        Device("l40s", 48, 362, 864, "L40S 48 GB: 362 TFLOPS bfloat16, 864 GB/s"),
        Device("l4", 24, 121, 300, "L4 24 GB: 121 TFLOPS bfloat16, 300 GB/s"),
    )
}
THIS = "this"
NAMES = (*DEVICES, THIS)

# Assumed, not measured: the shares of the peak rates that an engine and a training reach, the seconds of an engine's
# step beside the device's work, and those of a training's step.
_PREFILL_SHARE, _MEMORY_SHARE, _TRAINING_SHARE = 0.5, 0.6, 0.4
_ENGINE_STEP_S, _TRAINING_STEP_S = 0.006, 0.1
# vLLM's default of tokens that are prefilled in a step, and the most problems that `engines.vllm` has in flight.
_PREFILL_TOKENS, _MOST_AT_ONCE = 8192, 256
# The share of a GPU that vLLM takes by default.
_MEMORY_USED = 0.9


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of a student on a device: `source` says whether they are measured."""

    prefill: float
    decode: float
    source: str
    at_once: int = 1


def speed(device: Device, shape: "StudentShape", request_tokens: int = 2048, requests: int = _MOST_AT_ONCE) -> Speed:
    """The estimate for a named device: work over peak rates. 0 tokens a second where the student doesn't fit."""
    weights = shape.parameters * shape.weight_bytes
    free = device.memory * GB * _MEMORY_USED - weights
    request = max(1, request_tokens) * shape.cache_bytes
    at_once = min(_MOST_AT_ONCE, max(1, requests), int(free / request))
    source = f"an estimate from peak rates, not measured ({device.source})"
    if at_once < 1:
        return Speed(0.0, 0.0, source, 0)
    work = 2 * shape.parameters * _PREFILL_TOKENS / (_PREFILL_SHARE * device.tflops * 1e12)
    # A decoding step reads all weights once, and the cache of each request.
    read = (weights + at_once * request) / (_MEMORY_SHARE * device.gb_a_second * 1e9)
    return Speed(_PREFILL_TOKENS / (_ENGINE_STEP_S + work), at_once / (_ENGINE_STEP_S + read), source, at_once=at_once)


def hours(prompt_tokens: float, written_tokens: float, speed: Speed) -> float:
    """Hours to read and write these tokens; infinite where the student doesn't fit."""
    if not speed.prefill or not speed.decode:
        return math.inf
    return (prompt_tokens / speed.prefill + written_tokens / speed.decode) / 3600


def training_hours(training: TrainingForecast, device: Device | Speed) -> float:
    """Hours of a training: on a named device by its peak rate, on a measured one by its rate of forward passes."""
    if isinstance(device, Speed):
        return training.tokens * training.passes / device.prefill / 3600 if device.prefill else math.inf
    # float32 products run in TF32, at half the rate.
    peak = device.tflops * 1e12 * (1 if training.compute_bytes == 2 else 0.5) * _TRAINING_SHARE
    work = 2 * training.shape.parameters * training.passes * training.tokens / peak / training.processes
    return (work + training.steps * _TRAINING_STEP_S) / 3600


def costs(forecast: Forecast, device: str) -> list[tuple[str, str]]:
    """Time and memory on a device, as (name, value) pairs; `this` measures first."""
    from palign_hf.students import resolve_student, student_shape

    student = resolve_student(forecast.runner["student"], forecast.runner.get("revision"))
    training = forecast.training
    shape = (
        training.shape
        if training is not None
        else student_shape(student, bool(forecast.runner.get("trust_remote_code")))
    )
    found: Device | Speed
    if device == THIS:
        found, memory = measure(forecast.runner), _memory_here()
    else:
        found, memory = DEVICES[device], DEVICES[device].memory
    if training is not None:
        source = found.source if isinstance(found, Speed) else f"an estimate, not measured ({found.source})"
        many = f", {training.processes} processes" if training.processes > 1 else ""
        took = f"about {_time(training_hours(training, found))} on {_named(device)}{many}"
        return [("time", took), ("", source), ("", _training_fits(training, device, memory))]
    return [*_asking_time(forecast, shape, found, device), *_asking_memory(forecast, shape, device, memory, found)]


def _asking_time(
    forecast: Forecast, shape: "StudentShape", found: Device | Speed, device: str
) -> list[tuple[str, str]]:
    if forecast.prompt_tokens is None:
        return [("time", "not known, since the tokens aren't")]
    rate = _rate(forecast, shape, found)
    if not rate.prefill:
        return [("time", f"none: the student and one request don't fit on {_named(device)}"), ("", rate.source)]
    written = forecast.written_tokens or 0
    most = hours(forecast.prompt_tokens, forecast.most_written or 0, rate)
    expected = hours(forecast.prompt_tokens, written, rate)
    over = f", {_time(most)} if each sample takes all that it may" if most > expected else ""
    rates = f"{rate.prefill:,.0f} prompt tokens a second" + (f", {rate.decode:,.0f} written" if written else "")
    return [("time", f"about {_time(expected)} on {_named(device)}{over}"), ("", f"{rates}: {rate.source}")]


def _rate(forecast: Forecast, shape: "StudentShape", found: Device | Speed) -> Speed:
    if isinstance(found, Speed):
        return found
    return speed(found, shape, forecast.request_tokens, forecast.requests or _MOST_AT_ONCE)


def _asking_memory(
    forecast: Forecast, shape: "StudentShape", device: str, memory: float, found: Device | Speed
) -> list[tuple[str, str]]:
    weights = shape.parameters * shape.weight_bytes
    request = forecast.request_tokens * shape.cache_bytes
    at_once = _rate(forecast, shape, found).at_once
    held = (
        f", {_gb(at_once * request)} of cache for {at_once} request{'s' if at_once > 1 else ''} at once"
        if at_once
        else ""
    )
    return [("memory", f"{_gb(weights)} of weights{held}, of {memory:,.0f} GB on {_named(device)}")]


def _training_fits(training: TrainingForecast, device: str, memory: float) -> str:
    verdict = "fits" if training.memory <= memory * GB else "does not fit"
    return f"{_gb(training.memory)} {verdict} in the {memory:,.0f} GB of {_named(device)}"


_PARTS = ("weights", "gradients", "optimizer", "activations")


def _named(device: str) -> str:
    return "this machine" if device == THIS else f"one {device}"


def _gb(count: float) -> str:
    return f"{count / GB:,.1f} GB" if count >= 0.05 * GB else f"{count / GB:,.3f} GB"


def _time(hours: float) -> str:
    if hours >= 1.5:
        return f"{hours:,.1f} hours"
    minutes = hours * 60
    if minutes >= 2:
        return f"{minutes:,.0f} minutes"
    seconds = max(1, round(minutes * 60))
    return f"{seconds} second{'s' if seconds > 1 else ''}"


# Seconds that `this` measures each of reading and writing, and the sizes of its requests.
_MEASURED_S = 4.0
_PROMPT, _REPLY, _TOGETHER = 512, 64, 32


def measure(given: Mapping[str, Any], seconds: float = _MEASURED_S) -> Speed:
    """Load the student in its engine, and count the tokens that it reads and writes in `seconds` each."""
    from palign_hf.generation.runner import StudentRunner

    with StudentRunner(**given) as runner:
        return measure_runner(runner, seconds)


def measure_runner(runner: "StudentRunner", seconds: float = _MEASURED_S) -> Speed:
    """The same with a runner that is there; its engine stays up."""
    print_err(f"measuring {runner.student.name} on this machine ...")
    return runner.run(_measured(runner, seconds))


async def _measured(runner: "StudentRunner", seconds: float) -> Speed:
    from palign_hf.engines.base import Sampling

    engine, ids = runner.engine, _ids(runner)
    await engine.start()
    together = min(runner.capacity()[0], _TOGETHER)
    length = max(2, min(_PROMPT, runner.max_model_len // 2))
    reply = max(1, min(_REPLY, runner.max_model_len // 4))
    asked = 0

    def prompt(length: int) -> list[int]:
        nonlocal asked
        asked += 1
        # Each begins with another token, so that no cache has it.
        return [ids[(asked + at * (1 + asked // len(ids))) % len(ids)] for at in range(length)]

    async def read() -> int:
        score = await engine.score(prompt(length), (ids[0], ids[1]), str(asked))
        return score.prompt_tokens - score.cached_tokens

    async def write() -> int:
        sampling = Sampling(max_tokens=reply, temperature=1.0, seed=asked)
        written = await engine.generate(prompt(2), sampling, str(asked))
        return sum(len(one.token_ids) for one in written.samples)

    rates = []
    for work in (read, write):
        await asyncio.gather(*(work() for _ in range(together)))  # warms up
        count, began = 0, time.monotonic()
        while (spent := time.monotonic() - began) < seconds or not count:
            count += sum(await asyncio.gather(*(work() for _ in range(together))))
        rates.append(count / spent)
    identity = runner.identity()
    source = f"measured here for {2 * seconds:.0f} seconds with {identity.label if identity else runner.engine_name}"
    return Speed(rates[0], rates[1], source, together)


def _ids(runner: "StudentRunner") -> list[int]:
    """Ids of ordinary tokens, all different."""
    special = set(runner.tokenizer.all_special_ids)
    return [one for one in sorted(runner.tokenizer.get_vocab().values()) if one not in special][:4096]


def _memory_here() -> float:
    """GB of the first GPU, else of the machine."""
    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.get_device_properties(0).total_memory / GB)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
