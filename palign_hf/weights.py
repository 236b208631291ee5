"""Checks of a student's weights: missing, cut off, of another shape, or not finite.

Libraries fill missing weights with random numbers and mention it in a log at most, so a broken student would be
sampled, trained and measured. The files are compared with the student's config by their headers alone, whatever their
size; transformers itself resolves names of weights (ties, renamings, merged experts).
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, shown


if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

_INDEX = ".index.json"
# Files that transformers looks for, in its order.
_FILES = ("model.safetensors", f"model.safetensors{_INDEX}", "pytorch_model.bin", f"pytorch_model.bin{_INDEX}")
_LENGTH = 8
# The header of a file with a million weights is smaller.
_LONGEST_HEADER = 100_000_000
_NAMED = 5
_ADVICE = "Copy or download the student again, or train it again."


class BrokenWeights(UserError):
    """A student's weights are incomplete, or not finite."""


def check_weights(where: str, revision: str | None = None, trust_remote_code: bool = False) -> bool:
    """Raise `BrokenWeights` if the files of a student lack weights of its config; no weights are read.

    Quantized checkpoints have weights of other names and shapes, so only their files are checked; those of an unknown
    format (GGUF) are left to their loader.

    Args:
        where (`str`): a folder, or the name of a model on the Hub, of which the local cache is checked.
        revision (`str`, *optional*): the commit of a Hub student.
        trust_remote_code (`bool`, defaults to `False`): build the model with the student's own code.

    Returns:
        `bool`: whether files were found that could be checked.
    """
    find = _finder(where, revision)
    files = _weight_files(where, find)
    if not files:
        return False
    shapes: dict[str, tuple[int, ...]] = {}
    for name, path in files.items():
        shapes |= _shapes(where, name, path)
    if find("adapter_config.json") is None:
        _compare(where, revision, trust_remote_code, shapes)
    return True


def refuse_incomplete(student: str, info: Mapping[str, Any]) -> None:
    """Raise `BrokenWeights` for weights that transformers' `output_loading_info` reports as missing."""
    found = []
    if missing := sorted(info["missing_keys"]):
        found.append(f"{len(missing)} weights are missing ({_some(missing)})")
    if others := sorted(info["mismatched_keys"]):
        name, held, wanted = others[0]
        found.append(
            f"{len(others)} have another shape than its config says (`{name}`: {_by(held)}, not {_by(wanted)})"
        )
    if found:
        raise BrokenWeights(
            f"The checkpoint of the student `{student}` isn't whole: {'; '.join(found)}. They would be filled with "
            f"random numbers. {_ADVICE}"
        )


def refuse_no_numbers(student: str, logprobs: Iterable[float]) -> None:
    """Raise `BrokenWeights` unless the log-probabilities of a first forward pass are finite."""
    if any(math.isnan(value) or value == math.inf for value in logprobs):
        raise BrokenWeights(
            f"The student `{student}` gives no probabilities: its first forward pass ends in NaN or infinite numbers, "
            f"so its weights hold such. A training that diverged leaves such a student: take an earlier checkpoint, "
            f"or train it again with a lower `training.learning_rate`. If its weights are fine, give the engine "
            f"option `dtype=float32`: in `float16` large numbers become infinite."
        )


def refuse_not_finite(student: str, names: list[str]) -> None:
    """Raise `BrokenWeights` if `not_finite` found any weight of a loaded student."""
    if names:
        raise BrokenWeights(
            f"{len(names)} weights of the student `{student}` hold NaN or infinite numbers ({_some(names)}), so it "
            f"gives no probabilities. A training that diverged leaves such a student: take an earlier checkpoint, or "
            f"train it again with a lower `training.learning_rate`."
        )


def first_ids(vocabulary: int) -> list[int]:
    """A few tokens that every student with this vocabulary has, for a first forward pass."""
    # Ordinary words in all large vocabularies; first come control tokens, last what was never trained.
    first = min(1000, vocabulary // 2)
    return list(range(first, min(first + 4, vocabulary)))


def not_finite(weights: "Iterable[tuple[str, torch.Tensor]]") -> list[str]:
    """Names of weights with NaN or infinite values; of sharded weights, this process's shard is checked."""
    found = []
    for name, weight in weights:
        # Shards of DeepSpeed's ZeRO-3 and of DTensors.
        part: Any = getattr(weight, "ds_tensor", weight)
        part = part.to_local() if hasattr(part, "to_local") else part
        if part.is_floating_point() and part.numel() and not bool(part.detach().isfinite().all()):
            found.append(name)
    return found


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file; `ValueError` has the reason if the file isn't complete."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(_LENGTH)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH or length > min(size - _LENGTH, _LONGEST_HEADER):
            raise ValueError(f"it is cut off, or no safetensors file: it has {size:,} bytes")
        try:
            info = json.loads(file.read(length))
            held = {name: entry for name, entry in info.items() if name != "__metadata__"}
            ends = [int(entry["data_offsets"][1]) for entry in held.values()]
        except (ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise ValueError("its header can't be read") from error
    if (wanted := _LENGTH + length + max(ends, default=0)) > size:
        raise ValueError(f"it is cut off: it has {size:,} of {wanted:,} bytes")
    return held


def _finder(where: str, revision: str | None) -> Callable[[str], Path | None]:
    """A function that finds a file of the student by name."""
    folder = Path(where)

    def here(name: str) -> Path | None:
        path = folder / name
        return path if path.is_file() else None

    def cached(name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(where, name, revision=revision)
        return Path(found) if isinstance(found, str) else None

    return here if folder.is_dir() else cached


def _weight_files(where: str, find: Callable[[str], Path | None]) -> dict[str, Path]:
    """The files that would be loaded, by name; empty where they aren't known."""
    name = next((name for name in _FILES if find(name) is not None), None)
    if name is None or (path := find(name)) is None:
        return {}
    if not name.endswith(_INDEX):
        return {name: path}
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        found = {shard: find(str(shard)) for shard in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenWeights(f"`{name}` of the student `{where}` can't be read: {error!r}. {_ADVICE}") from error
    there = {shard: path for shard, path in found.items() if path is not None}
    if not there and not Path(where).is_dir():
        return {}  # the cache has the index alone
    if lacking := [shard for shard in names if shard not in there]:
        raise BrokenWeights(
            f"The checkpoint of the student `{where}` isn't whole: `{name}` names {len(names)} files, and "
            f"{_some(lacking)} {'is' if len(lacking) == 1 else 'are'} missing. {_ADVICE}"
        )
    return there


def _shapes(where: str, name: str, path: Path) -> dict[str, tuple[int, ...]]:
    """The weights of a file and their shapes."""
    try:
        if name.endswith(".safetensors"):
            return {key: tuple(entry["shape"]) for key, entry in header(path).items()}
        import torch

        # On that device storages are made without being read.
        held = torch.load(path, map_location="meta", weights_only=True)
        return {key: tuple(weight.shape) for key, weight in held.items()}
    except Exception as error:  # pickles and archives break in many ways
        raise BrokenWeights(
            f"`{name}` of the student `{where}` can't be loaded: {shown(str(error), 200)}. {_ADVICE}"
        ) from error


def _compare(where: str, revision: str | None, trust_remote_code: bool, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Load a checkpoint of these shapes into the model of the config, without allocating values."""
    import torch

    try:
        config, model_class = _model_class(where, revision, trust_remote_code)
    except Exception:  # no class of transformers, or code that isn't trusted: its loader reports it
        return
    if getattr(config, "quantization_config", None) is not None:
        return
    empty = {name: torch.empty(shape, device="meta", dtype=torch.float32) for name, shape in shapes.items()}
    loading: Any = model_class
    try:
        with _silent():
            info = loading.from_pretrained(
                None,
                config=config,
                state_dict=empty,
                dtype=torch.float32,
                device_map={"": "meta"},
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )[1]
    except Exception:  # a model that can't be built without values is left to its loader
        return
    refuse_incomplete(where, info)


def _model_class(where: str, revision: str | None, trust: bool) -> "tuple[PreTrainedConfig, type[PreTrainedModel]]":
    """The student's config, and the class that transformers would load it into."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(where, revision=revision, trust_remote_code=trust)
    with torch.device("meta"):
        return config, type(AutoModelForCausalLM.from_config(config, trust_remote_code=trust))


@contextmanager
def _silent() -> Iterator[None]:
    """Silence transformers' progress bar and report."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return listed(shown(name, 120) for name in names[:_NAMED]) + more


def _by(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
