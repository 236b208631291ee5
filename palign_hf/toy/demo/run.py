"""`palign demo`: the method on problems whose truth is known, told so that a newcomer can follow.

Every stage goes on where an interrupted one stopped, by what it left in the output folder: answered questions are in
the ledger, so the second run of a finished demo asks nothing and takes seconds. `telling.py` has the words.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed
from palign_hf.toy import NAME, smollm2
from palign_hf.toy.demo import telling
from palign_hf.toy.demo.measure import measure_searches
from palign_hf.toy.demo.telling import Told
from palign_hf.toy.world.problems import ROWS
from palign_hf.truncation.run import (
    Shard,
    TraceSettings,
    TruncateConfig,
    finish,
    make_truncation,
    recipe_traces,
    truncate_shard,
)


if TYPE_CHECKING:
    from datasets import Dataset

# Where the SmolLM2 student is exported to, as its recipe has it.
_SMOLLM2 = Path(".palign") / "smollm2-135m"
_STAGES = 4


@dataclass(frozen=True)
class Cast:
    """Who plays the student: what to say of it, how many traces it gets through in a few minutes."""

    words: str
    rows: int
    context: int | None


CASTS = {
    "toy": Cast(
        words="a model of 2.9 million parameters that ships with the package and was taught in this small world; it "
        "judges well, but not perfectly",
        rows=300,
        context=None,
    ),
    "smollm2": Cast(
        words="SmolLM2-135M-Instruct, a real language model. It writes fluent text, but it is far too small to judge "
        "whether it could finish a solution: expect it to say ENOUGH to nearly everything. What you see here "
        "is that the plumbing works with any student, and that the report tells when a judge measures nothing",
        rows=40,
        context=2048,
    ),
}


@dataclass(frozen=True)
class DemoConfig:
    """What `palign demo` may be told; by default each student has a folder of its own.

    The SmolLM2 student itself is unpacked beside all runs, into `.palign` of the current directory.
    """

    student: str = "toy"
    rows: int | None = None
    output: str | None = None
    engine: str = "auto"

    @property
    def folder(self) -> Path:
        """Where answers and results are written."""
        usual = "runs/demo" if self.student == "toy" else f"runs/demo-{self.student}"
        return Path(self.output or usual).expanduser()


def _aloud(line: str) -> None:
    """Print at once: the bars go to stderr, and the order should hold where both end up in one place."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def demo(config: DemoConfig, say: Callable[[str], None] = _aloud) -> Told:
    """Run all stages, and say what happens in plain words."""
    cast, rows, folder = _check(config)
    for line in telling.opening(cast.words):
        say(line)

    def stage(number: int, name: str, words: str) -> None:
        for line in telling.stage(number, _STAGES, name, words):
            say(line)

    stage(1, "the student and the traces", f"{rows} problems that it never saw, each with a long worked trace.")
    recipe = TruncateConfig(
        traces=TraceSettings(source=NAME, split="test", limit=rows),
        student=NAME if config.student == "toy" else str(smollm2.export(_SMOLLM2)),
        output=str(folder / "prefixes"),
        engine=config.engine,
        context=cast.context,
        ledger=str(folder / "ledger"),
    )
    traces = recipe_traces(recipe)

    stage(
        2,
        "cutting each trace",
        "The student is shown the beginning of a trace and asked: could you finish from here? The shortest beginning "
        "with a yes is kept. Every answer is kept too. The first time, loading the engine takes about half a minute.",
    )
    truncation = make_truncation(recipe)
    with truncation:
        truncate_shard(recipe, Shard(), traces, truncation)
        report = finish(recipe, 1)
        stage(
            3,
            "comparing with the truth",
            "Here the shortest sufficient beginning is known. Every beginning of every trace is judged once, and "
            "other ways to search are run on the same answers.",
        )
        measured, judge = measure_searches(truncation, traces)
    assert judge is not None
    told = Told(config.student, cast.words, rows, report, measured, judge)

    stage(4, "writing it down", "")
    prefixes = _prefixes(folder)
    written = telling.write(folder, told, prefixes)
    for line in telling.closing(told, prefixes, written, _next(config)):
        say(line)
    return told


def _check(config: DemoConfig) -> tuple[Cast, int, Path]:
    """Refuse what can't work before anything is loaded or written."""
    if config.student not in CASTS:
        raise UserError(
            f"`{config.student}` plays in no demo. Choose one of {listed(CASTS)}; your own "
            f"student and traces go to `palign truncate`."
        )
    cast, most = CASTS[config.student], ROWS["test"]
    rows = cast.rows if config.rows is None else config.rows
    if not 1 <= rows <= most:
        raise UserError(f"`--rows {rows}` can't be shown. Give 1 to {most}.")
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=config.folder).close()
    except OSError as error:
        raise UserError(
            f"`{config.folder}` can't be written to ({error}). Give another folder by `--output`."
        ) from error
    return cast, rows, config.folder


def _prefixes(folder: Path) -> "Dataset":
    from datasets import load_dataset

    files = sorted(str(path) for path in (folder / "prefixes" / "data").glob("train-*.parquet"))
    dataset: Any = load_dataset("parquet", data_files={"train": files}, split="train")
    return dataset


def _next(config: DemoConfig) -> list[tuple[str, list[str], str]]:
    """Program, arguments, and what they are good for."""
    other = "smollm2" if config.student == "toy" else "toy"
    table = str(config.folder / "prefixes")
    load = f"from datasets import load_dataset; print(load_dataset({table!r}, split='train')[0])"
    return [
        ("palign", ["traces", "inspect", NAME, "--split", "test"], "look at the traces themselves"),
        ("palign", ["demo", "--student", other], "the same with another student"),
        ("python", ["-c", load], "load what was written, as anyone would who finds it on the Hub"),
    ]
