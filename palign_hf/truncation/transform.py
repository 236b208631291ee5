"""`PrefixTruncation`: TRACES -> PREFIXES as a `datasets` map transform.

    prefixes = traces.map(PrefixTruncation("Qwen/Qwen2.5-7B-Instruct"), batched=True, batch_size=1000)

It hashes by what changes the result (student and commit, prompts, criterion, search, segmentation) and nothing else,
so the cache of `datasets` is right whether or not an engine runs, and across processes. `map` keeps nothing of a run
that breaks; the ledger does, so the same call again goes on where it stopped.
"""

import atexit
import logging
import random
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
from datasets import Dataset
from datasets.utils._dill import pklregister

from palign_hf.asking.runner import Session, TraceRow
from palign_hf.errors import UserError
from palign_hf.progress import Progress
from palign_hf.prompts import JUDGE, Template
from palign_hf.schema import PREFIXES, TRACES, SchemaError, check, check_columns
from palign_hf.segmentation import Granularity
from palign_hf.students import load_tokenizer, resolve_student, student_context
from palign_hf.truncation.criteria import Criterion, Judge, SelfJudge
from palign_hf.truncation.report import Report
from palign_hf.truncation.rows import prefix_row, skipped_row
from palign_hf.truncation.search import Ascend, Prior, Search, make_search
from palign_hf.truncation.settings import Recipe, Runtime
from palign_hf.truncation.usage import Usage


logger = logging.getLogger(__name__)

_UNFORMATTED = (
    "`PrefixTruncation` got its rows as `{}`: it reads plain Python values. Take the format of the dataset off: "
    "`traces.with_format(None).map(truncation, batched=True)`."
)


class PrefixTruncation:
    """Cut each trace to the shortest prefix that the student itself judges sufficient.

    > What is asked, of whom (these change the result and the fingerprint):

    student (`str`): name of a model on the Hub, or a folder.
    revision (`str`, *optional*): branch, tag or commit of a Hub student; resolved to its commit.
    search (`str` or `Search`, defaults to `"ascend"`): `binary` visits the paper's cut points; `fixed(ratio=0.25)`,
        `fixed(tokens=512)`, `full` and `none` are the baselines that ask no judge.
    criterion (`Criterion`, *optional*): what sufficient means; by default the student's own judgement.
    verdict (`str`, defaults to `"margin"`): `"generate"` reads the self-judge's free text instead of its label margin.
    judge_template (`Template`, *optional*): another wording of the judge prompt.
    granularity (`str`, defaults to `"sentence"`): `paragraph`, `step`, or `legacy` for the reference's cut points.
    context (`int`, *optional*): tokens a prompt may have; by default what the student can read.
    audit (`float`, defaults to 0): share of problems whose whole curve is asked, to measure how monotone the judge is.

    > How it is carried out (no row depends on these):

    engine (`str`, defaults to `"auto"`): `vllm`, `server` or `transformers`.
    engine_options (`dict`, *optional*): passed to the engine, such as `gpu_memory_utilization` or `urls`; those that
        change the student's numbers (`dtype`, `quantization`) belong to the fingerprint after all.
    ledger (`str`, *optional*): folder of the ledgers; by default under PALIGN_HOME or the user's cache.
    in_flight (`int`, *optional*): most problems at once; by default what the engine's cache holds.
    progress (`bool`, *optional*): `False` shows nothing.
    trust_remote_code (`bool`, defaults to `False`): run code that comes with the student.
    """

    def __init__(
        self,
        student: str,
        *,
        revision: str | None = None,
        search: str | Search | dict[str, Any] = "ascend",
        criterion: Criterion | None = None,
        verdict: str = "margin",
        judge_template: Template = JUDGE,
        granularity: Granularity = "sentence",
        context: int | None = None,
        audit: float = 0.0,
        engine: str = "auto",
        engine_options: Mapping[str, Any] | None = None,
        ledger: str | None = None,
        in_flight: int | None = None,
        progress: bool | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        from palign_hf.engines.choose import altering, check_engine

        if criterion is not None and (verdict != "margin" or judge_template is not JUDGE):
            raise UserError(
                "`criterion` was given together with `verdict` or `judge_template`, which belong to the default "
                "criterion. Put them into it: `criterion=SelfJudge(verdict=..., template=...)`."
            )
        options = dict(engine_options or {})
        check_engine(engine, options)
        self._recipe = Recipe(
            student=resolve_student(student, revision),
            criterion=criterion or SelfJudge(verdict=verdict, template=judge_template),
            search=make_search(search),
            granularity=granularity,
            context=context,
            audit=audit,
            altered=altering(options),
        )
        self._runtime = Runtime(
            engine=engine,
            engine_options=options,
            trust_remote_code=trust_remote_code,
            ledger=ledger,
            in_flight=in_flight,
            progress=progress,
        )
        self._forget()

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """PREFIXES rows of a batch of TRACES rows; other columns are passed through."""
        if not isinstance(batch, Mapping):
            raise SchemaError(_UNFORMATTED.format(type(batch).__name__))
        check_columns(list(batch), TRACES)
        if batch["id"] is None or isinstance(batch["id"], str | int):
            raise SchemaError(
                "`PrefixTruncation` got a single row: its engine answers many problems at once. "
                "Use `traces.map(truncation, batched=True, batch_size=1000)`."
            )
        columns: dict[str, list[Any]] = {name: batch[name] for name in TRACES.columns}
        for values in columns.values():
            if not isinstance(values, list):
                raise SchemaError(_UNFORMATTED.format(type(values).__name__))
        self._check_batch(columns)
        found = self._search(columns)
        return _table(batch, columns, found)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""
        return self._recipe.fingerprint

    def describe(self) -> dict[str, Any]:
        """What the fingerprint is made of: goes into reports and cards."""
        return self._recipe.describe() | {"student_name": self._recipe.student.name}

    @property
    def usage(self) -> Usage:
        """Probes and tokens of all batches so far; empty if `map` took the result from its cache."""
        return self._usage

    @property
    def ledger_path(self) -> str:
        """The file that holds this judge's answers."""
        return str(self._runtime.ledger_folder / f"{self._recipe.judge_fingerprint}.sqlite")

    def report(self, prefixes: Dataset) -> Report:
        """What happened, measured on the result; with this run's costs if it was this object that ran."""
        return Report.of(prefixes, self._usage, self.describe() | {"fingerprint": self.fingerprint})

    def expect(self, rows: int, what: str = "truncating") -> None:
        """Show one bar over so many rows, however they are batched; without this each batch has a bar of its own."""
        self._at_start = self._usage + Usage()
        self._bar = Progress(rows, what, self._runtime.progress, self._details)

    def judge(self) -> Judge:
        """The criterion bound to this student: its prompts and their tokens at any cut; no engine is needed."""
        student, trust = self._recipe.student, self._runtime.trust_remote_code
        context = self._recipe.context or student_context(student, trust)
        return self._recipe.criterion.bind(load_tokenizer(student, trust), student.name, context)

    def with_pilot(self, traces: Dataset, rows: int = 200, seed: int = 0) -> "PrefixTruncation":
        """The same transform with its search's prior estimated on `rows` seeded rows of these traces.

        The prior becomes part of the search, and so of the fingerprint: no row depends on which rows came before.
        What the pilot asked stays in the ledger and isn't asked again.
        """
        search = self._recipe.search
        if not isinstance(search, Ascend):
            raise UserError(f"The search `{search.name}` has no prior: a pilot is of use to `ascend` only.")
        check(traces, TRACES)
        chosen = sorted(random.Random(seed).sample(range(len(traces)), min(rows, len(traces))))
        sample = traces.with_format(None).select_columns(list(TRACES.columns)).select(chosen)
        table = self(sample[:])
        ratios, never = [], 0
        for status, ratio in zip(table["status"].to_pylist(), table["prefix_ratio"].to_pylist(), strict=True):
            if status == "sufficient" and ratio > 0:
                ratios.append(ratio)
            never += status == "full_trace"
        if not ratios:
            raise UserError(
                f"None of the {len(chosen)} pilot rows has a sufficient prefix, so there is nothing to estimate a "
                f"prior from. Look at the report of these rows first, or leave the pilot out."
            )
        return self.with_search(replace(search, prior=Prior.from_ratios(ratios, never)))

    def with_search(self, search: str | Search | dict[str, Any]) -> "PrefixTruncation":
        """The same judge under another search: one ledger, so that nothing is asked twice, and one engine.

        A running engine goes over to what is returned, since a second one would not fit beside the first.
        """
        twin: PrefixTruncation = self.__class__.__new__(self.__class__)
        twin.__setstate__((replace(self._recipe, search=make_search(search)), self._runtime))
        # A session without a judge has nothing to hand over, and a search without one needs nothing.
        if self._session is not None and self._recipe.search.judged and twin._recipe.search.judged:
            session, self._session = self._session, None
            session.recipe = twin._recipe
            twin._session = session
            _LIVE.add(twin)
        return twin

    def close(self) -> None:
        """End the engine with its processes and memory, and the ledger; a later call opens them again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def __enter__(self) -> "PrefixTruncation":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> tuple[Recipe, Runtime]:
        """Settings only: a copy in another process starts an engine of its own."""
        return self._recipe, self._runtime

    def __setstate__(self, state: tuple[Recipe, Runtime]) -> None:
        self._recipe, self._runtime = state
        self._forget()

    _session: Session | None
    _bar: Progress | None

    def _forget(self) -> None:
        self._session = self._bar = None
        self._usage = Usage()
        self._at_start = Usage()

    def _open(self) -> Session:
        if self._session is None:
            self._session = Session(self._recipe, self._runtime)
            _LIVE.add(self)
        return self._session

    def _check_batch(self, columns: Mapping[str, list[Any]]) -> None:
        """Refuse what no search should start on, before any model loads."""
        for name, values in columns.items():
            for row, value in enumerate(values):
                if isinstance(value, str) or (value is None and name != "id"):
                    continue
                raise SchemaError(
                    f"Row {row} of the batch (id `{columns['id'][row]}`) has a `{name}` of type "
                    f"`{type(value).__name__}`: it must be text. Load the dataset through "
                    f"`palign_hf.load_traces`, or cast the column."
                )
        if twice := [name for name, count in Counter(columns["id"]).items() if count > 1]:
            raise SchemaError(
                f"Column `id` must be unique, but {len(twice)} ids are repeated: "
                f"{', '.join(f'`{name}`' for name in twice[:5])}. Give each row its own, or let `load_traces` do it."
            )

    def _search(self, columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
        """The PREFIXES columns of every row, in order."""
        found: dict[int, dict[str, Any]] = {}
        rows = []
        for row, (question, trace) in enumerate(zip(columns["question"], columns["trace"], strict=True)):
            if not question or not trace:
                found[row] = skipped_row(f"the {'question' if not question else 'trace'} is empty")
            else:
                rows.append(TraceRow(row, question, trace))
        if self._bar is not None:
            self._bar.advance(len(found))
        if rows:
            session = self._open()
            bar = self._bar or Progress(len(rows), "truncating", self._runtime.progress, self._details)
            if bar is not self._bar:
                self._at_start = self._usage + Usage()
            try:
                outcomes = session.run(rows, self._usage, bar.advance)
            finally:
                if bar is not self._bar:
                    bar.close()
            for outcome in outcomes:
                at = outcome.problem.row
                found[at] = prefix_row(columns["trace"][at], outcome, self._recipe.search, session.context)
        return [found[row] for row in range(len(columns["id"]))]

    def _details(self, seconds: float) -> dict[str, str]:
        asked = self._usage.asked - self._at_start.asked
        prompt = self._usage.prompt_tokens - self._at_start.prompt_tokens
        cached = self._usage.cached_tokens - self._at_start.cached_tokens
        return {
            "probes/s": f"{asked / seconds:.1f}" if seconds else "0",
            "cached": f"{cached / prompt:.0%}" if prompt else "-",
        }


def _table(batch: Mapping[str, Any], columns: Mapping[str, list[Any]], found: list[dict[str, Any]]) -> pa.Table:
    """An Arrow table with the exact types of PREFIXES: `map` would guess wrong from a first batch of nulls."""
    types = PREFIXES.features.arrow_schema
    arrays: dict[str, Any] = {}
    for name in PREFIXES.columns:
        values = columns[name] if name in columns else [row[name] for row in found]
        arrays[name] = pa.array(values, type=types.field(name).type)
    source: pa.Table | None = getattr(batch, "pa_table", None)
    for name in batch:
        if name not in PREFIXES.columns:
            arrays[name] = pa.array(list(batch[name])) if source is None else source.column(name)
    return pa.table(arrays)


# Transforms with an engine: closed before the interpreter goes, so that no process or GPU memory stays behind.
_LIVE: "weakref.WeakSet[PrefixTruncation]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for transform in list(_LIVE):
        try:
            transform.close()
        except Exception as error:
            # The others must be closed all the same.
            logger.error("An engine could not be closed: %s: %s", type(error).__name__, error)


@pklregister(PrefixTruncation)
def _hash_by_result(pickler: Any, transform: PrefixTruncation) -> None:
    """What `datasets` hashes for its cache: the fingerprint alone, where a real pickle holds the runtime too."""
    pickler.save_reduce(str, (f"PrefixTruncation {transform.fingerprint}",), obj=transform)
