"""The truncation stage: its recipe settings, and a run with its files and its report."""

import asyncio
import bisect
import glob
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config import check_folder, check_settings, folder_of, setting
from palign_hf.config.resolve import KnowsOldNames, Uncalled, uncalled
from palign_hf.data.layouts import check_named
from palign_hf.data.traces import read_traces
from palign_hf.errors import UserError
from palign_hf.hub.artifacts import DatasetArtifact, setting_name
from palign_hf.hub.publish import PushedStage
from palign_hf.hub.settings import HubSettings, check_push_setting, hub_setting, push_setting
from palign_hf.runs.claims import refuse_read
from palign_hf.runs.forecast import UNKNOWN_TIME, Forecast
from palign_hf.runs.shards import load_code
from palign_hf.runs.transform import TransformRun, costs, runner_arguments
from palign_hf.schema import PREFIXES, TRACES, check_table
from palign_hf.terminal import print_err
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, Case, Probe, SelfJudge
from palign_hf.truncation.report import ProbeUsage, Report
from palign_hf.truncation.rows import Ask, Searcher, open_row
from palign_hf.truncation.schedule import BlockCache
from palign_hf.truncation.search import Ascend, Prior, has_prior, make_search
from palign_hf.truncation.transform import PrefixTruncation, TruncationSettings


if TYPE_CHECKING:
    from datasets import Dataset


# Rows that are tokenized; the forecast extrapolates from them.
_SAMPLE = 200
# Neighbours in the sample get quantiles far from each other, and all of them together are spread evenly.
_GOLDEN = 0.6180339887498949


@dataclass
class _ForecastSums:
    """Sums over the sample."""

    trace_tokens: int = 0
    skipped: int = 0
    questions: int = 0
    computed: int = 0
    shown: int = 0

    def judge(self, ends: float) -> Ask:
        """Answers for a problem whose shortest sufficient prefix has that share of its tokens; above 1 it has none."""
        cache = BlockCache()

        async def ask(case: Case, cut: int) -> Probe:
            shared = case.head_tokens + case.tokens[cut]
            prompt = shared + case.suffix_tokens
            self.questions += 1
            self.shown += prompt
            computed = cache.ask(prompt, shared)
            self.computed += computed
            enough = case.tokens[cut] >= ends * case.tokens[-1]
            verdict, margin = (ENOUGH, 1.0) if enough else (NOT_ENOUGH, -1.0)
            return Probe(cut, verdict, margin, None, None, prompt, prompt - computed)

        return ask


def forecast(truncation: "PrefixTruncation", traces: "Dataset") -> Forecast:
    """Rows and tokens, and an estimate of what a prefix-caching engine has to compute."""
    search, settings = truncation.search, truncation.settings
    rows = len(traces)
    sample = traces.select(range(0, rows, -(-rows // _SAMPLE)))
    prior = search.prior if isinstance(search, Ascend) else Prior()
    # A user's own search or criterion is not called for a forecast calls no custom code, so its questions are unknown.
    own = next((one for one in (search, truncation.criterion) if isinstance(one, Uncalled)), None)
    known = own is None
    judge, sums = truncation.judge(), _ForecastSums()
    for at, source in enumerate(sample):
        row = open_row(judge, source, settings.granularity, settings.audit)
        if row.case is None or row.case.reach < 0:
            sums.skipped += 1
            continue
        sums.trace_tokens += row.case.tokens[-1]
        if search.judged and known:
            asyncio.run(Searcher(search, sums.judge(_ends(prior, (at + 1) * _GOLDEN % 1)))(row))
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    skipped = (
        f", {about}{round(sums.skipped * scale):,} of them empty or too long to be judged" if sums.skipped else ""
    )
    lines = [
        ("student", settings.student),
        ("search", search.name + (f"; result {truncation.fingerprint}" if known else "")),
        ("rows", f"{rows:,}{skipped}"),
        ("traces", f"{about}{round(sums.trace_tokens * scale):,} tokens"),
    ]
    runner = runner_arguments(settings)
    if not search.judged:
        lines.append(("computed", "nothing: this search asks no judge"))
        return Forecast(lines=tuple(lines), rows=rows, requests=0, prompt_tokens=0, written_tokens=0, runner=runner)
    if own is not None:
        lines.append(("computed", f"not known: `{own.name}` is your own, and `--dry-run` doesn't call it"))
        return Forecast(lines=tuple(lines), rows=rows, runner=runner)
    whose = "as in published data; a pilot is more precise" if prior == Prior() else "by the prior of this search"
    questions, computed = round(sums.questions * scale), round(sums.computed * scale)
    lines += [
        ("questions", f"about {questions:,} (an estimate, as the next line)"),
        (
            "computed",
            f"about {computed:,} prompt tokens with a prefix cache, if prefixes end at "
            f"{_mean(prior):.0%} of a trace on average, {whose}, and the judge doesn't waver",
        ),
        ("time", UNKNOWN_TIME),
        ("ledger", f"{truncation.ledger_path}: what it holds already isn't computed again"),
    ]
    # A label is read off one forward pass; a verdict in words is written, of which most are short.
    criterion = truncation.criterion
    verdict = criterion.max_tokens if isinstance(criterion, SelfJudge) and criterion.verdict == "generate" else 0
    return Forecast(
        lines=tuple(lines),
        rows=rows,
        requests=questions,
        prompt_tokens=computed,
        written_tokens=questions * -(-verdict // 4),
        most_written=questions * verdict,
        request_tokens=-(-sums.shown // max(1, sums.questions)),
        runner=runner,
    )


def _ends(prior: Prior, quantile: float) -> float:
    """The share at which a prefix of that quantile ends; above 1 where nothing suffices."""
    below = quantile / (1 - prior.never)
    if below > 1:
        return 2.0
    at = max(1, bisect.bisect_left([fraction for _, fraction in prior.knots], below))
    (low, start), (high, end) = prior.knots[at - 1], prior.knots[at]
    return low + (high - low) * (below - start) / (end - start) if end > start else high


def _mean(prior: Prior) -> float:
    """The mean of a prior: what its distribution leaves above each share, added up."""
    below = pairwise(prior.knots)
    return sum((high - low) * (1 - (start + end) / 2) for (low, start), (high, end) in below)


@dataclass(frozen=True, kw_only=True)
class TraceSettings(KnowsOldNames):
    """Where the teacher traces come from: the arguments of `load_traces`."""

    source: str = setting(help="Hub id, file, folder or glob of the teacher traces")
    known: str | None = setting(default=None, help="name of a known layout, if it isn't recognised")
    columns: dict[str, str] | None = setting(default=None, help="column map, as {question: problem}")
    source_name: str | None = setting(default=None, help="what to write in the `source` column")
    split: str | None = setting(default=None, help="split to read")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")
    max_samples: int | None = setting(default=None, least=1, help="read at most this many rows")
    content_ids: bool = setting(default=False, help="make ids from the content")

    def __post_init__(self) -> None:
        check_settings(self)
        check_named(self.columns or {}, self.known)


@dataclass(frozen=True, repr=False, kw_only=True)
class TruncateConfig(TruncationSettings):
    """Settings of a truncation recipe."""

    traces: TraceSettings = setting(help="where the teacher traces come from")
    output_dir: str | None = setting(
        default=None, help="folder for the prefixes and the report; else runs/STUDENT/prefixes", neutral=True
    )
    overwrite: bool = setting(default=False, help="write over the result of another run", neutral=True)
    push_to_hub: str | None = push_setting()
    hub: HubSettings = hub_setting()
    batch_size: int = setting(
        default=1000, least=1, help="rows that are written together, as a part that outlives a crash", neutral=True
    )
    pilot: int | None = setting(
        default=None, least=1, help="rows on which the prior of the search is estimated first, once for all processes"
    )
    pilot_seed: int = setting(default=0, help="which rows the pilot takes")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder("output_dir", self.output_dir or str(self.folder), written=True)
        refuse_read(self.folder, [self.traces.source, self.student])
        check_push_setting(self.push_to_hub)
        if self.pilot is not None:
            with uncalled():
                search = make_search(self.search)
            if not has_prior(search):
                raise UserError(
                    f"`pilot={self.pilot}` estimates a prior, and the search `{search.name}` has none. Leave `pilot` "
                    f"out, or take `search=ascend`."
                )

    @property
    def folder(self) -> Path:
        """Where the prefixes and the report go."""
        return folder_of(self.output_dir or f"runs/{Path(self.student).name.lower()}/prefixes")


class TruncateRun(TransformRun[PrefixTruncation, Report]):
    """One process's part: the transform, the traces, and the files. Nothing is loaded that needs an engine."""

    table = PREFIXES

    def __init__(self, config: TruncateConfig, shown: bool = True) -> None:
        """`shown` is whether this process may print: of several, only the first."""
        super().__init__(config)
        self.config = config
        given = {one.name: getattr(config, one.name) for one in fields(TruncationSettings)}
        given["progress"] = config.progress if shown else False
        self.transform = PrefixTruncation(**given)
        self.transform.check()
        self.rows = recipe_traces(config.traces, shown)
        self._asked_by_pilot = 0
        self._prior: dict[str, Any] | None = None
        # The pilot's prior will change the fingerprint; the rest of the identity is checked before it asks.
        self.opened(TRACES.columns, unknown=["fingerprint"] if config.pilot else ())

    def agree(self) -> dict[str, Any]:
        """The pilot's prior, and what all processes must have in common."""
        if self.config.pilot:
            self.output().mark()
            first = self.transform
            self.transform = first.with_pilot(self.rows, self.config.pilot, self.config.pilot_seed)
            self._asked_by_pilot = first.usage.asked
            self._prior = self.transform.describe()["search"]["prior"]
            self.output().claim(self.config.overwrite)
            self.timings.lap("pilot")
        return super().agree() | {"prior": self._prior}

    def adopt(self, agreed: Any) -> None:
        """Search with the prior of the first process's pilot."""
        if agreed["prior"] is not None:
            self.transform = self.transform.with_prior(Prior(**agreed["prior"]))

    def reported(self, files: list[Path], notes: list[dict[str, Any]], settings: dict[str, Any]) -> Report:
        """The report of the prefixes."""
        from datasets import load_dataset

        names = [glob.escape(str(file)) for file in files]
        prefixes: Any = load_dataset("parquet", data_files={"train": names}, split="train")
        return Report.of(prefixes, costs(ProbeUsage, notes, now_only=["asked"]), settings)

    def source(self) -> tuple[str, str | None]:
        """Where the traces come from."""
        return self.config.traces.source, self.config.traces.revision

    def words(self) -> list[str]:
        """Where the prefixes are."""
        folder = self.files.folder
        return [f"prefixes: {folder}  ({load_code(folder, 'train')})"]

    def spent(self) -> dict[str, Any]:
        """With what the pilot has asked, once."""
        usage = self.transform.take_usage() + ProbeUsage(asked=self._asked_by_pilot)
        self._asked_by_pilot = 0
        return dict(usage.as_dict())


class _PrefixesArtifact(DatasetArtifact):
    """PREFIXES on the Hub, named by their search."""

    def suffix(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of a configuration's default name after the student's."""
        return (setting_name(settings.get("search")) or self.kind,)


class TruncateStage(PushedStage):
    """`palign truncate`, and `recipes/truncate.py` under accelerate."""

    name = "truncate"
    help = "find the shortest sufficient prefix of each trace"
    settings = TruncateConfig
    reads, writes = TRACES, PREFIXES
    result, from_head = "prefixes", {"traces.max_samples": "max_samples"}
    artifact = _PrefixesArtifact(kind="prefixes", title="Prefixes", table=PREFIXES)

    def open(self, settings: TruncateConfig, shown: bool = True) -> TruncateRun:
        """Check everything, and read the traces."""
        return TruncateRun(settings, shown)

    def forecast(self, settings: TruncateConfig) -> Forecast:
        """What the run would do and cost; no engine is started and nothing is written."""
        with TruncateRun(settings) as run:
            return forecast(run.transform, run.rows)


TRUNCATE = TruncateStage()


def recipe_traces(settings: TraceSettings, shown: bool = True) -> "Dataset":
    """The traces that a recipe names; one line on stderr accounts for every row."""
    given = {name: value for name, value in vars(settings).items() if name != "source"}
    dataset, report = read_traces(settings.source, **given)
    if shown:
        print_err(report.summary())
    check_table(dataset, TRACES)
    return dataset
