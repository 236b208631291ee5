"""Settings of `palign train`: keys of a recipe, options of the command, and the table of the docs.

The section `training` holds fields of `PAlignConfig`, by their own names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config import check_folder, check_settings, folder_of, setting
from palign_hf.config.resolve import KnowsOldNames
from palign_hf.data.pairs import BASELINES, Baseline, make_baseline
from palign_hf.errors import UserError
from palign_hf.hub.settings import HubSettings, check_push_setting, hub_setting, push_setting


if TYPE_CHECKING:
    from peft import LoraConfig

    from palign_hf.training.config import PAlignConfig


@dataclass(frozen=True, kw_only=True)
class PairSettings(KnowsOldNames):
    """The rows to train on: PAIRS, by the arguments of `load_pairs`, or another layout that `PAlignTrainer` takes."""

    source: str = setting(
        help="folder of an alignment, Hub id or file: PAIRS, or rows of any layout that PAlignTrainer takes"
    )
    split: str = setting(default="train", help="split to train on")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")
    max_samples: int | None = setting(default=None, least=1, help="maximum number of rows that are read")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class TracedSettings(KnowsOldNames):
    """The table with the traces of the pairs, for baselines made from them."""

    source: str = setting(help="folder of a truncation, or another table with `id` and `trace`")
    split: str | None = setting(default=None, help="split to read")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class LoraSettings(KnowsOldNames):
    """A LoRA adapter; without this section all weights are trained."""

    r: int = setting(default=16, least=1, help="rank of the adapter's matrices")
    alpha: int = setting(
        default=16, least=1, help="scaling numerator of the adapter: its output is scaled by alpha / r"
    )
    dropout: float = setting(default=0.05, least=0, below=1, help="dropout probability of the adapter's input")
    target_modules: str | tuple[str, ...] = setting(default="all-linear", help="layers that get an adapter")
    merge: bool = setting(
        default=False, help="also write the student with the adapter merged into its weights, to output/merged"
    )

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.target_modules:
            raise UserError("`target_modules=[]` leaves no layer to train. Name some layers, or use `all-linear`.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(KnowsOldNames):
    """The settings of a training."""

    pairs: PairSettings = setting(help="the rows to train on")
    student: str = setting(help="the student: Hub id of a model, or a folder")
    revision: str | None = setting(default=None, help="branch, tag or commit of a Hub student")
    output_dir: str | None = setting(
        default=None, help="folder of the student; default: runs/STUDENT/student", neutral=True
    )
    overwrite: bool = setting(default=False, help="overwrite the result of another run", neutral=True)
    push_to_hub: str | None = push_setting()
    hub: HubSettings = hub_setting()
    baseline: str | dict[str, Any] | Baseline = setting(
        default="p-align", help="training target of each pair: " + ", ".join(BASELINES)
    )
    prefixes: TracedSettings | None = setting(default=None, help="table with the traces, for baselines made from them")
    budget: int | None = setting(default=None, least=1, help="maximum tokens of all targets together")
    per_problem: int | None = setting(default=1, least=1, help="kept samples per problem of PAIRS; null takes all")
    eval: float | str | None = setting(
        default=None,
        above=0,
        below=1,
        help="held-out rows to evaluate on: a share of the problems, or a split of the source",
    )
    lora: LoraSettings | None = setting(default=None, help="train an adapter; null trains all weights")
    training: dict[str, Any] = setting(
        default_factory=dict, help="fields of PAlignConfig, as {learning_rate: 5e-5, max_length: 8192}"
    )
    stops: int = setting(
        default=8,
        least=0,
        help="prompts that the trained student replies to, to check that it stops; 0 skips the check",
        neutral=True,
    )
    stops_tokens: int = setting(default=2048, least=1, help="maximum tokens of such a reply", neutral=True)
    trust_remote_code: bool = setting(default=False, help="run code from the student's repository", neutral=True)

    def __post_init__(self) -> None:
        check_settings(self)
        kind = make_baseline(self.baseline)
        object.__setattr__(self, "baseline", kind)
        if kind.text == "trace" and self.prefixes is None:
            raise UserError(
                f"`baseline={kind}` is made from the teacher's traces, which PAIRS don't hold. Set `prefixes.source` "
                f"to their table, as `runs/STUDENT/prefixes`."
            )
        if kind.name != "p-align" and self.per_problem != 1:
            raise UserError(
                f"`per_problem={self.per_problem}`: only `p-align` trains on several samples of a problem. Leave it "
                f"out for `{kind.name}`."
            )
        if isinstance(self.eval, str) and self.eval == self.pairs.split:
            raise UserError(
                f"`eval={self.eval!r}` is the split to train on. Name another one, or give a share as 0.05."
            )
        from palign_hf.training.arguments import checked

        object.__setattr__(self, "training", checked(self.training))
        check_folder("output_dir", self.output_dir or str(self.folder), written=True)
        check_push_setting(self.push_to_hub)
        if self.push_to_hub is not None and self.training.get("push_to_hub"):
            raise UserError(
                f"`push_to_hub={self.push_to_hub}` pushes the student after training, and "
                f"`training.push_to_hub=True` pushes it during training: they would overwrite each other. Leave one "
                f"of them out."
            )

    @property
    def folder(self) -> Path:
        """The folder of the student and its report."""
        return folder_of(self.output_dir or f"runs/{Path(self.student).name.lower()}/student")

    def deciding_training(self) -> dict[str, Any]:
        """The fields of `training` that can change the student."""
        from palign_hf.training.arguments import decides

        return {name: value for name, value in self.training.items() if decides(name)}

    @property
    def kind(self) -> Baseline:
        """The baseline as an object."""
        return make_baseline(self.baseline)

    @cached_property
    def planned(self) -> "PAlignConfig":
        """The trainer's settings on any machine, for a dry run."""
        from palign_hf.training.arguments import planned

        return planned(self.training)

    def arguments(self, commit: str | None) -> "PAlignConfig":
        """The trainer's settings on this machine.

        Raises:
            UserError: If the machine can't carry them out.
        """
        from palign_hf.training.arguments import arguments

        given: Mapping[str, Any] = self.training | {
            "output_dir": str(self.folder),
            "trust_remote_code": self.trust_remote_code,
        }
        return arguments(given, commit)


def adapter(settings: LoraSettings) -> "LoraConfig":
    """The section `lora` as a `LoraConfig` of peft."""
    from peft import LoraConfig

    layers = settings.target_modules
    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=layers if isinstance(layers, str) else list(layers),
        task_type="CAUSAL_LM",
    )
