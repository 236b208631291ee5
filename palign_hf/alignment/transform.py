"""`PrefixAlignment`: prefix alignment, PREFIXES -> PAIRS, as a `datasets` map transform.

The student continues from each prefix, and samples that reach the gold answer are kept; every sample has a row of its
own, with its status and reason. It hashes by what changes the result and nothing else, and every sample is in the
ledger before it is graded: the same call again continues where it stopped, and other rules, graders or fallbacks draw
nothing twice.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features

from palign_hf.alignment.report import AlignmentReport, comparable
from palign_hf.alignment.rows import AlignmentRow, closed, pair_rows, problem_key
from palign_hf.alignment.sampler import BeginningPrompt, Drawer
from palign_hf.alignment.settings import AlignmentIdentity, AlignmentSettings
from palign_hf.generation.jobs import ExpectedOutput, columns_of, in_order, rows_of
from palign_hf.generation.sampling import SAMPLES, DrawingTransform, StoredSample
from palign_hf.generation.settings import changed_by, fingerprint
from palign_hf.generation.transform import takes
from palign_hf.prompts import Template
from palign_hf.schema import PAIRS, PREFIXES


# Columns of PREFIXES that samples are made from; the others may hold anything.
READ: tuple[str, ...] = (
    "id",
    "question",
    "trace",
    "answer",
    "source",
    "prefix",
    "prefix_end",
    "prefix_segments",
    "n_segments",
)
READ += ("trace_tokens", "prefix_tokens", "status", "probes")
_TEXTS = ("id", "question", "trace", "answer", "source", "prefix", "status")


class PrefixAlignment(DrawingTransform[StoredSample]):
    """Let the student continue from each prefix, and keep the samples that reach the gold answer.

    Use it with `datasets.Dataset.map(..., batched=True)`. Close it, or use it in a `with` block, to give back memory
    and processes. `engine` may be a `StudentRunner`, whose engine several stages share, as in
    `PrefixAlignment(student, engine=truncation.runner)`; its owner closes it.

    Args:
        {settings}

    Returns:
        PAIRS rows, one for each sample of the PREFIXES batch, when it is called with one; further columns are those
        of `carry`.

    Example:

    ```python
    from palign_hf import PrefixAlignment, PrefixTruncation, load_traces

    traces = load_traces("palign-toy", split="test", max_samples=8)
    with PrefixTruncation("palign-toy", engine="transformers") as truncation:
        prefixes = traces.map(truncation, batched=True)
        with PrefixAlignment("palign-toy", engine=truncation.runner, grader="exact") as alignment:
            pairs = prefixes.map(alignment, batched=True)
            print(alignment.report(pairs).text())
    ```
    """

    settings: AlignmentSettings
    template: Template
    declared, answers, verb = AlignmentSettings, SAMPLES, "aligning"
    resolved = DrawingTransform.resolved | {"template"}
    advice = "Make another one: samples that were drawn are in the ledger, and aren't drawn again."
    runtime = DrawingTransform.runtime | {"_left_out"}

    @takes(AlignmentSettings)
    def __init__(self, settings: AlignmentSettings) -> None:
        self.template = settings.read_template()
        super().__init__(settings)

    def __call__(self, batch: Mapping[str, Any]) -> "pa.Table | dict[str, list[Any]]":
        """PAIRS rows of a batch of PREFIXES rows: several a problem, and only the columns of PAIRS and `carry`.

        A batch of a `Dataset` comes back as an Arrow table with the exact types, one of plain lists as plain lists,
        for streaming datasets: those need `remove_columns=` with the columns of the prefixes.
        """
        given = columns_of(batch, PREFIXES, _TEXTS, "PrefixAlignment", self.settings.carry)
        rows = list(self.stream(rows_of(given), len(given["id"])))
        names = [*PAIRS.columns, *self.settings.carry]
        table: pa.Table | None = getattr(batch, "pa_table", None)
        if table is None:
            return {name: [row[name] for row in rows] for name in names}
        return pa.Table.from_pylist(rows, schema=self.schema(table.schema))

    def groups(
        self, rows: Iterable[Mapping[str, Any]], count: int | None = None
    ) -> Iterator[Sequence[dict[str, Any]]]:
        """The PAIRS rows of each problem."""
        for row in self._rows(rows, count):
            yield list(pair_rows(row, self.settings.mode, self.settings.carry))

    def leave_out(self, reasons: Mapping[str, str]) -> None:
        """Leave out problems, by id and each with its reason: those that only the whole table shows, as duplicates."""
        self._left_out = dict(reasons)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""
        return self._identity.fingerprint

    def describe(self) -> dict[str, Any]:
        """The description that the fingerprint is made of, for reports and cards."""
        return self._identity.describe() | {"student_name": self._identity.student.name}

    def report(self, pairs: Dataset) -> AlignmentReport:
        """Counts, reasons and warnings, measured on the result; with the costs of what this object has run.

        Args:
            pairs (`Dataset`):
                The result of `map`.

        Returns:
            `AlignmentReport`: `text()` for a terminal, `page()` as Markdown, `as_dict()` as plain data.
        """
        settings = self.describe() | {"fingerprint": self.fingerprint}
        return AlignmentReport.of(pairs, self._usage, settings, by=comparable(pairs, self.settings.carry))

    def check(self) -> None:
        """Refuse what can't work with this student (context, prompts) before an engine is loaded."""
        self._runner.check()
        self.prompts()

    def prompts(self) -> BeginningPrompt:
        """The prompts of this student and mode, in tokens; no engine is needed."""
        name = self._identity.student.name
        return BeginningPrompt(self.settings, self.template, self._runner.tokenizer, name, self._max_model_len)

    def schema(self, prefixes: pa.Schema) -> pa.Schema:
        """The columns of the result, given those of the prefixes, whose types the carried ones have."""
        known = Features.from_arrow_schema(prefixes)
        return Features({**PAIRS.features, **{name: known[name] for name in self.settings.carry}}).arrow_schema

    def open_row(self, prompts: BeginningPrompt, source: Mapping[str, Any], expected: int = 0) -> AlignmentRow:
        """Get a problem ready to be continued, or say why it can't be; `expected` are tokens of its continuations."""
        if (why := closed(source, self._left_out)) is not None:
            return AlignmentRow(source, status=why[0], reason=why[1])
        beginning = prompts.found(source)
        if (refused := prompts.refused(beginning)) is not None:
            return AlignmentRow(source, status="skipped", reason=refused)
        return AlignmentRow(source, problem_key(source["question"], source["prefix"]), beginning, expected=expected)

    _left_out: dict[str, str]

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_left_out": self._left_out}

    def _settle(self, runner: Any) -> None:
        super()._settle(runner)
        # A copy leaves out the same problems.
        self._left_out = vars(self).get("_left_out", {})

    @property
    def _hashed(self) -> str:
        """With what is left out: that isn't settled when the transform is made."""
        return f"{self.fingerprint} {fingerprint(self._left_out)}" if self._left_out else self.fingerprint

    @cached_property
    def _identity(self) -> AlignmentIdentity:
        """Found at its first use, when a subclass has set what it adds."""
        return AlignmentIdentity(
            student=self._runner.student,
            settings=self.settings,
            grader=self.grader,
            template=self.template,
            max_model_len=self.settings.max_model_len or self._runner.given_max_model_len,
            altered=self._runner.altered,
            changed_by=changed_by(type(self), PrefixAlignment, self._added),
        )

    def _rows(self, sources: Iterable[Mapping[str, Any]], count: int | None) -> Iterator[AlignmentRow]:
        """Each problem with its samples, in order; one bar over all."""
        settings, runner, prompts = self.settings, self._runner, self.prompts()
        expected = ExpectedOutput(settings.max_tokens or self._max_model_len)
        runner.check()
        at_once = settings.n if settings.sampling == "all" else 1
        with self._shown(count, self.verb) as bar:

            async def drawn(row: AlignmentRow) -> AlignmentRow:
                try:
                    return await drawer(row)
                finally:
                    _let_go(row)

            ask, judge = self._asking(bar, expected), self._graders().grade_async
            drawer = Drawer(settings, prompts, self._identity.rules, ask, judge, self._open_store, runner.identity)
            opened = (self.open_row(prompts, source, at_once * expected.tokens) for source in sources)
            results = in_order(opened, drawn, lambda: runner.capacity(settings.max_concurrency))
            with closing(runner.iterate(results)) as done:
                for row in done:
                    for one in row.drawn:
                        self._usage.add(one)
                    bar.advance(fresh=bool(row.asked))
                    yield row


def _let_go(row: AlignmentRow) -> None:
    """Thousands of rows may wait for a slow one: their prompts would be gigabytes."""
    if row.beginning is not None:
        row.beginning.prompt.clear()
    for one in row.drawn:
        one.beginning.prompt.clear()
