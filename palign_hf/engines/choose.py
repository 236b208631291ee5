"""Engine selection by name and options. `auto` is vLLM where it is installed, else transformers.

Options concern the engine (memory share, URLs): they change its speed, not its requests. The few that change the
student's numbers (`altering`) are part of the fingerprint.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from palign_hf.engines.base import Engine
from palign_hf.engines.options import check_options
from palign_hf.errors import UserError, listed, nearest


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


def _real(name: str) -> str:
    """Resolve `auto`."""
    from palign_hf.engines.vllm import installed

    return name if name != "auto" else "vllm" if installed() else "transformers"


def spawns(name: str) -> bool:
    """Whether this engine starts processes that import the running script."""
    from palign_hf.engines.vllm import installed

    return name == "vllm" or (name == "auto" and installed())


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
    maker, given = engines[_real(name)]
    return maker(student, **given, **options)
