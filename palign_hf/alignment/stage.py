"""The alignment stage: its recipe settings, and a run with its files and its report."""

import glob
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.alignment.report import AlignmentReport, comparable
from palign_hf.alignment.rows import sieved
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.alignment.transform import READ, PrefixAlignment
from palign_hf.config import check_folder, check_settings, folder_of, setting
from palign_hf.config.resolve import KnowsOldNames
from palign_hf.data.balance import surplus
from palign_hf.data.benchmarks import BENCHMARKS, check_benchmarks
from palign_hf.data.published import check_tags, read_prefixes
from palign_hf.errors import UserError
from palign_hf.generation.jobs import check_others, plain_rows
from palign_hf.generation.runner import StudentRunner
from palign_hf.generation.sampling import SamplingUsage
from palign_hf.generation.settings import fingerprint
from palign_hf.hub.artifacts import DatasetArtifact, RunFolder
from palign_hf.hub.plan import SPLIT, Item, view_items
from palign_hf.hub.publish import PushedStage
from palign_hf.hub.settings import HubSettings, check_push_setting, hub_setting, push_setting
from palign_hf.runs.claims import refuse_read
from palign_hf.runs.forecast import UNKNOWN_TIME, Forecast
from palign_hf.runs.report import Reasons
from palign_hf.runs.shards import load_code
from palign_hf.runs.transform import TransformRun, costs, runner_arguments
from palign_hf.schema import PAIRS, PREFIXES, check_table
from palign_hf.terminal import print_err


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


# Rows that are tokenized; the forecast extrapolates from them.
_SAMPLE = 200


def forecast(alignment: "PrefixAlignment", prefixes: "Dataset") -> Forecast:
    """Rows, prompts and the largest number of samples.

    A sample is expected to be as long as the rest of the trace, or a quarter of what it may be where that isn't known;
    with `sampling="first"` half of the samples are expected to be right.
    """
    rows = len(prefixes)
    sample = prefixes.select(range(0, rows, -(-rows // _SAMPLE)))
    prompts, prompt_tokens, room, expected = alignment.prompts(), 0, 0, 0
    statuses: Counter[str] = Counter()
    reasons = Reasons()
    for source in plain_rows(sample):
        row = alignment.open_row(prompts, source)
        statuses[row.status or "asked"] += 1
        if row.reason:
            reasons.add(row.reason)
        if row.beginning is not None:
            prompt_tokens += len(row.beginning.prompt)
            may = prompts.room(row.beginning)
            room += may
            expected += min(may, _rest(source) or -(-may // 4))
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    asked = round(statuses["asked"] * scale)
    settings, style = alignment.settings, alignment.settings.style
    most = asked * settings.n
    tags = f", tag_style `{style.name}`" if style is not None else ""
    left = "; ".join(f"{name.replace('_', ' ')} {round(count * scale):,}" for name, count in statuses.items())
    lines = [
        ("student", settings.student),
        ("mode", f"{settings.mode}{tags}; result {alignment.fingerprint}"),
        ("rows", f"{rows:,}: {about}{left}"),
        *(("", f"{about}{round(count * scale):,} x {reason}") for reason, count in reasons.counted().most_common()),
        (
            "samples",
            f"{'at least' if settings.sampling == 'first' else 'all'} "
            f"{asked if settings.sampling == 'first' else most:,}, at most {most:,}"
            + ("" if settings.fallback == "drop" else f", and more for fallbacks ({settings.fallback})"),
        ),
        ("prompts", f"{about}{round(prompt_tokens * scale):,} tokens; with a prefix cache each is read once"),
        (
            "written",
            f"at most {about}{round(room * scale):,} tokens a sample of each; about "
            f"{round(expected * scale):,} if each is as long as the rest of its trace",
        ),
        ("time", UNKNOWN_TIME),
        ("ledger", f"{alignment.ledger_path}: what it holds already isn't drawn again"),
    ]
    draws = 2 - 2.0 ** (1 - settings.n) if settings.sampling == "first" else settings.n
    return Forecast(
        lines=tuple(lines),
        rows=rows,
        requests=round(asked * draws),
        prompt_tokens=round(prompt_tokens * scale),
        written_tokens=round(expected * scale * draws),
        most_written=round(room * scale) * settings.n,
        request_tokens=-(-(prompt_tokens + expected) // max(1, statuses["asked"])),
        runner=runner_arguments(settings),
    )


def forecast_after(settings: "AlignConfig", before: Forecast) -> Forecast:
    """The most that an alignment takes, before its prefixes are there.

    Args:
        settings ([`AlignConfig`]): The settings.
        before ([`Forecast`]): The forecast of the truncation: a prefix is taken to be as long as one of its requests.
    """
    runner = runner_arguments(settings)
    room = settings.max_tokens or settings.max_model_len or StudentRunner(**runner).max_model_len
    requests, expected = before.rows * settings.n, -(-room // 4)
    prompt = before.request_tokens
    return Forecast(
        lines=(("samples", f"at most {requests:,}, of at most {room:,} tokens"), ("time", UNKNOWN_TIME)),
        rows=before.rows,
        requests=requests,
        prompt_tokens=before.rows * prompt,
        written_tokens=requests * expected,
        most_written=requests * room,
        request_tokens=prompt + expected,
        runner=runner,
    )


def _rest(source: Mapping[str, Any]) -> int | None:
    """Tokens of the trace behind the prefix, where both are known."""
    whole, kept = source.get("trace_tokens"), source.get("prefix_tokens")
    return None if whole is None or kept is None else max(1, whole - kept)


@dataclass(frozen=True, kw_only=True)
class PrefixSettings(KnowsOldNames):
    """Where the prefixes come from: the arguments of `load_prefixes`."""

    source: str = setting(help="folder that a truncation has written, Hub id or file of published prefixes")
    split: str | None = setting(default=None, help="split to read")
    config: str | None = setting(default=None, help="configuration of a Hub dataset")
    revision: str | None = setting(default=None, help="revision of a Hub dataset")
    tag_style: str | None = setting(default=None, help="tags around published prefixes, if they aren't recognised")
    max_samples: int | None = setting(default=None, least=1, help="read at most this many rows")

    def __post_init__(self) -> None:
        check_settings(self)
        check_tags(self.tag_style)


@dataclass(frozen=True, kw_only=True)
class BalanceSettings(KnowsOldNames):
    """How the kept pairs are balanced: the filter skews what is trained on."""

    per: str | None = setting(default=None, help="column whose values are balanced, such as source")
    cap: int | None = setting(
        default=None, least=1, help="most kept pairs of one value; else as many as the rarest value has"
    )
    seed: int = setting(default=0, help="which pairs stay")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.per is None and self.cap is not None:
            raise UserError(f"`cap={self.cap}` is a cap for each value of a column: name it with `per=source`.")


@dataclass(frozen=True, repr=False, kw_only=True)
class AlignConfig(AlignmentSettings):
    """Settings of an alignment recipe."""

    prefixes: PrefixSettings = setting(help="where the prefixes come from")
    balance: BalanceSettings = setting(default_factory=BalanceSettings, help="how the kept pairs are balanced")
    decontaminate: tuple[str, ...] = setting(
        default=(), help="benchmarks whose questions are left out: " + ", ".join(BENCHMARKS)
    )
    benchmarks: dict[str, str] = setting(
        default_factory=dict, help="local copies of benchmarks, as {AIME25: folder}; else they are loaded from the Hub"
    )
    drop_duplicates: bool = setting(default=False, help="leave out problems whose question repeats another one's")
    output_dir: str | None = setting(
        default=None, help="folder for the pairs and the report; else runs/STUDENT/pairs", neutral=True
    )
    overwrite: bool = setting(default=False, help="write over the result of another run", neutral=True)
    push_to_hub: str | None = push_setting()
    hub: HubSettings = hub_setting()
    batch_size: int = setting(
        default=1000, least=1, help="rows that are written together, as a part that outlives a crash", neutral=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder("output_dir", self.output_dir or str(self.folder), written=True)
        check_push_setting(self.push_to_hub)
        refuse_read(self.folder, [self.prefixes.source, self.student, *map(str, self.benchmarks.values())])
        check_benchmarks(self.decontaminate, self.benchmarks)

    @property
    def carried(self) -> tuple[str, ...]:
        """The columns that pairs carry: those of `carry`, and the one that is balanced."""
        per = self.balance.per
        return self.carry if per is None or per in (*PAIRS.columns, *self.carry) else (*self.carry, per)

    @property
    def folder(self) -> Path:
        """Where the pairs and the report go."""
        return folder_of(self.output_dir or f"runs/{Path(self.student).name.lower()}/pairs")


class AlignRun(TransformRun[PrefixAlignment, AlignmentReport]):
    """One process's part: the transform, the prefixes, and the files. Nothing is loaded that needs an engine."""

    table = PAIRS

    def __init__(self, config: AlignConfig, shown: bool = True) -> None:
        """`shown` is whether this process may print: of several, only the first."""
        super().__init__(config)
        self.config = config
        given = {one.name: getattr(config, one.name) for one in fields(AlignmentSettings)}
        given |= {"carry": config.carried, "progress": config.progress if shown else False}
        self.transform = PrefixAlignment(**given)
        self.transform.check()
        self.rows = recipe_prefixes(config.prefixes, config.carried, shown, config.balance.per)
        self._left_out: dict[str, str] | None = None
        self.opened(dict.fromkeys((*READ, *config.carried)), unknown=["left_out"])

    def identity(self) -> dict[str, Any]:
        """With what was left out and how pairs are balanced."""
        balance = self.config.balance
        chosen = {"left_out": None if self._left_out is None else fingerprint(self._left_out)}
        if balance.per is not None:
            chosen["balance"] = fingerprint(vars(balance))
        return super().identity() | chosen

    def agree(self) -> dict[str, Any]:
        """What is left out, and what all processes must have in common."""
        self._left_out = self.sieved()
        self.output().claim(self.config.overwrite)
        self.timings.lap("sieving")
        return super().agree() | {"left_out": self._left_out}

    def adopt(self, agreed: Any) -> None:
        """Leave out what the first process does."""
        self._left_out = agreed["left_out"]
        self.transform.leave_out(agreed["left_out"])

    def splits(self, count: int) -> "Mapping[str, Callable[[pa.Table], pa.Table]]":
        """Kept pairs are for training; what was rejected, left out or failed has a split of its own."""
        import pyarrow.compute as pc

        surplus = self._surplus(count)

        def settled(table: "pa.Table") -> "pa.Table":
            return _rejected(table, surplus) if surplus else table

        return {
            "train": lambda table: settled(table).filter(pc.field("status") == "kept"),
            "rejected": lambda table: settled(table).filter(pc.field("status") != "kept"),
        }

    @property
    def schema(self) -> "pa.Schema":
        """The columns of the result, the carried ones with the types they have."""
        return self.transform.schema(self.rows.features.arrow_schema)

    def reported(self, files: list[Path], notes: list[dict[str, Any]], settings: dict[str, Any]) -> AlignmentReport:
        """The report of the pairs, kept or not."""
        from datasets import load_dataset

        names = [glob.escape(str(file)) for file in files]
        pairs: Any = load_dataset("parquet", data_files={"pairs": names}, split="pairs")
        usage = costs(SamplingUsage, notes, now_only=["asked", "asked_tokens"])
        balance = self.config.balance
        settings |= {"balance": vars(balance)} if balance.per is not None else {}
        chosen = {
            "decontaminate": list(self.config.decontaminate),
            "drop_duplicates": self.config.drop_duplicates,
        }
        return AlignmentReport.of(pairs, usage, settings | chosen, by=comparable(pairs, self.config.carried))

    def source(self) -> tuple[str, str | None]:
        """Where the prefixes come from."""
        return self.config.prefixes.source, self.config.prefixes.revision

    def words(self) -> list[str]:
        """Where the pairs are."""
        folder, kept = self.files.folder, self.report.pairs
        how = f"{load_code(folder, 'train')}; what isn't kept: 'rejected'"
        return [
            f"pairs:    {folder}  ({how if kept else 'none was kept, so there is no split `train`: see `rejected`'})"
        ]

    def sieved(self) -> dict[str, str]:
        """Problems that aren't asked, with their reasons."""
        config = self.config
        return sieved(self.rows, config.decontaminate, config.benchmarks, config.drop_duplicates)

    def _surplus(self, count: int) -> "dict[tuple[str, int], str]":
        """Kept pairs over the cap, by id and sample, each with the reason."""
        per, cap = self.config.balance.per, self.config.balance.cap
        if per is None:
            return {}
        kept = [
            row
            for table in self.output().tables(count, ["id", "sample", "status", per])
            for row in table.to_pylist()
            if row["status"] == "kept"
        ]
        keys = [(row["id"], row["sample"]) for row in kept]
        over = surplus([row[per] for row in kept], keys, per, cap, self.config.balance.seed)
        return {keys[at]: reason for at, reason in over.items()}


class _PairsArtifact(DatasetArtifact):
    """PAIRS on the Hub, named by their mode, with a view of the kept ones for other trainers."""

    def suffix(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of a configuration's default name after the student's."""
        return (self.kind, str(settings.get("mode", "")))

    def extra_files(self, run: RunFolder, config: str) -> list[Item]:
        """The view of the kept pairs."""
        return view_items(config, run.shards.get(SPLIT, {}), run.settings)


class AlignStage(PushedStage):
    """`palign align`, and `recipes/align.py` under accelerate."""

    name = "align"
    help = "continue each prefix with the student, and keep the verified samples"
    settings = AlignConfig
    reads, writes = PREFIXES, PAIRS
    result, inputs, usual = "pairs", {"prefixes.source": "truncate"}, {"prefixes.split": "train"}
    artifact = _PairsArtifact(kind="pairs", title="Pairs", table=PAIRS)

    def open(self, settings: AlignConfig, shown: bool = True) -> AlignRun:
        """Check everything, and read the prefixes."""
        return AlignRun(settings, shown)

    def forecast(self, settings: AlignConfig) -> Forecast:
        """What the run would do and cost; no engine is started and nothing is written."""
        with AlignRun(settings) as run:
            run.adopt({"left_out": run.sieved()})
            return forecast(run.transform, run.rows)

    def forecast_after(self, settings: AlignConfig, before: Forecast) -> Forecast:
        """The most that the run takes, before the prefixes are there."""
        return forecast_after(settings, before)


ALIGN = AlignStage()


def recipe_prefixes(
    settings: PrefixSettings, carry: tuple[str, ...] = (), shown: bool = True, per: str | None = None
) -> "Dataset":
    """The prefixes that a recipe names; one line on stderr accounts for every row of a published set."""
    dataset, account = read_prefixes(
        settings.source,
        split=settings.split,
        config=settings.config,
        revision=settings.revision,
        tag_style=settings.tag_style,
        max_samples=settings.max_samples,
    )
    if shown and account is not None:
        print_err(account.summary())
    # A null concerns its row alone, which gets a reason.
    check_table(dataset, PREFIXES, filled=["id"])
    if per is not None and per not in PAIRS.columns:
        check_others(dataset.column_names, [per], "balance.per")
    check_others(dataset.column_names, carry)
    return dataset


def _rejected(table: "pa.Table", surplus: "Mapping[tuple[str, int], str]") -> "pa.Table":
    """The table with pairs over the cap as rejected ones."""
    import pyarrow as pa

    names = zip(table["id"].to_pylist(), table["sample"].to_pylist(), strict=True)
    over = [surplus.get(key) for key in names]
    status = ["rejected" if why else was for why, was in zip(over, table["status"].to_pylist(), strict=True)]
    reason = [why or was for why, was in zip(over, table["reason"].to_pylist(), strict=True)]
    for name, values in (("status", status), ("reason", reason)):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, type=table.schema.field(at).type))
    return table
