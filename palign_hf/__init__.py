"""Prefix alignment for small reasoning students, native to Hugging Face.

    teacher traces -> TRACES -> PREFIXES -> PAIRS -> student -> numbers -> Hub

`load_traces` reads any teacher dataset into the TRACES table. `PrefixTruncation` maps it to PREFIXES: for each trace
the shortest prefix that the student itself judges sufficient. `PrefixAlignment` maps those to PAIRS: prefixes with the
student's own continuations, verified; `to_sft` and `to_dpo` make what trainers read, `baseline` the comparisons.
`PAlignTrainer` is TRL's `SFTTrainer` that distinguishes prefix and continuation. `StudentEvaluation` samples a
student on benchmarks, and `publish` pushes the folder of a run to the Hub. Names are resolved on first use, so
importing the package loads neither torch nor vllm.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any


_HOMES = {
    "PAIRS": "schema",
    "PAlignConfig": "training.config",
    "PAlignTrainer": "training.trainer",
    "PREFIXES": "schema",
    "PrefixAlignment": "alignment.transform",
    "PrefixTruncation": "truncation.transform",
    "SelfJudge": "truncation.criteria",
    "StudentEvaluation": "evaluation.transform",
    "StudentRunner": "generation.runner",
    "TRACES": "schema",
    "baseline": "data.baselines",
    "load_pairs": "data.pairs",
    "load_prefixes": "data.published",
    "load_traces": "data.traces",
    "publish": "hub.publish",
    "to_dpo": "data.views",
    "to_sft": "data.views",
}

__all__ = ["PAIRS", "PREFIXES", "TRACES"]
__all__ += [
    "PAlignConfig",
    "PAlignTrainer",
    "PrefixAlignment",
    "PrefixTruncation",
    "SelfJudge",
    "StudentEvaluation",
    "StudentRunner",
]
__all__ += ["baseline", "load_pairs", "load_prefixes", "load_traces", "publish", "to_dpo", "to_sft"]

if TYPE_CHECKING:
    __version__: str
    from palign_hf.alignment.transform import PrefixAlignment
    from palign_hf.data.baselines import baseline
    from palign_hf.data.pairs import load_pairs
    from palign_hf.data.published import load_prefixes
    from palign_hf.data.traces import load_traces
    from palign_hf.data.views import to_dpo, to_sft
    from palign_hf.evaluation.transform import StudentEvaluation
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.hub.publish import publish
    from palign_hf.schema import PAIRS, PREFIXES, TRACES
    from palign_hf.training.config import PAlignConfig
    from palign_hf.training.trainer import PAlignTrainer
    from palign_hf.truncation.criteria import SelfJudge
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
