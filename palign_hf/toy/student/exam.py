"""What a student of the toy world can do, on problems that it never saw.

The judge is read at every cut of every trace, which a tree makes cheap. Solving is greedy, from nothing and from
prefixes around the true cut: if these didn't differ, "sufficient" would be a word about the problem and not about
the student.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palign_hf.asking.rendering import JudgePrompt
from palign_hf.grading import last_boxed
from palign_hf.prompts import ALIGN, JUDGE, LABELS, NO_PREFIX, SOLVE
from palign_hf.segmentation import cuts
from palign_hf.toy.student.tree import Text, collate, grow, read
from palign_hf.toy.world.problems import DIFFICULTIES, ToyProblem, problems
from palign_hf.toy.world.truth import JudgeSkill, judge_skill


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_BATCH = 64
# The longest clean solution has about so many tokens; a student that isn't done by then goes in circles.
_MOST_TOKENS = 200
# Prefixes from which a solution is finished, as segments before the true cut (None: nothing is shown).
_SHOWN = {"nothing": None, "4 segments too few": 4, "2 segments too few": 2, "the true cut": 0}


@dataclass(frozen=True)
class Exam:
    """The judge's skill, and shares of right answers with greedy decoding.

    Each difficulty was solved on `problems` problems; finishing was tried on those `unfinished` that need a prefix.
    """

    split: str
    problems: int
    unfinished: int
    judge: JudgeSkill
    solved: dict[str, float]
    finished: dict[str, float]


def examine(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    split: str = "test",
    rows: int = 200,
    say: Callable[[str], None] = lambda line: None,
) -> Exam:
    """Judge, solve and finish `rows` held-out problems (solve: as many of each difficulty)."""
    model.eval()
    mixed = list(problems(split, rows))
    say(f"judging every cut of {rows} traces")
    judge = judge_skill(judge_curves(model, tokenizer, mixed))
    solved = {}
    for difficulty in DIFFICULTIES:
        say(f"solving {rows} problems of difficulty {difficulty}")
        chosen = list(problems(split, rows, difficulties=(difficulty,)))
        prompts = [SOLVE.render(question=problem.question) for problem in chosen]
        solved[str(difficulty)] = _share_right(model, tokenizer, prompts, chosen)
    finished = {}
    hard = [problem for problem in mixed if problem.sufficient_segments]
    for name, before in _SHOWN.items():
        say(f"finishing {len(hard)} problems from {name}")
        cut_at = [0 if before is None else max(0, problem.sufficient_segments - before) for problem in hard]
        prompts = [_align_prompt(problem, cut) for problem, cut in zip(hard, cut_at, strict=True)]
        finished[name] = _share_right(model, tokenizer, prompts, hard)
    return Exam(split, rows, len(hard), judge, solved, finished)


def judge_curves(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", chosen: Iterable[ToyProblem]
) -> list[tuple[dict[int, float], int, int]]:
    """The margin at every cut of each trace, with the true cut and the number of segments."""
    import torch

    judge = JudgePrompt(tokenizer, JUDGE, LABELS, "toy")
    enough, not_enough = judge.label_ids
    curves = []
    for problem in chosen:
        ends = [0, *cuts(problem.trace)]
        prompt = judge.problem(problem.question, problem.trace)
        tree = grow([Text(ids, [0.0] * len(ids)) for ids in (prompt.ids(end) for end in ends)])
        batch = collate(tree)
        with torch.inference_mode():
            logits = model.get_output_embeddings()(read(model, batch)[tree.ends]).float()
        margins = (logits[:, enough] - logits[:, not_enough]).tolist()
        curves.append((dict(enumerate(margins)), problem.sufficient_segments, len(ends) - 1))
    return curves


def _align_prompt(problem: ToyProblem, cut: int) -> str:
    end = cuts(problem.trace)[cut - 1] if cut else 0
    return ALIGN.render(question=problem.question, prefix=problem.trace[:end].rstrip() or NO_PREFIX)


def _share_right(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[str],
    chosen: Sequence[ToyProblem],
) -> float:
    """How often the greedy reply to each prompt ends with the right answer."""
    import torch

    right = 0
    encoded: Any = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, return_dict=False
        )
        for prompt in prompts
    ]
    for first in range(0, len(encoded), _BATCH):
        part = encoded[first : first + _BATCH]
        batch = tokenizer.pad({"input_ids": part}, padding_side="left", return_tensors="pt")
        width = batch["input_ids"].shape[1]
        with torch.inference_mode():
            replies = model.generate(**batch, max_new_tokens=_MOST_TOKENS, do_sample=False)  # type: ignore[operator]
        for reply, problem in zip(replies, chosen[first : first + _BATCH], strict=True):
            text = tokenizer.decode(reply[width:], skip_special_tokens=True)
            right += last_boxed(str(text)) == problem.answer
    return right / len(prompts) if prompts else 0.0
