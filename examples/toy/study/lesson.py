"""Training and evaluation of one student of the study (one arm, one seed); only its samples are kept."""

import json
import shutil
from pathlib import Path
from typing import Any

from examples.toy.study.arms import UNTRAINED, Arm, StudyPlan, arm_named
from examples.toy.study.tables import TRACES, pairs_file
from palign_hf.evaluation.grade import SAMPLES_FILE
from palign_hf.evaluation.stage import EvaluateConfig, EvaluateRun
from palign_hf.runs.parts import write_whole
from palign_hf.runs.shards import Shard
from palign_hf.toy import NAME, student_folder
from palign_hf.training.settings import PairSettings, TracedSettings, TrainConfig
from palign_hf.training.stage import TrainRun


TRAINED = "training.json"
TRAINING: dict[str, Any] = {
    "use_cpu": True,
    "bf16": False,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.1,
    "max_length": 2048,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
}


def place(folder: Path, arm: str, seed: int) -> Path:
    """Folder of a student's samples."""
    return folder / "students" / arm / f"seed-{seed}"


def unfinished(folder: Path, arm: str, seed: int) -> Path:
    """Folder of a student's weights and answers until all samples are written."""
    return folder / "unfinished" / arm / f"seed-{seed}"


def finished(folder: Path, arm: str, seed: int) -> bool:
    """Whether all samples of a student are written and its working folder is gone."""
    return (place(folder, arm, seed) / "report.json").exists() and not unfinished(folder, arm, seed).exists()


def learn_and_solve(plan: StudyPlan, folder: Path, arm: str, seed: int, rows: int) -> None:
    """Train and evaluate one student on one core, so that the core count doesn't change the figures."""
    import torch

    torch.set_num_threads(1)
    home, left = place(folder, arm, seed), unfinished(folder, arm, seed)
    weights, student, kept = left / "weights", NAME, None
    if arm != UNTRAINED:
        student = str(weights)
        config = training(plan, folder, arm_named(arm), seed, rows, weights)
        with TrainRun(config) as run:
            run.work(Shard(), run.agree())
            run.finish(1)
        report = json.loads((weights / "report.json").read_text())
        kept = {name: report[name] for name in ("rows", "tokens", "steps", "epochs", "first", "last")}
    with EvaluateRun(examination(plan, home, student, seed, left / "ledger")) as run:
        run.work(Shard(), run.agree())
        run.finish(1)
    if kept is not None:
        write_whole(home / TRAINED, json.dumps(kept, sort_keys=True) + "\n")
    shutil.rmtree(left, ignore_errors=True)


def training(plan: StudyPlan, folder: Path, arm: Arm, seed: int, rows: int, output_dir: Path) -> TrainConfig:
    """Training settings of a student."""
    return TrainConfig(
        pairs=PairSettings(source=str(pairs_file(folder, arm.pairs))),
        prefixes=TracedSettings(source=str(folder / TRACES), split="train"),
        student=NAME,
        output_dir=str(output_dir),
        baseline=arm.baseline,
        stops=0,
        training=TRAINING
        | {
            "per_device_train_batch_size": rows,
            "max_steps": plan.steps,
            "learning_rate": plan.learning_rate,
            "logging_steps": max(1, plan.steps // 5),
            "disable_tqdm": True,
            "seed": seed,
        },
    )


def examination(plan: StudyPlan, home: Path, student: str, seed: int, ledger: Path) -> EvaluateConfig:
    """Evaluation settings, with the transformers engine, whose samples are reproducible."""
    return EvaluateConfig(
        student=student,
        tasks=("toy",),
        max_samples=plan.problems,
        n=plan.samples,
        max_tokens=plan.max_tokens,
        seed=seed,
        grader="exact",
        engine="transformers",
        output_dir=str(home),
        ledger=str(ledger),
        progress=False,
    )


def tokens_a_row(plan: StudyPlan, folder: Path, arm: Arm) -> float:
    """Mean tokens of a row: prompt and target."""
    from palign_hf.prompts import tag_style
    from palign_hf.students import load_tokenizer, resolve_student
    from palign_hf.training.data import read_lessons
    from palign_hf.training.features import row_features
    from palign_hf.training.turns import Turns

    config = training(plan, folder, arm, 0, 1, folder / "weights")
    tokenizer = load_tokenizer(resolve_student(str(student_folder())))
    turns, style = Turns(tokenizer), tag_style(config.planned.tag_style)
    rows: Any = read_lessons(config, tokenizer).train
    counts = [row_features(row, turns, "question", style)["tokens"] for row in rows]
    return float(sum(counts) / len(counts))


def samples_of(folder: Path, arm: str, seed: int) -> Path:
    """File of a student's samples."""
    return place(folder, arm, seed) / SAMPLES_FILE
