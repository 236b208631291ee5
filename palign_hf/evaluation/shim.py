"""Compatibility of lighteval 0.13 with current libraries.

It imports all of its own tasks before any others, and three of their modules fail: two use an argument that
huggingface_hub 2 dropped, one downloads a file on import. Empty modules replace those that would fail here; their
tasks can't be run then, all others can.
"""

import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from palign_hf.errors import UserError


if TYPE_CHECKING:
    from datasets import Dataset

_TASKS = "lighteval.tasks.tasks"
_READER = "download_dataset_worker"


def require_lighteval() -> None:
    """Check that lighteval is installed.

    Raises:
        `UserError`: It isn't; the message names the extra to install.
    """
    if find_spec("lighteval") is None:
        raise UserError("Evaluation needs lighteval, which isn't installed. Run `pip install 'palign-hf[eval]'`.")


def install(downloads: bool = True) -> list[str]:
    """Replace modules that would fail, and return their names. Call it before lighteval looks for tasks.

    Without `downloads` also those that fetch word lists on import.
    """
    require_lighteval()
    downloading = [] if downloads else [f"{_TASKS}.{name}.main" for name in ("ifeval", "ifbench")]
    failing = [name for name in (*_failing(), *downloading) if name not in sys.modules]
    for name in failing:
        sys.modules[name] = ModuleType(name, "Can't be imported here: see palign_hf.evaluation.shim.")
    _import_what_changes_the_process()
    return failing


def _import_what_changes_the_process() -> None:
    """Import two modules of lighteval here, and undo their changes to the process.

    Its transformers model turns gradients off, so that nothing could be trained afterwards; its code tasks raise
    Python's limit for the digits of a number.
    """
    import torch

    gradients, digits = torch.is_grad_enabled(), sys.get_int_max_str_digits()
    import_module("lighteval.models.transformers.transformers_model")
    import_module(f"{_TASKS}.lcb.codegen_metrics")
    torch.set_grad_enabled(gradients)
    sys.set_int_max_str_digits(digits)


@contextmanager
def reading(rows: Mapping[str, Mapping[str, "Dataset"]]) -> Iterator[None]:
    """Give lighteval's tasks their data by task name, instead of loading it again."""
    from lighteval.tasks.lighteval_task import LightevalTask

    before = LightevalTask.download_dataset_worker
    setattr(LightevalTask, _READER, staticmethod(lambda task: rows[task.name]))
    try:
        yield
    finally:
        setattr(LightevalTask, _READER, staticmethod(before))


def main() -> None:
    """lighteval's own command line."""
    if left_out := install():
        names = ", ".join(name.removeprefix(f"{_TASKS}.").removesuffix(".main") for name in left_out)
        sys.stderr.write(f"palign: lighteval's own tasks of {names} can't be imported here, and are left out\n")
    from lighteval.__main__ import app

    app()


def _failing() -> Iterator[str]:
    from huggingface_hub import HfApi

    if "model_name" not in inspect.signature(HfApi.list_models).parameters:
        yield from (f"{_TASKS}.{name}.main" for name in ("mt_bench", "mix_eval"))
    package = find_spec(_TASKS)
    assert package is not None and package.submodule_search_locations
    # Where the file lies beside it, nothing is downloaded.
    if not (Path(package.submodule_search_locations[0]) / "tinyBenchmarks.pkl").is_file():
        yield f"{_TASKS}.tiny_benchmarks"
