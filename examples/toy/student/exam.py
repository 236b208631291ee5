"""Evaluation of a toy student on held-out problems, and its model card.

The judge is read at every cut of every trace, which a tree makes cheap. Solving is greedy, without a prefix and from
prefixes around the true cut: only if these differ is "sufficient" a property of the student, not of the problem alone.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.toy.student.lessons import LessonPlan
from examples.toy.student.tree import Text, collate, grow, read
from palign_hf.generation.rendering import ChatPrompt, JudgePrompt
from palign_hf.grading import ExactGrader
from palign_hf.prompts import ALIGN, JUDGE, LABELS, SOLVE
from palign_hf.segmentation import cuts
from palign_hf.toy import NAME
from palign_hf.toy.world.problems import DIFFICULTIES, NEAR, VERSION, JudgeSkill, ToyProblem, judge_skill, problems


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_SPLIT = "test"
_BATCH = 64
# About the length of the longest clean solution; a student that isn't done by then is in a loop.
_MOST_TOKENS = 200
# Prefixes to finish from, as segments before the true cut (None: no prefix).
_SHOWN = {"nothing": None, "4 segments too few": 4, "2 segments too few": 2, "the true cut": 0}


@dataclass(frozen=True)
class Exam:
    """The judge's skill, and shares of right answers with greedy decoding.

    Each difficulty has `problems` problems; finishing uses the `unfinished` problems that need a prefix.
    """

    problems: int
    unfinished: int
    judge: JudgeSkill
    solved: dict[str, float]
    finished: dict[str, float]


def examine(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", rows: int) -> Exam:
    """Judge, solve and finish `rows` held-out problems (solve: `rows` of each difficulty)."""
    model.eval()
    mixed = list(problems(_SPLIT, rows))
    say(f"judging every cut of {rows} traces")
    judge = judge_skill(judge_curves(model, tokenizer, mixed))
    solve, align = ChatPrompt(tokenizer, SOLVE, "toy"), ChatPrompt(tokenizer, ALIGN, "toy")
    solved = {}
    for difficulty in DIFFICULTIES:
        say(f"solving {rows} problems of difficulty {difficulty}")
        chosen = list(problems(_SPLIT, rows, difficulties=(difficulty,)))
        prompts = [solve.ids(problem.question) for problem in chosen]
        solved[str(difficulty)] = _share_right(model, tokenizer, prompts, chosen)
    finished = {}
    hard = [problem for problem in mixed if problem.sufficient_segments]
    for name, before in _SHOWN.items():
        say(f"finishing {len(hard)} problems from {name}")
        prompts = []
        for problem in hard:
            cut = 0 if before is None else max(0, problem.sufficient_segments - before)
            prompts.append(align.ids(problem.question, problem.trace[: [0, *cuts(problem.trace)][cut]]))
        finished[name] = _share_right(model, tokenizer, prompts, hard)
    return Exam(rows, len(hard), judge, solved, finished)


def judge_curves(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", chosen: Iterable[ToyProblem]
) -> list[tuple[dict[int, float], int, int]]:
    """Return the margin at every cut of each trace, with the true cut and the number of segments."""
    import torch

    judge = JudgePrompt(tokenizer, JUDGE, LABELS, "toy")
    enough, not_enough = judge.label_ids
    curves = []
    for problem in chosen:
        ends = [0, *cuts(problem.trace)]
        prompt = judge.problem(problem.question, problem.trace)
        tree = grow([Text(ids, [0.0] * len(ids)) for ids in map(prompt.ids, ends)])
        with torch.inference_mode():
            logits = model.get_output_embeddings()(read(model, collate(tree))[tree.ends]).float()
        margins = (logits[:, enough] - logits[:, not_enough]).tolist()
        curves.append((dict(enumerate(margins)), problem.sufficient_segments, len(ends) - 1))
    return curves


def _share_right(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[list[int]],
    chosen: Sequence[ToyProblem],
) -> float:
    """Share of prompts whose greedy reply ends with the right answer."""
    import torch

    right, grader = 0, ExactGrader()
    for first in range(0, len(prompts), _BATCH):
        part = list(prompts[first : first + _BATCH])
        batch: Any = tokenizer.pad({"input_ids": part}, padding_side="left", return_tensors="pt")
        with torch.inference_mode():
            replies = model.generate(**batch, max_new_tokens=_MOST_TOKENS, do_sample=False)  # type: ignore[operator]
        texts = tokenizer.batch_decode(replies[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        for text, problem in zip(texts, chosen[first : first + _BATCH], strict=True):
            right += grader.grade(text, problem.answer).strict
    return right / len(prompts) if prompts else 0.0


def say(line: str) -> None:
    """Print one line to stderr, unbuffered."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def student_card(plan: dict[str, Any], made: str, exam: Exam, parameters: int) -> str:
    """Render `card.md` with metadata; every figure comes from `exam`, `made` describes the build machine."""
    from huggingface_hub import EvalResult, ModelCardData

    judge = exam.judge
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=NAME,
            dataset_name=f"{NAME} judge",
            dataset_split=_SPLIT,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )
        for metric, name, value in (
            ("roc_auc", "AUROC of the judge, every cut", judge.auroc),
            ("roc_auc", "AUROC of the judge, near the true cut", judge.near_auroc),
            ("accuracy", "accuracy of the judge, every cut", judge.accuracy),
        )
        if value is not None
    ]
    data = ModelCardData(
        license="apache-2.0",
        language="en",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["palign-hf", "toy"],
        model_name=NAME,
        eval_results=results,
    )
    changed = {name: value for name, value in plan.items() if value != getattr(LessonPlan(), name)}
    body = (
        Path(__file__)
        .with_name("card.md")
        .read_text(encoding="utf-8")
        .format(
            name=NAME,
            millions=parameters / 1e6,
            world=VERSION,
            rows=exam.problems,
            unfinished=exam.unfinished,
            near=NEAR,
            judge=judge,
            solved="\n".join(f"| {name} | {share:.1%} |" for name, share in exam.solved.items()),
            finished="\n".join(f"| {name} | {share:.1%} |" for name, share in exam.finished.items()),
            changes="".join(f" --{name.replace('_', '-')} {value}" for name, value in changed.items()),
            plan=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plan.items()),
            made=made,
        )
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"
