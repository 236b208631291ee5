"""`StudentEvaluation`: problems -> SAMPLES, each with its labels, as a `datasets` map transform.

Each sample is in the ledger before it is graded, so an evaluation that was interrupted continues where it stopped, and
another grader, more samples or other tags draw nothing twice. A request that failed is an empty sample with its
reason, and wrong; it is never missing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Value

from palign_hf.engines.base import RequestFailed, side_by_side
from palign_hf.evaluation.metrics import WRITTEN, Writer, Written
from palign_hf.evaluation.report import EvaluationReport
from palign_hf.evaluation.samples import SAMPLES, Sample, StudentOutput, check_complete, sampled, ungraded
from palign_hf.evaluation.settings import EvaluationIdentity, EvaluationSettings
from palign_hf.evaluation.tasks import COLUMNS, problem_columns
from palign_hf.generation.jobs import ExpectedOutput, broken, in_order, oversized, plain_rows, rows_of
from palign_hf.generation.rendering import ChatPrompt
from palign_hf.generation.runner import StudentRunner
from palign_hf.generation.sampling import DrawingTransform, Known, Remembered, seed_of
from palign_hf.generation.settings import changed_by
from palign_hf.generation.store import content_key
from palign_hf.generation.transform import takes
from palign_hf.prompts import SOLVE
from palign_hf.tables import UNKNOWN


@dataclass(frozen=True, slots=True)
class _Exam:
    """A problem on its way: a job, with its prompt; `refused` says why it can't be asked."""

    source: Mapping[str, Any]
    key: bytes
    prompt: list[int]
    weight: int
    refused: str | None = None


class StudentEvaluation(DrawingTransform[Written]):
    """Let a student solve problems, n samples each, and grade and label all of them.

    Use it with `datasets.Dataset.map(..., batched=True)`. Close it, or use it in a `with` block, to give back memory
    and processes. `engine` may be a `StudentRunner`, whose engine several stages share; its owner closes it.

    Args:
        {settings}

    Returns:
        SAMPLES rows, `n` for each problem of a batch, when it is called with one. A problem has `id`, `benchmark`,
        `question` and `gold`; its other columns are kept, and the report breaks down by them.

    Example:

    ```python
    from datasets import Dataset

    from palign_hf import StudentEvaluation

    problems = Dataset.from_list(
        [{"id": "sum", "benchmark": "mine", "question": "What is 17 + 25?", "gold": "42"}]
    )
    with StudentEvaluation("palign-toy", engine="transformers", n=2, max_tokens=256) as evaluation:
        samples = problems.map(evaluation, batched=True)
        print(evaluation.report(samples).text())
    ```
    """

    settings: EvaluationSettings
    declared, answers, verb = EvaluationSettings, WRITTEN, "evaluating"
    runtime = DrawingTransform.runtime | {"_drawn_by"}
    _drawn_by: Counter[str]
    advice = "Make another one: samples that were drawn are in the ledger, and aren't drawn again."

    @takes(EvaluationSettings)
    def __init__(self, settings: EvaluationSettings) -> None:
        super().__init__(settings)

    def __call__(self, batch: Mapping[str, Any]) -> "pa.Table | dict[str, list[Any]]":
        """SAMPLES rows of a batch of problems: n a problem, with the other columns of the problems as text.

        A batch of a `Dataset` comes back as an Arrow table with the exact types, one of plain lists as plain lists,
        for streaming datasets: those need `remove_columns=` with the columns of the problems.
        """
        given = problem_columns(batch)
        names = [*SAMPLES.columns, *(name for name in given if name not in COLUMNS)]
        rows = list(self.stream(rows_of(given), len(given["id"])))
        table: pa.Table | None = getattr(batch, "pa_table", None)
        if table is None:
            return {name: [row[name] for row in rows] for name in names}
        return pa.Table.from_pylist(rows, schema=self.schema(given))

    @property
    def n(self) -> int:
        """Samples of a problem."""
        return self.settings.n

    def report(self, samples: Dataset) -> EvaluationReport:
        """Figures with 95 % intervals, a column a benchmark; with the costs of what this object has run.

        Args:
            samples (`Dataset`):
                The result of `map`; refused unless every problem has `n` samples.

        Returns:
            `EvaluationReport`: `text()` for a terminal, `page()` as Markdown, `as_dict()` as plain data.
        """
        found = [Sample.from_row(row) for row in plain_rows(samples)]
        check_complete(found, each=self.n)
        return EvaluationReport.of(
            found,
            self._usage,
            self.describe() | {"fingerprint": self.fingerprint},
            drawn_by=dict(sorted(self._drawn_by.items())),
            forced=self.settings.max_draft_tokens is not None,
            looped=self.settings.stop_loops,
        )

    def schema(self, columns: Iterable[str]) -> pa.Schema:
        """The columns of SAMPLES, and those of the problems that are known besides."""
        about = {name: Value("string") for name in columns if name not in SAMPLES.columns and name not in COLUMNS}
        return Features(SAMPLES.features | about).arrow_schema

    def samples(self, rows: Iterable[Mapping[str, Any]], count: int | None = None) -> Iterator[Sequence[Sample]]:
        """The samples of each problem, in order; rows have `id`, `benchmark`, `question`, `gold`, and other columns
        of the problem."""
        runner, chat = self._runner, self.prompt()
        runner.check()
        expected = ExpectedOutput(self.settings.max_tokens or self._max_model_len)
        with self._shown(count, self.verb) as bar:
            write = Writer(self.settings, self._asking(bar, expected), self._text, chat.reply_ids)

            async def work(exam: _Exam) -> tuple[list[Sample], list[Known[Written]]]:
                return await self._solve(exam, write, chat)

            opened = (self._opened(chat, row, expected) for row in rows)
            results = in_order(opened, work, lambda: runner.capacity(self.settings.max_concurrency))
            with closing(runner.iterate(results)) as done:
                for samples, drawn in done:
                    for one in drawn:
                        self._usage.add(one)
                        self._drawn_by[one.engine.label if one.engine else UNKNOWN] += 1
                    bar.advance(fresh=any(one.fresh for one in drawn))
                    yield samples

    def groups(
        self, rows: Iterable[Mapping[str, Any]], count: int | None = None
    ) -> Iterator[Sequence[dict[str, Any]]]:
        """The rows of SAMPLES of each problem."""
        for samples in self.samples(rows, count):
            yield [sample.row() for sample in samples]

    def take_drawn_by(self) -> dict[str, int]:
        """The engines that drew the samples since the last call, with counts; those of the ledger included."""
        taken, self._drawn_by = self._drawn_by, Counter()
        return dict(taken)

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""
        return self._identity.fingerprint

    def describe(self) -> dict[str, Any]:
        """The description that the fingerprint is made of, for reports."""
        return self._identity.describe() | {"student_name": self._identity.student.name}

    def check(self) -> None:
        """Refuse what can't work with this student before an engine is loaded."""
        self._runner.check()
        self.prompt()

    def prompt(self) -> ChatPrompt:
        """The prompt of training, rendered by this student's template with its thinking off."""
        return ChatPrompt(self._runner.tokenizer, SOLVE, self._identity.student.name)

    @cached_property
    def _identity(self) -> EvaluationIdentity:
        return EvaluationIdentity(
            student=self._runner.student,
            settings=self.settings,
            grader=self.grader,
            max_model_len=self.settings.max_model_len or self._runner.given_max_model_len,
            altered=self._runner.altered,
            changed_by=changed_by(type(self), StudentEvaluation, self._added),
        )

    def _settle(self, runner: StudentRunner) -> None:
        super()._settle(runner)
        self._drawn_by = Counter()

    def _opened(self, chat: ChatPrompt, row: Mapping[str, Any], expected: ExpectedOutput) -> _Exam:
        question = row["question"]
        key = content_key(question)
        if (why := oversized(question)) is not None:
            return _Exam(row, key, [], 0, f"the question {why}")
        if (why := broken(question)) is not None:
            return _Exam(row, key, [], 0, f"the question is broken: {why}")
        prompt = chat.ids(question)
        if len(prompt) >= self._max_model_len:
            why = f"the prompt has {len(prompt)} tokens, and the context holds {self._max_model_len}"
            return _Exam(row, key, prompt, 0, why)
        return _Exam(row, key, prompt, len(prompt) + self.settings.n * expected.tokens)

    async def _solve(self, exam: _Exam, write: Writer, chat: ChatPrompt) -> tuple[list[Sample], list[Known[Written]]]:
        """All samples of a problem at once: they share the reading of its prompt."""
        row = exam.source
        about = {name: row[name] for name in row if name not in COLUMNS}
        shared = {name: row[name] for name in COLUMNS} | {"about": about}
        if exam.refused is not None:
            nothing = [self._failed(shared, number, exam.refused) for number in range(self.n)]
            return nothing, []
        known = Remembered(self._open_store(), exam.key, self._runner.identity)
        room = self._max_model_len - len(exam.prompt)
        room = room if self.settings.max_tokens is None else min(room, self.settings.max_tokens)
        judge = self._graders().grade_async

        async def one(number: int) -> tuple[Sample, Known[Written] | None]:
            seed = seed_of(exam.key, self.settings.seed, number)
            try:
                drawn = await known.get(number, lambda: write(number, exam.prompt, room, seed, row["id"]))
            except RequestFailed as error:
                return self._failed(shared, number, f"no answer to sample {number}: {error}"), None
            kept = drawn.sample
            # The last token of a sample that ended by itself is the end of its turn.
            text = self._text(list(kept.token_ids[:-1] if kept.finish_reason == "stop" else kept.token_ids))
            output = StudentOutput(
                **shared,
                sample=number,
                text=text,
                finish_reason=kept.finish_reason,
                tokens=len(kept.token_ids),
                draft_tokens=self._draft_tokens(chat, text, len(kept.token_ids)),
                forced_at=kept.forced_at,
                seed=kept.seed,
            )
            grade = ungraded(output) if output.blank else await judge(text, row["gold"])
            return sampled(output, grade, self.settings.style), drawn

        found = await side_by_side(map(one, range(self.n)))
        return [sample for sample, _ in found], [drawn for _, drawn in found if drawn is not None]

    def _failed(self, shared: Mapping[str, Any], number: int, why: str) -> Sample:
        output = StudentOutput(**shared, sample=number, text=None, draft_tokens=0, error=why)
        return sampled(output, ungraded(output), self.settings.style)

    def _text(self, ids: list[int]) -> str:
        """Tokens as text; special ones are spelled, since tags may be such tokens."""
        tokenizer = self._runner.tokenizer
        return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _draft_tokens(self, chat: ChatPrompt, text: str, tokens: int) -> int:
        """How many tokens the draft of a text has, its tags left out."""
        written = text.lstrip()
        draft, _, closed = self.settings.style.split(written)
        if not draft:
            return 0
        begin = len(text) - len(written) + len(self.settings.style.open)
        first, last = chat.texts.count_before(text, [begin, begin + len(draft)])
        return min(last - first if closed else tokens - first, tokens)
