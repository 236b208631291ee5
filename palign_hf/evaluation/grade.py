"""Grading of existing outputs without a model, for `palign grade`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from palign_hf.config.renamed import KnowsOldNames
from palign_hf.errors import UserError, listed
from palign_hf.evaluation.files import read_rows, writer
from palign_hf.evaluation.metrics import measure
from palign_hf.evaluation.outputs import read_outputs
from palign_hf.evaluation.samples import Output, Sample, check_complete, sampled, ungraded
from palign_hf.evaluation.summary import Summary
from palign_hf.grading import GraderPool
from palign_hf.progress import Progress
from palign_hf.prompts import TAG_STYLES, TagStyle
from palign_hf.prompts import tag_style as style_of


_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class GradeConfig(KnowsOldNames):
    """What to grade, and how. `columns` map roles to columns, `carry` names further columns to keep.

    `problems` and `samples` are the expected counts; `tag_style` is that of drafts, recognized where None;
    `output_file` gets the labels.
    """

    file: str
    columns: dict[str, str] | None = None
    carry: Sequence[str] = ()
    benchmark: str | None = None
    grader: str = "math"
    tag_style: str | None = None
    workers: int = 2
    seconds: float = 5.0
    problems: int | None = None
    samples: int | None = None
    output_file: str | None = None
    overwrite: bool = False
    seed: int = 0
    progress: bool | None = None


def grade_file(config: GradeConfig) -> Summary:
    """Read, grade, check completeness, write the labels, and summarize them."""
    write = writer(config.output_file, config.overwrite, config.file) if config.output_file else None
    given = style_of(config.tag_style) if config.tag_style else None
    if not 0 < config.seconds < 1e6:
        raise UserError(f"`seconds={config.seconds}` is no limit. Give the seconds that one answer may be graded.")
    with GraderPool(config.grader, workers=config.workers, limit_s=config.seconds) as pool:
        # Not the file's name: files of two models are of the same problems.
        name = {} if config.benchmark is None else {"benchmark": config.benchmark}
        read = read_outputs(read_rows(config.file), config.columns, config.carry, **name)
        check_complete(read.outputs, config.problems, config.samples)
        style = given or recognised(read.outputs)
        samples = grade(read.outputs, pool, style, config.progress)
    if write:
        write(samples)
    return Summary(
        samples=samples,
        measures=measure(samples),
        unjudged=unjudged(samples),
        notes=read.notes,
        about={
            "file": f"{config.file} ({read.rows} rows, outputs in `{read.columns['output']}`, gold answers in "
            f"`{read.columns['gold']}`)",
            "grader": f"{pool.name}, version {pool.version}",
            "tags": style.name if given else f"{style.name} (recognised)",
            "labels": config.output_file,
        },
        seed=config.seed,
    )


def grade(
    outputs: Sequence[Output], pool: GraderPool, tag_style: TagStyle, progress: bool | None = None
) -> list[Sample]:
    """Grade every output in order; an empty one is wrong without a grader."""
    samples: list[Sample] = []
    bar = Progress(len(outputs), "grading", progress, unit="sample")
    try:
        for start in range(0, len(outputs), _BATCH):
            batch = outputs[start : start + _BATCH]
            grades = iter(pool.grade_all((one.text or "", one.gold) for one in batch if not one.blank))
            samples += [sampled(one, ungraded(one) if one.blank else next(grades), tag_style) for one in batch]
            bar.advance(len(batch))
    finally:
        bar.close()
    if len(samples) != len(outputs):
        raise AssertionError(f"{len(samples)} samples of {len(outputs)} outputs")
    return samples


def recognised(outputs: Sequence[Output]) -> TagStyle:
    """The tag style with which outputs begin, `none` without tags; of several, one must be given."""
    begun = {
        style.name
        for style in TAG_STYLES.values()
        if style.open and any((one.text or "").lstrip().startswith(style.open) for one in outputs)
    }
    if len(begun) > 1:
        raise UserError(
            f"Some outputs begin with the tags of {listed(sorted(begun))}, so which mark a draft is unclear. Say "
            f"so: `tag_style={min(begun)}`."
        )
    return style_of(begun.pop() if begun else "none")


def unjudged(samples: Sequence[Sample]) -> Counter[str]:
    """Count the reasons why texts couldn't be graded; they count as wrong."""
    return Counter(one.error for one in samples if one.error and (one.text or "").strip())
