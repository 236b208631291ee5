"""Prefix alignment for small reasoning students, native to Hugging Face.

    teacher traces -> TRACES -> PREFIXES -> PAIRS -> student -> numbers -> Hub

`load_traces` reads any teacher dataset into the TRACES table, `PrefixTruncation` maps it to PREFIXES: for each trace
the shortest prefix that the student itself judges sufficient. `PrefixAlignment` maps those to PAIRS: prefixes with the
student's own continuations, verified; `to_sft` is what trainers read. `PAlignTrainer` is TRL's `SFTTrainer` that knows
the prefix from the continuation. The stages after it are still to come; they borrow what these are built on: `asking`
(a student at work), `runs` (one run of one stage), `config` (settings declared once). Names are resolved on first use,
so that importing the package costs neither torch nor vllm.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


_HOMES = {
    "PAIRS": "schema",
    "PAlignConfig": "training.config",
    "PAlignTrainer": "training.trainer",
    "PrefixAlignment": "alignment.transform",
    "PREFIXES": "schema",
    "PrefixTruncation": "truncation.transform",
    "StudentRunner": "generation.runner",
    "TRACES": "schema",
    "check": "schema",
    "load_prefixes": "data.published",
    "load_traces": "data.traces",
    "to_sft": "data.views",
}

__all__ = ["PAIRS", "PREFIXES", "TRACES", "PAlignConfig", "PAlignTrainer", "PrefixAlignment", "PrefixTruncation"]
__all__ += ["StudentRunner", "check", "load_prefixes", "load_traces", "to_sft"]

if TYPE_CHECKING:
    __version__: str
    from palign_hf.alignment.transform import PrefixAlignment
    from palign_hf.data.published import load_prefixes
    from palign_hf.data.traces import load_traces
    from palign_hf.data.views import to_sft
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.schema import PAIRS, PREFIXES, TRACES, check
    from palign_hf.training.config import PAlignConfig
    from palign_hf.training.trainer import PAlignTrainer
    from palign_hf.truncation.transform import PrefixTruncation


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'palign_hf' has no attribute {name!r}; it offers {', '.join(sorted(_HOMES))}")
    return getattr(import_module(f"palign_hf.{_HOMES[name]}"), name)


def _version() -> str:
    """The installed version, read on demand: that takes half the time of importing this package."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("palign-hf")
    except PackageNotFoundError:  # a source tree that was never installed
        return "0.0.0+source"


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
