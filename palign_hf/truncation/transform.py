"""`PrefixTruncation`: TRACES -> PREFIXES as a `datasets` map transform.

    prefixes = traces.map(PrefixTruncation("Qwen/Qwen2.5-7B-Instruct"), batched=True, batch_size=1000)

It hashes by what changes the result (student and commit, prompts, criterion, search, segmentation) and nothing else,
so the cache of `datasets` is right whether or not an engine runs, and across processes. `map` keeps nothing of a run
that breaks; the ledger does, so the same call again goes on where it stopped.
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import MISSING, fields, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.utils._dill import pklregister

from palign_hf.asking.jobs import in_order
from palign_hf.asking.ledgers import ledger_folder
from palign_hf.asking.runner import StudentRunner
from palign_hf.asking.store import Store
from palign_hf.engines.base import EngineIdentity
from palign_hf.errors import UserError, shown
from palign_hf.progress import Progress
from palign_hf.schema import PREFIXES, TRACES, check
from palign_hf.students import resolve_student
from palign_hf.truncation.batch import columns_of, map_bars
from palign_hf.truncation.criteria import Case, Criterion, Judge, NoJudge, Probe
from palign_hf.truncation.identity import Identity, changed_by
from palign_hf.truncation.report import Report
from palign_hf.truncation.rows import PROBES, Row, Searcher, open_row, prefix_columns
from palign_hf.truncation.search import Ascend, Prior, Search, make_search
from palign_hf.truncation.settings import TruncationSettings
from palign_hf.truncation.usage import Usage


class PrefixTruncation(TruncationSettings):
    """Cut each trace to the shortest prefix that the student itself judges sufficient.

    The settings are those of `TruncationSettings` (`help(PrefixTruncation)` lists them at its end). Which of them
    change a row is decided by `Identity`: student, criterion, search, granularity, context, audit, and engine options
    that change the student's numbers, such as `dtype`. `engine` may be a `StudentRunner`, whose engine several stages
    share; who made it closes it.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle(self._find_runner())

    def __call__(self, batch: Mapping[str, Any]) -> "pa.Table | dict[str, list[Any]]":
        """PREFIXES rows of a batch of TRACES rows; other columns are passed through.

        A batch of a `Dataset` comes back as an Arrow table with the exact types, one of plain lists as plain lists,
        which is what streaming datasets take.
        """
        given = columns_of(batch)
        sources = [dict(zip(given, row, strict=True)) for row in zip(*given.values(), strict=True)]
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

    def stream(self, traces: Iterable[Mapping[str, Any]], rows: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows of PREFIXES one by one and in order, for a table that is written as they come.

        However many `traces` there are, only those under way are in memory; `rows` is their number, for the bar.
        """
        for source, found in self._pairs(traces, rows):
            yield {name: source[name] for name in TRACES.columns} | found

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""
        return self._identity.fingerprint

    def describe(self) -> dict[str, Any]:
        """What the fingerprint is made of: goes into reports and cards."""
        return self._identity.describe() | {"student_name": self._identity.student.name}

    @property
    def runner(self) -> StudentRunner:
        """The student at work, for other stages to borrow, as in `PrefixTruncation(student, engine=one.runner)`."""
        return self._runner

    @property
    def usage(self) -> Usage:
        """Probes and tokens of all batches so far; empty if `map` took the result from its cache."""
        return self._usage

    def take_usage(self) -> Usage:
        """What was counted since the last time it was taken, for files that each carry their part of the costs."""
        taken, self._taken = self._usage - self._taken, self._usage + Usage()
        return taken

    @property
    def engine_identity(self) -> EngineIdentity | None:
        """Who answers: the engine's name, release and number format; None as long as nothing was asked."""
        return self._runner.identity()

    @property
    def ledger_path(self) -> str:
        """The file that holds this judge's answers."""
        return str(ledger_folder(self.ledger) / f"{self._identity.judge_fingerprint}.sqlite")

    def report(self, prefixes: Dataset) -> Report:
        """What happened, measured on the result; with this run's costs if it was this object that ran."""
        return Report.of(prefixes, self._usage, self.describe() | {"fingerprint": self.fingerprint})

    def expect(self, rows: int, what: str = "truncating") -> None:
        """Show one bar over so many rows, however they are batched; without this each batch has a bar of its own."""
        self._bar = self._new_bar(rows, what)

    def check(self) -> None:
        """Refuse what can't work with this student (context, prompts, labels) before an engine is loaded."""
        if self._identity.search.judged:
            self._runner.check()
        self.judge()

    def judge(self) -> Judge:
        """The criterion bound to this student: its prompts and their tokens at any cut; no engine is needed."""
        tokenizer, name = self._runner.tokenizer, self._identity.student.name
        if not self._identity.search.judged:
            return NoJudge(tokenizer, name)
        return self._identity.criterion.bind(tokenizer, name, self._prompt_context)

    def with_pilot(self, traces: Dataset, rows: int = 200, seed: int = 0) -> "PrefixTruncation":
        """The same transform with its search's prior estimated on `rows` seeded rows of these traces.

        The prior becomes part of the search, and so of the fingerprint: no row depends on which rows came before.
        What the pilot asked stays in the ledger and isn't asked again.
        """
        search = self._identity.search
        if not isinstance(search, Ascend):
            raise UserError(f"The search `{search.name}` has no prior: a pilot is of use to `ascend` only.")
        if rows < 1:
            raise UserError(f"`rows={rows}` must be at least 1.")
        check(traces, TRACES)
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
        return self.with_search(replace(search, prior=Prior.from_ratios(ratios, never)))

    def with_search(self, search: str | Search | dict[str, Any]) -> "PrefixTruncation":
        """A copy with another search: one ledger, so that nothing is asked twice, and the same runner, so that no
        second engine starts beside the first. To close one of them closes the engine for both."""
        twin: PrefixTruncation = self.__class__.__new__(self.__class__)
        vars(twin).update(self.__getstate__())
        twin.search = make_search(search)
        twin._settle(self._runner)
        return twin

    def close(self) -> None:
        """End the engine with its processes and memory, and the ledger; a later call opens them again.

        A runner that was given as `engine` goes on: who made it closes it.
        """
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        try:
            if not isinstance(self.engine, StudentRunner):
                self._runner.close()
        finally:
            store, self._store = self._store, None
            if store is not None:
                store.close()

    def __enter__(self) -> "PrefixTruncation":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        said = [repr(self.student)]
        for one in fields(TruncationSettings):
            value = getattr(self, one.name)
            usual = {} if one.default is MISSING else one.default
            if one.name == "search":
                value, usual = value.describe(), make_search(usual).describe()
            if one.name not in ("student", "criterion") and value != usual:
                said.append(f"{one.name}={shown(repr(value), 80)}")
        return f"{type(self).__name__}({', '.join(said)})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTINGS and "_runner" in vars(self):
            raise AttributeError(
                f"`{name}` was settled when the transform was made, and its ledger and fingerprint with it. Make "
                f"another one; `with_search` makes one that asks the same judge."
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Settings, and what a subclass added to them; a copy in another process starts an engine of its own."""
        return {name: value for name, value in vars(self).items() if name not in _RUNTIME}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle(self._find_runner())

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        pklregister(cls)(_hash_by_result)

    _usage: Usage
    _at_start: Usage
    _taken: Usage
    _store: Store[Probe] | None
    _bar: Progress | None
    _runner: StudentRunner

    def _settle(self, runner: StudentRunner) -> None:
        """What isn't a setting, made anew in every process."""
        self._usage, self._at_start, self._taken = Usage(), Usage(), Usage()
        self._store = self._bar = None
        self._runner = runner

    def _find_runner(self) -> StudentRunner:
        if not isinstance(self.engine, StudentRunner):
            return StudentRunner(
                self.student,
                revision=self.revision,
                engine=self.engine,
                engine_options=self.engine_options,
                context=self.context,
                trust_remote_code=self.trust_remote_code,
            )
        runner = self.engine
        if self.engine_options:
            raise UserError(
                "`engine_options` belong to the `StudentRunner` that was given as `engine`: give them there."
            )
        same = (self.student, self.revision) == (runner.student.name, None)
        if not same and resolve_student(self.student, self.revision).identity != runner.student.identity:
            raise UserError(
                f"`engine` runs the student `{runner.student.name}`, not `{self.student}`: the judge is the student. "
                f"Give a `StudentRunner` of `{self.student}`, or the name of an engine."
            )
        if self.context is not None and self.context > runner.context:
            raise UserError(
                f"`context={self.context}` is more than the {runner.context} tokens of the `StudentRunner` that was "
                f"given as `engine`. Give at most that, or leave it out."
            )
        return runner

    @cached_property
    def _identity(self) -> Identity:
        """Found at its first use, when a subclass has set what it adds."""
        assert isinstance(self.search, Search) and isinstance(self.criterion, Criterion)
        return Identity(
            student=self._runner.student,
            criterion=self.criterion,
            search=self.search,
            granularity=self.granularity,
            context=self.context or self._runner.given_context,
            audit=self.audit,
            altered=self._runner.altered,
            changed_by=changed_by(type(self), PrefixTruncation, self._added),
        )

    @property
    def _added(self) -> dict[str, Any]:
        """The attributes of a subclass."""
        return {name: value for name, value in vars(self).items() if name not in _SETTINGS | _RUNTIME}

    @property
    def _prompt_context(self) -> int:
        return self.context or self._runner.context

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
        search, runner, judge = self._identity.search, self._runner, self.judge()
        if search.judged:
            runner.check()
        opened = (open_row(judge, source, self.granularity, self.audit) for source in traces)
        with self._shown(rows, what) as bar:

            async def ask(case: Case, cut: int) -> Probe:
                probe = await judge.ask(runner.engine, case, cut)
                bar.answered()
                return probe

            searcher = Searcher(search, ask, self._open_store if search.judged else lambda: None, runner.identity)

            async def searched(row: Row) -> Row:
                try:
                    return await searcher(row)
                finally:
                    # Thousands of rows may wait for a slow one: their tokens would be gigabytes.
                    if row.case is not None:
                        row.case.prompt = None

            results = in_order(opened, searched, lambda: runner.capacity(self.in_flight))
            with closing(runner.iterate(results)) as done:
                for row in done:
                    self._usage.add(row.probes, row.asked, row.floor_tokens)
                    bar.advance(fresh=bool(row.asked) or not search.judged)
                    yield row.source, prefix_columns(row, search, self._prompt_context)

    def _open_store(self) -> Store[Probe]:
        if self._store is None:
            about = self._identity.describe_judge() | {"student_name": self._identity.student.name}
            self._store = Store(self.ledger_path, self._identity.judge_fingerprint, about, PROBES)
        return self._store

    @contextmanager
    def _shown(self, rows: int | None, what: str) -> Iterator[Progress]:
        """The bar that was announced by `expect`, or one for these rows alone."""
        others = map_bars()
        for other in others:
            # It moves once a batch, ours with each row: of the two, ours is shown meanwhile.
            other.clear()
        bar = self._bar or self._new_bar(rows, what, leave=not others)
        self._runner.on_starting(bar.status)
        try:
            yield bar
        finally:
            self._runner.on_starting(None)
            if bar is not self._bar:
                bar.close()

    def _new_bar(self, rows: int | None, what: str, leave: bool = True) -> Progress:
        self._at_start = self._usage + Usage()
        return Progress(rows, what, self.progress, self._details, leave=leave)

    def _details(self, seconds: float) -> dict[str, str]:
        asked = self._usage.asked - self._at_start.asked
        prompt = self._usage.prompt_tokens - self._at_start.prompt_tokens
        cached = self._usage.cached_tokens - self._at_start.cached_tokens
        return {
            "probes/s": f"{asked / seconds:.1f}" if seconds else "0",
            "cached": f"{cached / prompt:.0%}" if prompt else "-",
        }


_SETTINGS = {one.name for one in fields(TruncationSettings)}
# What `_settle` and `_identity` leave in an instance.
_RUNTIME = {"_runner", "_identity", "_usage", "_at_start", "_taken", "_store", "_bar"}


@pklregister(PrefixTruncation)
def _hash_by_result(pickler: Any, transform: PrefixTruncation) -> None:
    """What `datasets` hashes for its cache: the fingerprint alone, where a real pickle holds the runtime too."""
    pickler.save_reduce(str, (f"PrefixTruncation {transform.fingerprint}",), obj=transform)
