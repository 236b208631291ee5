"""A chain as a job of the Hub (HF Jobs): whether it fits the machine, for how long, and the command that starts it.

A job's machine is gone when the job ends, so a chain has to publish its result. Its recipe travels as one file with
all values, since the client uploads the files that the command names, and no others.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from palign_hf.config.recipes import recipes_folder
from palign_hf.config.resolve import is_location
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.hub.retries import fault_of
from palign_hf.pipeline.chain import chain
from palign_hf.pipeline.plan import ChainStep
from palign_hf.pipeline.publication import check_targets
from palign_hf.pipeline.recipe import Recipe, flat, read_chain
from palign_hf.pipeline.record import plain_values
from palign_hf.pipeline.run import accelerate_config, forecasts
from palign_hf.redact import remember
from palign_hf.runs.forecast import DEVICES, GB, Device, Forecast, Sharding, hours, speed, training_hours
from palign_hf.runs.parts import write_whole
from palign_hf.students import resolve_student, shipped, student_shape


if TYPE_CHECKING:
    from huggingface_hub import JobInfo


SCRIPT, RECIPE, SECRET = "pipeline.py", "job.yaml", "HF_TOKEN"
# A timeout is this many times the longest time, since the hours are estimates, and minutes to install and to load.
MARGIN, STARTING_MINUTES = 2.0, 30
_FLAVOR = re.compile(r"(?P<device>[a-z0-9]+?)(?:-large)?(?:x(?P<gpus>\d+))?")
_TIMEOUT = re.compile(r"[1-9]\d*[smhd]")


@dataclass(frozen=True)
class Flavor:
    """A machine of Jobs: its name there, the device that forecasts know, and how many of it."""

    name: str
    device: Device
    gpus: int


@dataclass(frozen=True)
class HubJob:
    """A job that fits its machine.

    Args:
        recipe (`Recipe`): The chain.
        flavor (`Flavor`): The machine.
        timeout (`str`): As the Hub's client takes it, such as `90m`.
        lines (`tuple[str, ...]`): The forecast, for a terminal.
        image (`str`, *optional*): A Docker image with uv; by default that of the Hub's client.
        namespace (`str`, *optional*): Who runs and pays it; by default the user.
    """

    recipe: Recipe
    flavor: Flavor
    timeout: str
    lines: tuple[str, ...]
    image: str | None = None
    namespace: str | None = None

    @property
    def file(self) -> Path:
        """The recipe with all values, as the job gets it."""
        return self.recipe.head.folder / RECIPE

    @property
    def script(self) -> Path:
        """The script that the job runs."""
        return recipes_folder() / "jobs" / SCRIPT

    def command(self) -> list[str]:
        """The command of the Hub's client that starts the job; of secrets it has the names."""
        options = ["--flavor", self.flavor.name, "--timeout", self.timeout, "--secrets", SECRET]
        options += ["--image", self.image] if self.image else []
        options += ["--namespace", self.namespace] if self.namespace else []
        return ["hf", "jobs", "uv", "run", "--detach", *options, str(self.script), str(self.file)]

    def write(self) -> Path:
        """Write the recipe that the command names."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(plain_values(self.recipe.whole()), sort_keys=False, allow_unicode=True)
        write_whole(self.file, text)
        return self.file


def flavors() -> dict[str, Flavor]:
    """The machines of Jobs, as the installed client lists them, whose device forecasts know."""
    from huggingface_hub import JobHardware

    found = {}
    for one in JobHardware:
        named = _FLAVOR.fullmatch(one.value)
        if named is not None and named["device"] in DEVICES:
            found[one.value] = Flavor(one.value, DEVICES[named["device"]], int(named["gpus"] or 1))
    return found


def plan_job(
    recipe: str | Path,
    flavor: str,
    overrides: Sequence[str] = (),
    *,
    timeout: str | None = None,
    image: str | None = None,
    namespace: str | None = None,
) -> HubJob:
    """Check that a chain can run as a job, and that it fits.

    Args:
        recipe (`str` or `Path`): The recipe, a file or a shipped one.
        flavor (`str`): The machine, such as `l4x1`.
        overrides (`Sequence[str]`, *optional*): `--set`.
        timeout (`str`, *optional*): How long the job may take, such as `6h`; by default made of the forecast.
        image (`str`, *optional*): A Docker image with uv.
        namespace (`str`, *optional*): Who runs and pays the job.

    Raises:
        UserError: The chain publishes nothing, reads what only this machine has, or doesn't fit.
    """
    known = flavors()
    if flavor not in known:
        raise UserError(
            f"`flavor={shown(flavor)}` is no machine of Jobs that a forecast is known for{nearest(flavor, known)}. "
            f"Choose among {listed(known)}."
        )
    if timeout is not None and not _TIMEOUT.fullmatch(timeout):
        raise UserError(f"`timeout={shown(timeout)}` is no time. Give a number with its unit, as `90m` or `6h`.")
    read = read_chain(recipe, overrides)
    if read.head.publish is None:
        raise UserError(
            f"`{recipe}` publishes nothing, and what a job writes is gone with its machine. Add where it goes: `--set "
            f"publish.repo_id=OWNER/NAME`."
        )
    _refuse_local(read)
    machine = known[flavor]
    lines, minutes, unknown = _fitted(read, machine)
    if timeout is None and unknown:
        raise UserError(
            f"How long {listed(unknown)} takes isn't known here, so there is no timeout: give one, as `--timeout 6h`."
        )
    if timeout is None:
        timeout = f"{math.ceil(MARGIN * minutes) + STARTING_MINUTES}m"
        lines.append(
            f"timeout    {timeout}: {MARGIN:g} x {math.ceil(minutes)} min at the most, and {STARTING_MINUTES} to "
            f"install and load"
        )
    return HubJob(read, machine, timeout, tuple(lines), image, namespace)


def submit(job: HubJob) -> "JobInfo":
    """Start a job on the Hub, with the token of the login as its secret.

    Args:
        job (`HubJob`): The job, whose recipe has been written.

    Raises:
        UserError: Nobody is logged in, or the Hub refuses the job or where it would publish.
    """
    from huggingface_hub import HfApi, get_token

    token = get_token()
    if token is None:
        raise UserError("A job publishes with your token, and you are not logged in. Log in first: `hf auth login`.")
    remember(token)
    assert job.recipe.head.publish is not None
    check_targets(chain(job.recipe), job.recipe.head.publish)
    try:
        return HfApi().run_uv_job(
            str(job.script),
            script_args=[str(job.file)],
            image=job.image,
            secrets={SECRET: token},
            flavor=job.flavor.name,
            timeout=job.timeout,
            namespace=job.namespace,
        )
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        words = fault.words
    raise UserError(f"The job wasn't started: {words}")


def _refuse_local(recipe: Recipe) -> None:
    """Refuse values that name files or code of this machine."""
    for key, value in flat(recipe.whole()):
        if key.rpartition(".")[2] in ("output_dir", "ledger"):
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            given = f"`{key.replace('.recipe.', '.')}: {shown(str(one), 300)}`"
            if not isinstance(one, str) or shipped(one) is not None:
                continue
            if is_location(one) and not one.startswith("palign_hf."):
                raise UserError(
                    f"{given} is code of your own, and a job installs this package alone. Take a part of the package, "
                    f"or run the chain on a machine that has your code."
                )
            if ("/" in one or Path(one).suffix) and Path(one).expanduser().exists():
                raise UserError(
                    f"{given} is on this machine, and the job runs on another one. Push it to the Hub, and name it as "
                    f"it is called there."
                )


def _fitted(recipe: Recipe, machine: Flavor) -> tuple[list[str], float, list[str]]:
    """Lines for a terminal, minutes at the most, and the steps whose time isn't known; what doesn't fit is refused."""
    processes = 1 if recipe.head.launch is None else recipe.head.launch.processes
    if processes > machine.gpus:
        raise UserError(
            f"`launch.processes={processes}` is more than the {machine.gpus} GPU of `{machine.name}`. Choose a larger "
            f"flavor, or start fewer processes."
        )
    lines: list[str] = []
    unknown: list[str] = []
    minutes = 0.0
    # As on a new machine, where no step has run.
    steps = chain(recipe)
    named = {step.name: step for step in steps}
    for name, forecast in forecasts(steps, named):
        step = named[name]
        if isinstance(forecast, str):
            unknown.append(step.name)
            lines.append(f"{step.name}: not known here: {forecast}")
            continue
        if forecast.training is not None:
            sharding = _sharding(recipe)
            training = replace(forecast.training, processes=processes, sharding=sharding or forecast.training.sharding)
            forecast = replace(forecast, training=training)
        memory, longest = _costs(step, forecast, machine)
        if longest is None:
            unknown.append(step.name)
            lines.append(f"{step.name}: {memory}; its time isn't known")
        else:
            minutes += 60 * longest
            lines.append(f"{step.name}: {memory}, at most {math.ceil(60 * longest)} min")
    lines.append(f"machine    {machine.name}: {machine.gpus} x {machine.device.source}; estimates, not measured")
    if machine.gpus > processes:
        lines.append(f"note       {processes} of {machine.gpus} GPUs is used: `launch.processes` is for the training")
    return lines, minutes, unknown


def _costs(step: ChainStep, forecast: Forecast, machine: Flavor) -> tuple[str, float | None]:
    """Memory in words, and hours at the most; None where they aren't known."""
    device, name = machine.device, f"one {machine.device.name}"
    if (training := forecast.training) is not None:
        if training.memory > device.memory * GB:
            raise UserError(
                f"`{step.name}` takes {training.memory / GB:,.1f} GB, and {name} has {device.memory:,.0f}. Choose a "
                f"flavor with more memory, train an adapter (`{step.stage}.lora.r=16`), lower "
                f"`{step.stage}.training.per_device_train_batch_size`, or take several GPUs with "
                f"`launch: {{processes: 8, config: fsdp2}}`."
            )
        return f"{training.memory / GB:,.1f} of {device.memory:,.0f} GB", training_hours(training, device)
    student = resolve_student(forecast.runner["student"], forecast.runner.get("revision"))
    shape = student_shape(student, bool(forecast.runner.get("trust_remote_code")))
    rate = speed(device, shape, forecast.request_tokens, forecast.requests or 1)
    weights = shape.parameters * shape.weight_bytes / GB
    if not rate.at_once:
        raise UserError(
            f"`{step.name}` doesn't fit: {weights:,.1f} GB of weights and a request of {forecast.request_tokens:,} "
            f"tokens are more than 90 % of the {device.memory:,.0f} GB of {name}. Choose a flavor with more memory, a "
            f"smaller student, or a smaller `max_tokens`."
        )
    words = f"{weights:,.1f} GB of weights of {device.memory:,.0f} GB"
    if forecast.prompt_tokens is None:
        return words, None
    return words, hours(forecast.prompt_tokens, max(forecast.written_tokens or 0, forecast.most_written or 0), rate)


def _sharding(recipe: Recipe) -> Sharding | None:
    """What the configuration of accelerate divides among the processes; None where it says nothing of it."""
    launch = recipe.head.launch
    if launch is None or launch.config is None:
        return None
    config: Mapping[str, Any] = yaml.safe_load(accelerate_config(launch.config).read_text(encoding="utf-8")) or {}
    kind = str(config.get("distributed_type"))
    if kind == "FSDP":
        return "fsdp"
    stages: dict[int, Sharding] = {1: "zero1", 2: "zero2", 3: "zero3"}
    return stages.get((config.get("deepspeed_config") or {}).get("zero_stage", 0)) if kind == "DEEPSPEED" else None
