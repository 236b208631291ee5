"""The study's runner, from tables to page; every student is a separate step and trained once."""

import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

from examples.toy.study.arms import ARMS, StudyPlan, rows_a_step
from examples.toy.study.lesson import finished, learn_and_solve, tokens_a_row
from examples.toy.study.tables import make_tables
from palign_hf.errors import UserError, shown
from palign_hf.runs.parts import read_mapping, write_whole
from palign_hf.toy.world.problems import VERSION as WORLD


# Raise it when the same plan gives other figures.
STUDY_VERSION = 1
_PLAN = "plan.json"


def study(plan: StudyPlan, output_dir: str, docs: str | None, workers: int, engine: str) -> int:
    """Run the remaining steps of the study, and write its page."""
    from examples.toy.study.telling import write

    if workers < 1:
        raise UserError(f"`--workers {workers}` trains no student. Give at least 1.")
    folder = Path(output_dir).expanduser()
    facts = _facts(plan, folder, engine)
    left = [(arm, seed) for arm, seed in plan.runs() if not finished(folder, arm, seed)]
    _say(f"study: {len(plan.runs()) - len(left)} of {len(plan.runs())} students are done, {len(left)} are left")
    _teach(plan, folder, left, facts["rows_a_step"], workers)
    for path in write(plan, folder, facts, Path(docs).expanduser() if docs else folder):
        _say(f"written: {path}")
    return 0


def _facts(plan: StudyPlan, folder: Path, engine: str) -> dict[str, Any]:
    """Make the tables once, and return their facts; a folder of another plan is refused."""
    own = {"version": STUDY_VERSION, "world": WORLD, "plan": _lasting(plan)}
    known = read_mapping(folder / _PLAN)
    if known is not None:
        if (held := {name: known.get(name) for name in own}) != own:
            raise UserError(
                f"`--output-dir {shown(str(folder))}` holds a study of another plan: {held}, not {own}. Give another "
                f"folder."
            )
        return known
    folder.mkdir(parents=True, exist_ok=True)
    _say("study: making the tables that the arms learn from")
    ids = make_tables(plan, folder, engine)
    tokens = {arm.name: tokens_a_row(plan, folder, arm) for arm in ARMS}
    found = own | {
        "tokens_a_row": tokens,
        "rows_a_step": rows_a_step(tokens, plan.rows_a_step),
        "problems": ids,
    }
    write_whole(folder / _PLAN, json.dumps(found, sort_keys=True, indent=1) + "\n")
    return found


def _lasting(plan: StudyPlan) -> dict[str, Any]:
    """The plan without arms and seeds: adding some changes no finished student."""
    return {name: value for name, value in asdict(plan).items() if name not in ("arms", "seeds")}


def _teach(plan: StudyPlan, folder: Path, left: list[tuple[str, int]], rows: dict[str, int], workers: int) -> None:
    """Train each student in a worker process; the first error ends the study, and finished students are kept."""
    if not left:
        return
    begun = time.monotonic()
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(left)), spawned, initializer=_quiet) as pool:
        known = {
            pool.submit(learn_and_solve, plan, folder, arm, seed, rows.get(arm, 0)): (arm, seed) for arm, seed in left
        }
        try:
            for done, future in enumerate(as_completed(known), 1):
                arm, seed = known[future]
                future.result()
                each = (time.monotonic() - begun) / done
                minutes = round((len(left) - done) * each / 60)
                _say(f"study: {arm}, seed {seed}: done; {len(left) - done} left, about {minutes} minutes")
        except BaseException:
            working = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in working:
                process.terminate()
            raise


def _quiet() -> None:
    """Silence the workers: only the study prints; training metrics are in each student's report."""
    import os

    from datasets import disable_progress_bars
    from transformers.utils import logging

    os.environ["OMP_NUM_THREADS"] = "1"
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    disable_progress_bars()
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 -- for the life of this process


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
