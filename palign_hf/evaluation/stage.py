"""The evaluation stage: its recipe settings, and a run with its files and its report."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config import check_folder, folder_of, setting
from palign_hf.config.resolve import is_location
from palign_hf.data.benchmarks import VARIABLE, check_benchmarks, place_of
from palign_hf.errors import UserError
from palign_hf.evaluation.backend import require_lighteval, write_results
from palign_hf.evaluation.grade import SAMPLES_FILE, write_samples
from palign_hf.evaluation.report import EvaluationReport
from palign_hf.evaluation.samples import PARTIAL, SAMPLES, Sample, check_complete
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.evaluation.students import SeveralRun, named
from palign_hf.evaluation.tasks import TOY, benchmark_of, find_task, known_tasks, open_task, problem_table, task_names
from palign_hf.evaluation.transform import StudentEvaluation
from palign_hf.generation.sampling import SamplingUsage
from palign_hf.hub.artifacts import Artifact, Card, CardOptions, RunFolder, Shards, files_below, json_item, unlinked
from palign_hf.hub.eval_results import read_evaluation
from palign_hf.hub.model_card import render_results
from palign_hf.hub.plan import Item
from palign_hf.hub.publish import PushedStage
from palign_hf.hub.settings import HubSettings, check_push_setting, config_name, hub_setting, push_setting
from palign_hf.prompts import TagStyle, tag_style
from palign_hf.runs.claims import EVALUATION, LIGHTEVAL, WRITTEN, refuse_read
from palign_hf.runs.forecast import UNKNOWN_TIME, Forecast
from palign_hf.runs.transform import TransformRun, costs, runner_arguments


if TYPE_CHECKING:
    import pyarrow as pa


class EvaluationArtifact(Artifact):
    """Graded samples on the Hub, with the card of a repository of evaluations."""

    def recognises(self, folder: Path) -> bool:
        """Whether the samples lie in the folder."""
        return (folder / SAMPLES_FILE).exists()

    def suffix(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of a configuration's default name after the student's."""
        return ("zero-shot" if settings.get("zero_shot") else self.kind,)

    def shards(self, folder: Path) -> Shards:
        """All samples in one shard."""
        return {"samples": {"samples-00000-of-00001.parquet": unlinked(folder / SAMPLES_FILE)}}

    def extra_files(self, run: RunFolder, config: str) -> list[Item]:
        """lighteval's results and details, which name the run as its report does."""
        if run.held:
            return []
        home, items = run.folder / LIGHTEVAL, []
        written = run.report.get(WRITTEN)
        for file in sorted(files_below(home)):
            # A report of the first release doesn't name its files.
            if isinstance(written, list) and file.relative_to(run.folder).as_posix() not in written:
                continue
            path = f"{LIGHTEVAL}/{config}/{file.relative_to(home).as_posix()}"
            items.append(json_item(path, file) if file.suffix == ".json" else Item(path, file))
        return items

    def card(self, run: RunFolder, repo_id: str, config: str, options: CardOptions) -> tuple[Card, list[Item]]:
        """The card of a repository of evaluations."""
        return partial(render_results, read_evaluation(run.folder, run.report), repo_id, config, run.splits), []

    def results(self, run: RunFolder) -> dict[str, Any]:
        """The report, as it may be published."""
        return read_evaluation(run.folder)


# Those of the paper.
_TASKS = ("math_500", "aime24", "aime25", "amc12")


@dataclass(frozen=True, repr=False, kw_only=True)
class EvaluateConfig(EvaluationSettings):
    """Settings of an evaluation recipe."""

    student: str = setting(default="", help="the student: name of a model on the Hub, or a folder")
    students: tuple[str, ...] | dict[str, str] = setting(
        default=(),
        metavar="STUDENT",
        help="several instead, one after the other, compared with the first; as {NAME: STUDENT} with folders so named",
    )
    tasks: tuple[str, ...] = setting(
        default=_TASKS,
        metavar="TASK",
        help="benchmarks: " + ", ".join(known_tasks()) + ", or palign for all; a file of problems; or module:name",
    )
    max_samples: int | None = setting(default=None, least=1, help="ask at most the first N problems of each task")
    benchmarks: str | dict[str, str] | None = setting(
        default=None,
        help=f"local copies: a folder with OWNER/NAME, or {{AIME25: folder}}; else {VARIABLE}, else the Hub",
    )
    zero_shot: bool = setting(default=False, help="the student as it is, before training: its outputs have no draft")
    output_dir: str | None = setting(
        default=None,
        help="folder for the samples and the report; else runs/STUDENT/evaluation, or /zero-shot",
        neutral=True,
    )
    overwrite: bool = setting(default=False, help="write over the result of another run", neutral=True)
    push_to_hub: str | None = push_setting()
    hub: HubSettings = hub_setting()
    batch_size: int = setting(
        default=1000, least=1, help="samples that are written together, as a part that outlives a crash", neutral=True
    )

    def __post_init__(self) -> None:
        if self.zero_shot is True and self.max_draft_tokens is not None:
            raise UserError(
                f"`max_draft_tokens={self.max_draft_tokens}` with `zero_shot=True`: a student that wasn't trained "
                f"writes no draft. Leave one of them out."
            )
        super().__post_init__()
        self._check_students()
        if not self.task_names:
            raise UserError("`tasks=[]` asks nothing. Name at least one task.")
        check_benchmarks((), self.benchmarks)
        check_folder("output_dir", self.output_dir or str(self.folder), written=True)
        # Where several students are compared there may lie others, but for the names of their folders.
        refuse_read(self.folder, self._read(), within=not self.students)
        for name, student in named(self.students).items() if self.students else ():
            refuse_read(self.folder / name, [student])
        check_push_setting(self.push_to_hub)

    @property
    def task_names(self) -> tuple[str, ...]:
        """The tasks, each once: shipped ones by the last part of their names, files, and `module:name`."""
        return task_names(self.tasks)

    @property
    def style(self) -> TagStyle:
        """The tags, as an object; none in an evaluation before training."""
        return tag_style("none") if self.zero_shot else super().style

    @property
    def folder(self) -> Path:
        """Where samples and report go; of several students, where their folders and the comparison are."""
        kind = "zero-shot" if self.zero_shot else "evaluation"
        usual = f"runs/{kind}" if self.students else f"runs/{Path(self.student).name.lower()}/{kind}"
        return folder_of(self.output_dir or usual)

    def each(self) -> dict[str, "EvaluateConfig"]:
        """A recipe of its own for each of several students, by name."""
        return {
            name: replace(self, student=student, students=(), output_dir=str(self.folder / name))
            for name, student in named(self.students).items()
        }

    def _read(self) -> list[str]:
        """Where an evaluation reads, on this machine or elsewhere."""
        students = named(self.students).values() if self.students else [self.student]
        places = []
        for name in self.task_names:
            # A copy that is missing is refused when its problems are read.
            with contextlib.suppress(UserError):
                places.append(_place(name, self))
        return [*students, *filter(None, places)]

    def _check_students(self) -> None:
        if not self.students:
            if not self.student:
                raise UserError("No student is named. Give `student=...`, or several in `students=[..., ...]`.")
            return
        named(self.students)
        if self.hub.config_name is not None:
            raise UserError(
                f"`hub.config_name={self.hub.config_name}` with several students: each is a configuration of its own "
                f"with its own name. Leave it out, and name them in `students={{NAME: STUDENT, ...}}`."
            )
        if self.student:
            raise UserError(
                f"`student={self.student}` beside `students` names students twice. Put all of them into "
                f"`students`, or leave one of the two out."
            )
        if self.revision is not None:
            raise UserError(
                f"`revision={self.revision}` with several students: it is unclear whose it is. Leave `revision` out, "
                f"and give a folder for a student of another revision."
            )
        if not isinstance(self.engine, str):
            raise UserError("A running engine has one student. Name the engine, as `engine=vllm`, for several.")


class EvaluateRun(TransformRun[StudentEvaluation, EvaluationReport]):
    """One process's part: the problems, the student, and the files. Nothing is loaded that needs an engine."""

    table = SAMPLES
    writes = EVALUATION

    def __init__(self, config: EvaluateConfig, shown: bool = True) -> None:
        """`shown` is whether this process may print: of several, only the first."""
        require_lighteval()
        super().__init__(config)
        self.config = config
        given = {one.name: getattr(config, one.name) for one in fields(EvaluationSettings)}
        given |= {"tag_style": config.style, "progress": config.progress if shown else False}
        self.transform = StudentEvaluation(**given)
        self.transform.check()
        self.tasks = [open_task(name, config.benchmarks, config.max_samples) for name in config.task_names]
        self.rows = problem_table(self.tasks)
        # The note about a partial benchmark is no part of its problems.
        self.opened([name for name in self.rows.column_names if name != PARTIAL])

    @property
    def schema(self) -> "pa.Schema":
        """The columns of SAMPLES, and the other columns of the problems."""
        return self.transform.schema(self.rows.column_names)

    def again(self, row: Mapping[str, Any]) -> bool:
        """Whether a written sample is done again: one without text is drawn, an unjudged one graded."""
        return row["text"] is None or (row["error"] is not None and bool(row["text"].strip()))

    def source(self) -> tuple[str, str | None]:
        """The tasks."""
        return ", ".join(task.name for task in self.tasks), None

    def settings(self) -> dict[str, Any]:
        """What made the result: for the report."""
        return super().settings() | {
            "tasks": {task.name: _where(task.given, self.config) for task in self.tasks},
            "partial": {task.name: task.partial for task in self.tasks if task.partial},
            "max_samples": self.config.max_samples,
            "zero_shot": self.config.zero_shot,
        }

    def reported(self, files: list[Path], notes: list[dict[str, Any]], settings: dict[str, Any]) -> EvaluationReport:
        """All samples in one file and in lighteval's; nothing is reported before all of them are counted."""
        config, output = self.config, self.output()
        folder = output.folder
        samples = _read(files)
        check_complete(samples, len(self.rows), config.n)
        output.files.note(SAMPLES_FILE)
        write_samples(folder / SAMPLES_FILE, samples)
        for file in files:
            file.unlink()
        # Whatever an interrupt has left there is cleared away at the end.
        with contextlib.suppress(OSError):
            files[0].parent.rmdir()
        name = Path(config.student).name if Path(config.student).is_dir() else config.student
        staged = output.files.staging(LIGHTEVAL)
        write_results(staged, self.tasks, samples, self.transform.settings, name, config.benchmarks)
        output.files.adopt(staged, LIGHTEVAL)
        self.timings.lap("counting")
        usage = costs(SamplingUsage, notes, now_only=["asked", "asked_tokens"])
        forced = config.max_draft_tokens is not None
        drawn_by: Counter[str] = Counter()
        for note in notes:
            drawn_by.update(note.get("drawn_by", {}))
        return EvaluationReport.of(
            samples, usage, settings, drawn_by=dict(sorted(drawn_by.items())), forced=forced, looped=config.stop_loops
        )

    def _note(self) -> dict[str, Any]:
        """With the engines that drew the samples: those of the ledger may be another's."""
        return super()._note() | {"drawn_by": self.transform.take_drawn_by()}

    def words(self) -> list[str]:
        """Where the samples are."""
        folder = self.files.folder
        return [
            f"samples:  {folder / SAMPLES_FILE}  (`palign compare` sets several students side by side)",
            f"lighteval: {folder / LIGHTEVAL}",
        ]


class EvaluateStage(PushedStage):
    """`palign evaluate`, and `recipes/evaluate.py` under accelerate."""

    name = "evaluate"
    help = "sample a student on benchmarks, and grade every sample"
    settings = EvaluateConfig
    writes = SAMPLES
    result, inputs = "evaluation", {"student": "train"}
    artifact = EvaluationArtifact(kind="evaluation", title="Evaluation", local_settings=("tasks",))

    def open(self, settings: EvaluateConfig, shown: bool = True) -> EvaluateRun | SeveralRun:
        """Check everything, of several students for all of them, and read the problems."""
        if not settings.students:
            return EvaluateRun(settings, shown)
        runs = {name: EvaluateRun(one, shown) for name, one in settings.each().items()}
        return SeveralRun(settings.folder, runs, settings.overwrite)

    def results(self, settings: EvaluateConfig) -> list[tuple[str | None, Path]]:
        """The folder of each student, named as it is called."""
        if not settings.students:
            return super().results(settings)
        kind = "zero-shot" if settings.zero_shot else "evaluation"
        return [(config_name(name, kind), one.folder) for name, one in settings.each().items()]

    def forecast(self, settings: EvaluateConfig) -> Forecast:
        """What the run would do and cost; no engine is started and nothing is written.

        A sample is expected to take a quarter of the tokens that it may, as the engine expects it.
        """
        if settings.students:
            return Forecast(parts={name: self.forecast(one) for name, one in settings.each().items()})
        with EvaluateRun(settings) as run:
            prompt = run.transform.prompt()
            lengths = [len(prompt.ids(question)) for question in run.rows["question"]]
            tokens, samples = sum(lengths), len(run.rows) * settings.n
            context = settings.max_model_len or run.transform.runner.max_model_len
            rooms = [max(0, min(settings.max_tokens or context, context - length)) for length in lengths]
            most = settings.n * sum(rooms)
            expected = settings.n * sum(-(-room // 4) for room in rooms)
            lines = [
                (
                    task.name,
                    f"{len(task.rows)} problems, from {_where(task.given, settings)}"
                    + (f" (partial: {task.partial})" if task.partial else "")
                    if len(task.rows)
                    else f"not known: `{task.given}` is your own, and `--dry-run` doesn't call it",
                )
                for task in run.tasks
            ]
            lines += [
                ("samples", f"{samples}, {settings.n} of each problem"),
                ("prompts", f"{tokens:,} tokens, each read once where the engine caches"),
                ("written", f"at most {most:,} tokens; about {expected:,} if a sample takes a quarter of what it may"),
                ("time", UNKNOWN_TIME),
                ("ledger", run.transform.ledger_path),
                ("output", str(settings.folder)),
            ]
            return Forecast(
                lines=tuple(lines),
                rows=len(run.rows),
                requests=samples,
                prompt_tokens=tokens,
                written_tokens=expected,
                most_written=most,
                request_tokens=-(-tokens // max(1, len(lengths))) + -(-expected // max(1, samples)),
                runner=runner_arguments(settings),
            )


EVALUATE = EvaluateStage()


def _place(task: str, config: EvaluateConfig) -> str | None:
    """The file or folder of a task's problems; None if they are on the Hub, in this package or in the user's code."""
    if (benchmark := benchmark_of(task)) is not None:
        return place_of(benchmark, config.benchmarks)
    return None if task == TOY or is_location(task) else task


def _where(task: str, config: EvaluateConfig) -> str:
    """Where the problems of a task come from."""
    if task == TOY:
        return "this package"
    known = find_task(task)
    return _place(task, config) or (f"{known.hub_id}@{(known.revision or 'main')[:8]}" if benchmark_of(task) else task)


def _read(files: list[Path]) -> list[Sample]:
    import pyarrow.parquet as pq

    return [Sample.from_row(row) for file in files for row in pq.read_table(file).to_pylist()]
