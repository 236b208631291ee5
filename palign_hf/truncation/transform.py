"""`PrefixTruncation`: prefix truncation, TRACES -> PREFIXES, as a `datasets` map transform.

It hashes by what changes the result (student and commit, prompts, criterion, search, segmentation) and nothing else,
so the cache of `datasets` is right whether or not an engine runs, and across processes. `map` keeps nothing of a run
that breaks; the ledger does, so the same call again continues where it stopped.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
from datasets import Dataset

from palign_hf import segmentation
from palign_hf.config import setting
from palign_hf.config.resolve import uncalled
from palign_hf.errors import UserError
from palign_hf.generation.jobs import columns_of, in_order, rows_of
from palign_hf.generation.settings import AskingSettings, changed_by, fingerprint
from palign_hf.generation.transform import StudentTransform, takes
from palign_hf.schema import PREFIXES, TRACES, check_table
from palign_hf.segmentation import Granularity
from palign_hf.students import Student
from palign_hf.truncation.criteria import Case, Criterion, Judge, NoJudge, Probe, make_criterion
from palign_hf.truncation.report import ProbeUsage, Report
from palign_hf.truncation.rows import PROBES, Searcher, TruncationRow, open_row, prefix_columns
from palign_hf.truncation.search import Ascend, Prior, Search, make_search


@dataclass(frozen=True, repr=False, kw_only=True)
class TruncationSettings(AskingSettings):
    """Search, criterion and segmentation of a truncation, with the student and the engine."""

    search: str | dict[str, Any] | Search = setting(
        default="ascend",
        help="ascend, binary (the paper's), linear, every, fixed(ratio=0.25), full, none, or module:name of your own",
    )
    criterion: str | dict[str, Any] | Criterion | None = setting(
        default=None,
        help="what sufficient means: self-judge (the default), {name: self-judge, verdict: generate, template: FILE}, "
        "or module:name of your own",
    )
    granularity: Granularity = setting(
        default="sentence", help="how traces are segmented; legacy as the published code"
    )
    audit: float = setting(
        default=0.0,
        least=0.0,
        most=1.0,
        help="share of problems whose whole curve is judged, to measure the judge",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        with uncalled():  # the transform makes those of the user's own, once
            make_search(self.search)
            make_criterion(self.criterion)


# Raised when the same settings may give other rows than before.
TRANSFORM_VERSION = 1


@dataclass(frozen=True)
class TruncationIdentity:
    """Everything that can change a row of the result, and nothing else."""

    student: Student
    criterion: Criterion
    search: Search
    granularity: str
    max_model_len: int | None
    audit: float
    altered: Mapping[str, Any] = field(default_factory=dict)  # engine options that change the student's numbers
    changed_by: Mapping[str, Any] = field(default_factory=dict)  # what a subclass of the transform changes

    def describe_judge(self) -> dict[str, Any]:
        """What decides a margin at a cut."""
        return {
            "student": self.student.identity,
            "criterion": self.criterion.describe(),
            "segmentation": {"granularity": self.granularity, "version": segmentation.VERSION},
            "context": self.max_model_len,
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }

    def describe(self) -> dict[str, Any]:
        """What decides a row."""
        return self.describe_judge() | {
            "search": self.search.describe(),
            "audit": self.audit,
            "schema": PREFIXES.version,
            "transform": TRANSFORM_VERSION,
        }

    @property
    def judge_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_judge())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())


class PrefixTruncation(StudentTransform[Probe, ProbeUsage]):
    """Cut each trace to the shortest prefix that the student itself judges sufficient.

    Use it with `datasets.Dataset.map(..., batched=True)`. Close it, or use it in a `with` block, to give back memory
    and processes. The fingerprint depends on student, criterion, search, granularity, context, audit, and on engine
    options that change the student's numbers, such as `dtype`. `engine` may be a `StudentRunner`, whose engine several
    stages share; its owner closes it.

    Args:
        {settings}

    Returns:
        PREFIXES rows, one for each row of the TRACES batch, when it is called with one; other columns are kept.

    Example:

    ```python
    from palign_hf import PrefixTruncation, load_traces

    traces = load_traces("palign-toy", split="test", max_samples=8)
    with PrefixTruncation("palign-toy", engine="transformers", search="binary") as truncation:
        prefixes = traces.map(truncation, batched=True, batch_size=1000)
        print(truncation.report(prefixes).text())
    ```
    """

    settings: TruncationSettings
    search: Search
    criterion: Criterion
    declared, answers, counters, verb = TruncationSettings, PROBES, ProbeUsage, "truncating"
    resolved = StudentTransform.resolved | {"search", "criterion"}
    advice = "Make another one; `with_search` makes one that asks the same judge."

    @takes(TruncationSettings)
    def __init__(self, settings: TruncationSettings) -> None:
        self.search, self.criterion = make_search(settings.search), make_criterion(settings.criterion)
        super().__init__(settings)

    def __call__(self, batch: Mapping[str, Any]) -> "pa.Table | dict[str, list[Any]]":
        """PREFIXES rows of a batch of TRACES rows; other columns are passed through.

        A batch of a `Dataset` comes back as an Arrow table with the exact types, one of plain lists as plain lists,
        for streaming datasets.
        """
        given = columns_of(batch, TRACES, TRACES.columns, "PrefixTruncation")
        sources = list(rows_of(given))
        found = list(self._found(sources, len(sources)))
        columns = {name: given.get(name) or [row[name] for row in found] for name in PREFIXES.columns}
        others = [name for name in batch if name not in PREFIXES.columns]
        table: pa.Table | None = getattr(batch, "pa_table", None)
        if table is None:
            return columns | {name: list(batch[name]) for name in others}
        # Explicit types: `map` would guess wrong from a first batch of nulls.
        types = PREFIXES.features.arrow_schema
        arrays = {name: pa.array(values, type=types.field(name).type) for name, values in columns.items()}
        return pa.table(arrays | {name: table.column(name) for name in others})

    def groups(
        self, rows: Iterable[Mapping[str, Any]], count: int | None = None
    ) -> Iterator[Sequence[dict[str, Any]]]:
        """One row of PREFIXES for each trace."""
        for source, found in self._pairs(rows, count):
            yield [{name: source[name] for name in TRACES.columns} | found]

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""
        return self._identity.fingerprint

    def describe(self) -> dict[str, Any]:
        """The description that the fingerprint is made of, for reports and cards."""
        return self._identity.describe() | {"student_name": self._identity.student.name}

    def report(self, prefixes: Dataset) -> Report:
        """Counts, ratios and warnings, measured on the result; with the costs of what this object has run.

        Args:
            prefixes (`Dataset`):
                The result of `map`.

        Returns:
            `Report`: `text()` for a terminal, `page()` as Markdown, `as_dict()` as plain data.
        """
        return Report.of(prefixes, self._usage, self.describe() | {"fingerprint": self.fingerprint})

    def check(self) -> None:
        """Refuse what can't work with this student (context, prompts, labels) before an engine is loaded."""
        if self.search.judged:
            self._runner.check()
        self.judge()

    def judge(self) -> Judge:
        """The criterion bound to this student: its prompts and their tokens at any cut; no engine is needed."""
        tokenizer, name = self._runner.tokenizer, self._identity.student.name
        if not self.search.judged:
            return NoJudge(tokenizer, name)
        return self.criterion.bind(tokenizer, name, self._max_model_len)

    def with_pilot(self, traces: Dataset, rows: int = 200, seed: int = 0) -> "PrefixTruncation":
        """The same transform with its search's prior estimated on `rows` seeded rows of these traces.

        The prior becomes part of the search, and so of the fingerprint: no row depends on which rows came before.
        What the pilot asked stays in the ledger and isn't asked again.

        Args:
            traces (`Dataset`):
                A TRACES table.
            rows (`int`, defaults to `200`):
                Rows of the pilot.
            seed (`int`, defaults to `0`):
                Chooses them.

        Returns:
            `PrefixTruncation`: A copy with the prior in its search; it shares this one's engine and ledger.
        """
        search = self.search
        if not isinstance(search, Ascend):
            raise UserError(f"The search `{search.name}` has no prior: a pilot is of use to `ascend` only.")
        if rows < 1:
            raise UserError(f"`rows={rows}` must be at least 1.")
        check_table(traces, TRACES)
        chosen = sorted(random.Random(seed).sample(range(len(traces)), min(rows, len(traces))))
        sample = traces.with_format(None).select_columns(list(TRACES.columns)).select(chosen)
        found = list(self._found(sample, len(chosen), "pilot"))
        ratios = [row["prefix_ratio"] for row in found if row["status"] == "sufficient" and row["prefix_ratio"] > 0]
        if not ratios:
            raise UserError(
                f"None of the {len(chosen)} pilot rows has a sufficient prefix, so there is nothing to estimate a "
                f"prior from. Look at the report of these rows first, or leave the pilot out."
            )
        never = sum(row["status"] == "full_trace" for row in found)
        return self.with_prior(Prior.from_ratios(ratios, never))

    def with_prior(self, prior: Prior) -> "PrefixTruncation":
        """A copy whose search has that prior; for `ascend` and searches that are derived from it."""
        assert isinstance(self.search, Ascend)
        return self.with_search(replace(self.search, prior=prior))

    def with_search(self, search: str | Search | dict[str, Any]) -> "PrefixTruncation":
        """A copy with another search: one ledger, so no cut is judged twice, and the same runner, so that no
        second engine starts beside the first. To close one of them closes the engine for both.

        Args:
            search (`str`, `dict` or `Search`):
                As the setting `search`.

        Returns:
            `PrefixTruncation`: The copy.
        """
        twin = self.__class__.__new__(self.__class__)
        vars(twin).update(self.__getstate__())
        twin.settings, twin.search = replace(self.settings, search=search), make_search(search)
        twin._settle(self._runner)
        return twin

    @cached_property
    def _identity(self) -> TruncationIdentity:
        """Found at its first use, when a subclass has set what it adds."""
        return TruncationIdentity(
            student=self._runner.student,
            criterion=self.criterion,
            search=self.search,
            granularity=self.settings.granularity,
            max_model_len=self.settings.max_model_len or self._runner.given_max_model_len,
            audit=self.settings.audit,
            altered=self._runner.altered,
            changed_by=changed_by(type(self), PrefixTruncation, self._added),
        )

    def _ledger(self) -> tuple[str, dict[str, Any]]:
        about = self._identity.describe_judge() | {"student_name": self._identity.student.name}
        return self._identity.judge_fingerprint, about

    def _found(
        self, traces: Iterable[Mapping[str, Any]], rows: int | None, what: str = "truncating"
    ) -> Iterator[dict[str, Any]]:
        """The PREFIXES columns of every row."""
        for _, found in self._pairs(traces, rows, what):
            yield found

    def _pairs(
        self, traces: Iterable[Mapping[str, Any]], rows: int | None, what: str = "truncating"
    ) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
        """Each trace with what was found, in order; one bar over all."""
        search, runner, judge = self.search, self._runner, self.judge()
        if search.judged:
            runner.check()
        opened = (open_row(judge, source, self.settings.granularity, self.settings.audit) for source in traces)
        with self._shown(rows, what) as bar:

            async def ask(case: Case, cut: int) -> Probe:
                probe = await judge.ask(runner.engine, case, cut)
                bar.answered()
                return probe

            searcher = Searcher(search, ask, self._open_store if search.judged else lambda: None, runner.identity)

            async def searched(row: TruncationRow) -> TruncationRow:
                try:
                    return await searcher(row)
                finally:
                    # Thousands of rows may wait for a slow one: their tokens would be gigabytes.
                    if row.case is not None:
                        row.case.prompt = None

            results = in_order(opened, searched, lambda: runner.capacity(self.settings.max_concurrency))
            with closing(runner.iterate(results)) as done:
                for row in done:
                    self._usage.add(row.probes, row.asked, row.floor_tokens)
                    bar.advance(fresh=bool(row.asked) or not search.judged)
                    yield row.source, prefix_columns(row, search, self._max_model_len)

    def _details(self, seconds: float) -> dict[str, str]:
        asked = self._usage.asked - self._at_start.asked
        prompt = self._usage.prompt_tokens - self._at_start.prompt_tokens
        cached = self._usage.cached_tokens - self._at_start.cached_tokens
        return {
            "probes/s": f"{asked / seconds:.1f}" if seconds else "0",
            "cached": f"{cached / prompt:.0%}" if prompt else "-",
        }
