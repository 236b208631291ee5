"""What a training is told, declared once: the keys of a recipe, the options of the command and the table of the docs.

How the trainer itself is set is the section `training`: every field of `PAlignConfig`, by its own name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config import check_folder, check_settings, folder_of, setting
from palign_hf.errors import UserError
from palign_hf.hub.settings import HubSettings, check_push_setting, hub_setting, push_setting
from palign_hf.pairs.targets import BASELINES, Baseline, make_baseline


if TYPE_CHECKING:
    from palign_hf.training.config import PAlignConfig


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Where the pairs come from: the arguments of `load_pairs`."""

    source: str = setting(help="folder that an alignment has written, Hub id or file of PAIRS")
    split: str = setting(default="train", help="split to train on")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")
    limit: int | None = setting(default=None, least=1, help="read only so many rows")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class TracedSettings:
    """Where the traces of these pairs are, for baselines that are made of them."""

    source: str = setting(help="folder that a truncation has written, or another table with `id` and `trace`")
    split: str | None = setting(default=None, help="split to read")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """An adapter instead of all weights; without this section all of them are trained."""

    r: int = setting(default=16, least=1, help="rank of the adapter's matrices")
    alpha: int = setting(default=16, least=1, help="scale of what they add, over their rank")
    dropout: float = setting(default=0.05, least=0, below=1, help="share of their input that is left out at random")
    target_modules: str | tuple[str, ...] = setting(default="all-linear", help="which layers get one")
    merge: bool = setting(default=False, help="write the student with the adapter in it as well, to output/merged")

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.target_modules:
            raise UserError("`target_modules=[]` leaves no layer to train. Name some, or take `all-linear`.")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Everything a training recipe may say."""

    pairs: PairSettings = setting(help="where the pairs come from")
    student: str = setting(help="the student: name of a model on the Hub, or a folder")
    revision: str | None = setting(default=None, help="branch, tag or commit of a Hub student")
    output: str | None = setting(default=None, help="folder for the trained student; else runs/STUDENT/student")
    replace: bool = setting(default=False, help="write over the result of another run")
    push_to_hub: str | None = push_setting()
    hub: HubSettings = hub_setting()
    baseline: str | dict[str, Any] | Baseline = setting(
        default="p-align", help="what is learned of each pair: " + ", ".join(BASELINES)
    )
    prefixes: TracedSettings | None = setting(
        default=None, help="where the traces are, for baselines that are made of them"
    )
    budget: int | None = setting(default=None, least=1, help="most tokens of all targets together")
    per_problem: int | None = setting(
        default=1, least=1, help="kept samples of a problem that are learned; null takes all"
    )
    eval: float | str | None = setting(
        default=None,
        above=0,
        below=1,
        help="what is measured without being learned: a share of the problems, or a split of the source",
    )
    lora: LoraSettings | None = setting(default=None, help="train an adapter; null trains all weights")
    training: dict[str, Any] = setting(
        default_factory=dict, help="fields of PAlignConfig, as {learning_rate: 5e-5, max_length: 8192}"
    )
    stops: int = setting(
        default=8, least=0, help="prompts that the trained student replies to, to see whether it stops; 0 asks none"
    )
    stops_tokens: int = setting(default=2048, least=1, help="tokens after which such a reply counts as endless")
    trust_remote_code: bool = setting(default=False, help="run code that comes with the student")

    def __post_init__(self) -> None:
        check_settings(self)
        kind = make_baseline(self.baseline)
        object.__setattr__(self, "baseline", kind)
        if kind.text == "trace" and self.prefixes is None:
            raise UserError(
                f"`baseline={kind}` is made of the teacher's traces, which PAIRS don't repeat. Say where they are "
                f"with `prefixes.source`, as `runs/STUDENT/prefixes`."
            )
        if kind.name != "p-align" and self.per_problem != 1:
            raise UserError(
                f"`per_problem={self.per_problem}`: only `p-align` learns more than one sample of a problem. Leave it "
                f"out for `{kind.name}`."
            )
        if isinstance(self.eval, str) and self.eval == self.pairs.split:
            raise UserError(
                f"`eval={self.eval!r}` is the split that is learned. Name another one, or give a share as 0.05."
            )
        from palign_hf.training.arguments import checked

        object.__setattr__(self, "training", checked(self.training))
        check_folder("output", self.output or str(self.folder), written=True)
        check_push_setting(self.push_to_hub)
        if self.push_to_hub is not None and self.training.get("push_to_hub"):
            raise UserError(
                f"`push_to_hub={self.push_to_hub}` pushes the student when it is trained, and "
                f"`training.push_to_hub=True` lets the trainer push while it trains: they would write over each "
                f"other. Leave one of them out."
            )

    @property
    def folder(self) -> Path:
        """Where the student and the report go."""
        return folder_of(self.output or f"runs/{Path(self.student).name.lower()}/student")

    @property
    def kind(self) -> Baseline:
        """The baseline as it was made when this was."""
        return make_baseline(self.baseline)

    @cached_property
    def planned(self) -> "PAlignConfig":
        """The trainer's settings as any machine has them: for what is said beforehand."""
        from palign_hf.training.arguments import planned

        return planned(self.training)

    def arguments(self, commit: str | None) -> "PAlignConfig":
        """The trainer's settings on this machine; what it can't do is refused in words."""
        from palign_hf.training.arguments import arguments

        given: Mapping[str, Any] = self.training | {
            "output_dir": str(self.folder),
            "trust_remote_code": self.trust_remote_code,
        }
        return arguments(given, commit)
