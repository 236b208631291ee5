"""Engines by name, and their options, declared and checked.

`auto` is vLLM where it is installed, else transformers; and transformers for a student so small that vLLM takes longer
to load than a CPU takes for its answers (docs/costs.md).

Options concern the engine (memory share, URLs): they change its speed, not its requests. The few that change the
student's numbers (`altering`) are part of the fingerprint.
"""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from palign_hf.config.resolve import refuse_renamed
from palign_hf.config.settings import refuse_secrets
from palign_hf.engines.base import Engine
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.redact import remember_in


@dataclass(frozen=True, slots=True)
class Option:
    """An option's valid values, as description and test."""

    meant: str
    fits: Callable[[Any], bool]


# Set by the run itself: a second value could contradict it.
_OF_THE_RUN = {
    "student": "student",
    "model": "student",
    "tokenizer": "student",
    "revision": "revision",
    "tokenizer_revision": "revision",
    "context": "max_model_len",
    "max_model_len": "max_model_len",
    "trust_remote_code": "trust_remote_code",
    "vocabulary": "student",
}


def check_options(engine: str, options: Mapping[str, Any]) -> None:
    """Refuse unknown or invalid options of `engine` (one of its real names)."""
    remember_in(options)
    refuse_secrets(options, section="engine_options.")
    known = _vllm() if engine == "vllm" else {"server": _SERVER, "transformers": _TRANSFORMERS}[engine]
    for name, value in options.items():
        if name in _OF_THE_RUN and (engine != "server" or name != "model"):
            raise UserError(
                f"`engine_options` can't set `{name}`: the engine loads the student of the run. Give "
                f"`{_OF_THE_RUN[name]}` beside `engine` instead."
            )
        if name not in known:
            refuse_renamed([name], known, section="engine_options.")
            own = "the fields of vLLM's `AsyncEngineArgs`" if engine == "vllm" else listed(known)
            raise UserError(
                f"`engine={engine!r}` has no option `{shown(name)}`{nearest(name, known)}. It takes {own}."
            )
        option = known[name]
        if not option.fits(value):
            raise UserError(f"The engine option `{name}={shown(value)}` can't be used: it must be {option.meant}.")


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # no clock counts so far
        return False


def _url(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(("http://", "https://"))


def _header_name(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", value) is not None


def _header(value: Any) -> bool:
    """Whether a header value is valid: a line break would begin the next header."""
    return _text(value) and value.isprintable()


def _or_none(option: Option) -> Option:
    return Option(f"{option.meant}, or nothing", lambda value: value is None or option.fits(value))


_TEXT = Option("a text", _text)
_COUNT = Option("a whole number, at least 1", lambda value: _whole(value) and value >= 1)
_TRUTH = Option("true or false", lambda value: isinstance(value, bool))
_DTYPES = ("auto", "float32", "float", "bfloat16", "float16", "half")
_DTYPE = Option(f"one of {listed(_DTYPES)}", lambda value: value in _DTYPES)
_ANY = Option("anything", lambda value: True)
_SERVER = {
    "urls": Option(
        "addresses that begin with `http://` or `https://`, as `http://localhost:8000/v1` does",
        lambda value: _url(value) or (isinstance(value, (list, tuple)) and bool(value) and all(map(_url, value))),
    ),
    "model": _or_none(_TEXT),
    "max_concurrency": _COUNT,
    "timeout": Option("a number of seconds, above 0", lambda value: _number(value) and value > 0),
    "pauses": Option(
        "a list of seconds, each above 0",
        lambda value: isinstance(value, (list, tuple)) and all(_number(pause) and pause > 0 for pause in value),
    ),
    "headers": _or_none(
        Option(
            "names with their texts, each on one line",
            lambda value: (
                isinstance(value, Mapping) and all(map(_header_name, value)) and all(map(_header, value.values()))
            ),
        )
    ),
}
_TRANSFORMERS = {
    "dtype": _DTYPE,
    "device": _or_none(_TEXT),
    "attn_implementation": _or_none(_TEXT),
    "threads": _or_none(_COUNT),
    "max_num_seqs": _or_none(_COUNT),
}
# Bytes of the weights of a student that `auto` runs in transformers on a CPU.
_TINY = 64 * 2**20
# vLLM itself refuses these only after loading for a while.
_VLLM_RANGES = {
    "gpu_memory_utilization": Option("a share above 0, at most 1", lambda value: _number(value) and 0 < value <= 1),
    "dtype": _DTYPE,
    "block_size": _or_none(_COUNT),
    "max_num_seqs": _or_none(_COUNT),
    "max_num_batched_tokens": _or_none(_COUNT),
    "kv_cache_memory_bytes": _or_none(_COUNT),
    "tensor_parallel_size": _COUNT,
    "pipeline_parallel_size": _COUNT,
    "data_parallel_size": _COUNT,
}
_PLAIN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", _whole),
    "float": ("a number", _number),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "str": ("a text", lambda value: isinstance(value, str)),
    "None": ("nothing", lambda value: value is None),
}


@cache
def _vllm() -> dict[str, Option]:
    """All fields; without vllm nothing is checked, and its engine reports that it is missing."""
    spec = find_spec("vllm")
    if spec is None:
        return _Anything()
    types = _types_in_source(Path((spec.submodule_search_locations or [""])[0]) / "engine" / "arg_utils.py")
    if not types:
        from palign_hf.engines.vllm import argument_types

        types = argument_types()
    return {name: _VLLM_RANGES.get(name) or _option(types[name]) for name in types}


class _Anything(dict[str, Option]):
    """Options that can't be known."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Option:
        return _ANY


def _types_in_source(path: Path) -> dict[str, str]:
    """Field names and types in the source; empty if the source has another form."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    if not {"EngineArgs", "AsyncEngineArgs"} <= classes.keys():
        return {}
    return {
        field.target.id: ast.unparse(field.annotation)
        for name in ("EngineArgs", "AsyncEngineArgs")
        for field in classes[name].body
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
    }


def _option(written: str) -> Option:
    """Valid values of a field's type; any value where the type isn't plain."""
    parts = [part.strip() for part in written.split("|")]
    if not set(parts) <= _PLAIN.keys():
        return _ANY
    meant, tests = zip(*(_PLAIN[part] for part in parts), strict=True)
    return Option(" or ".join(meant), lambda value: any(fits(value) for fits in tests))


NAMES = ("auto", "vllm", "server", "transformers")
_ALTERING = ("dtype", "quantization", "hf_overrides", "kv_cache_dtype", "load_format")


def check_engine(name: str, options: Mapping[str, Any]) -> None:
    """Refuse unknown engines, unknown options and invalid values before anything is loaded."""
    if name not in NAMES:
        raise UserError(f"`engine={name!r}` is unknown{nearest(str(name), NAMES)}. Choose one of {listed(NAMES)}.")
    if name == "server" and not options.get("urls"):
        raise UserError(
            "`engine='server'` needs the address of a server: `engine_options={'urls': ['http://localhost:8000/v1']}`."
        )
    check_options(_real(name), options)


def _real(name: str, student: str | None = None, options: Mapping[str, Any] | None = None) -> str:
    """Resolve `auto`; of an unknown student as of a large one."""
    from palign_hf.engines.vllm import installed

    if name != "auto":
        return name
    if not installed():
        return "transformers"
    small = student is not None and set(options or {}) <= _TRANSFORMERS.keys() and _tiny(Path(student))
    return "transformers" if small and not _accelerated() else "vllm"


def _tiny(folder: Path) -> bool:
    """Whether a student in a folder has so few weights; one on the Hub isn't looked up."""
    sizes = [path.stat().st_size for path in folder.glob("*.safetensors")] if folder.is_dir() else []
    return 0 < sum(sizes) <= _TINY


def _accelerated() -> bool:
    """Whether this machine has a GPU or another accelerator."""
    import torch

    return torch.accelerator.is_available()


def spawns(name: str, student: str, options: Mapping[str, Any]) -> bool:
    """Whether the engine of a student starts processes that import the running script."""
    return _real(name, student, options) == "vllm"


def altering(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that change the student's numbers: they are part of the fingerprint, so they must be plain data."""
    found = {name: options[name] for name in _ALTERING if name in options}
    for name, value in found.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise UserError(
                f"The engine option `{name}={value!r}` changes the student's numbers, so it is part of the "
                f"fingerprint, which can't store it. Give plain data, such as `dtype='bfloat16'`."
            ) from error
    return found


def make_engine(
    name: str,
    student: str,
    *,
    revision: str | None = None,
    max_model_len: int | None = None,
    trust_remote_code: bool = False,
    vocabulary: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Engine:
    """Return the engine `name`, not yet started. `vocabulary` is the student's number of token ids, if known."""
    options = dict(options or {})
    check_engine(name, options)
    from palign_hf.engines.server import ServerEngine
    from palign_hf.engines.transformers import TransformersEngine
    from palign_hf.engines.vllm import VLLMEngine

    local = {"revision": revision, "max_model_len": max_model_len, "trust_remote_code": trust_remote_code}
    engines: dict[str, tuple[Callable[..., Engine], dict[str, Any]]] = {
        "vllm": (VLLMEngine, local),
        "transformers": (TransformersEngine, local),
        # A server was started with its own revision and context; its answers are checked against the vocabulary.
        "server": (ServerEngine, {"vocabulary": vocabulary}),
    }
    maker, given = engines[_real(name, student, options)]
    return maker(student, **given, **options)
