"""Build of the toy student from random weights: `python -m examples.toy.student.build --output-dir runs/toy/student`.

Each step trains on judging, finishing, solving and sums (`lessons.py`), one tree at a time, without padding; gradients
are accumulated over all of them. All draws depend on the seed and the step number, and the state is saved regularly,
so an interrupted build resumes and gives the same weights on the same machine.
"""

import argparse
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.toy.student.exam import Exam, examine, say, student_card
from examples.toy.student.lessons import HEAD, LessonPlan, curriculum
from examples.toy.student.tokenizer import CONTEXT, make_tokenizer
from examples.toy.student.tree import collate, read
from palign_hf.errors import UserError
from palign_hf.runs.launch import ended
from palign_hf.runs.report import versions
from palign_hf.terminal import Progress


if TYPE_CHECKING:
    from torch.optim import Optimizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

_EXAM_ROWS, _FEWEST = 200, 20
# The state stays beside the weights until the build ends; a save takes a tenth of a step.
_STATE, _KEEP_EVERY = ".unfinished.pt", 20


def build(plan: LessonPlan, folder: Path, rows: int) -> Exam:
    """Train, save and evaluate; resumes an interrupted build of the same plan."""
    state = folder / _STATE
    if (folder / "config.json").exists() and not state.exists():
        raise UserError(
            f"`{folder}` holds a student already. Delete it to rebuild, or give `--exam-only` to evaluate it again."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"`{folder}` can't be written to ({error}). Give another `--output-dir`.") from error
    tokenizer = make_tokenizer(tokenizer_texts(plan), plan.vocabulary)
    train(plan, tokenizer, state).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    exam = examine_folder(folder, rows)
    # A killed build may have left an unfinished state beside the last one.
    for left in folder.glob(f"{_STATE}*"):
        left.unlink()
    return exam


def examine_folder(folder: Path, rows: int) -> Exam:
    """Evaluate a built student on the test split, and write its card."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise UserError(f"`{folder}` holds no student. Give a folder that this command wrote.")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    if not hasattr(model.config, "toy_plan"):
        raise UserError(
            f"`{folder}` has no record of its build, so no card can be written. Give a folder of this command."
        )
    exam = examine(model, tokenizer, rows)
    card = student_card(model.config.toy_plan, model.config.toy_made, exam, model.num_parameters())
    (folder / "README.md").write_text(card, encoding="utf-8")
    return exam


def tokenizer_texts(plan: LessonPlan) -> Iterator[str]:
    """Training texts of the tokenizer, besides prompts and numbers."""
    for problem in plan.stream(0, plan.texts):
        yield from (problem.question, problem.trace, problem.solution)


def train(plan: LessonPlan, tokenizer: "PreTrainedTokenizerFast", state: Path) -> "LlamaForCausalLM":
    """Run the training loop from the step in `state`."""
    import torch
    from torch.nn.functional import cross_entropy

    torch.manual_seed(plan.seed)
    model = new_model(plan, tokenizer)
    optimizers = _optimizers(plan, model)
    learners = [model, *(optimizer for optimizer, _ in optimizers)]
    first = _restore(plan, state, learners)
    losses: list[float] = []

    def loss_so_far(seconds: float) -> dict[str, str]:
        return {"loss": f"{sum(losses) / len(losses):.3f}"} if losses else {}

    bar = Progress(plan.steps, "training", details=loss_so_far, unit="step", before=first)
    model.train()
    for step, groups in enumerate(curriculum(plan, tokenizer, first), first):
        for optimizer, rate in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * _pace(step, plan)
        total = 0.0
        for trees in groups:
            weight = sum(lesson[2] for tree in trees for lesson in tree.lessons)
            for batch in map(collate, trees):
                with torch.autocast("cpu", torch.bfloat16):
                    logits = model.lm_head(read(model, batch)[batch.places])
                surprise = cross_entropy(logits.float(), batch.targets, reduction="none")
                loss = (surprise * batch.weights).sum() / weight
                loss.backward()
                total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, _ in optimizers:
            optimizer.step()
        model.zero_grad(set_to_none=True)
        losses = [*losses[-49:], total]
        if (step + 1) % _KEEP_EVERY == 0 or step + 1 == plan.steps:
            _keep(plan, state, step + 1, learners)
        bar.advance()
    bar.close()
    return model


def new_model(plan: LessonPlan, tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    """Return a small Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.width,
        intermediate_size=plan.inner,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.width // HEAD,
        num_key_value_heads=plan.width // HEAD,
        head_dim=HEAD,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config.toy_plan = asdict(plan)
    made = ", ".join(f"{name} {number}" for name, number in versions().items())
    config.toy_made = f"{made} on {os.cpu_count()} {platform.machine()} cores, {sys.platform}"
    return LlamaForCausalLM(config)


def _optimizers(plan: LessonPlan, model: "LlamaForCausalLM") -> "list[tuple[Optimizer, float]]":
    """Return Muon for the hidden matrices, which takes fewer steps, and AdamW for the rest, with their rates."""
    from torch.optim import AdamW, Muon

    inner = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    outer = [weight for weight in model.parameters() if not any(weight is one for one in inner)]
    muon = Muon(inner, lr=plan.matrix_rate, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    adam = AdamW(outer, lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.0)
    return [(muon, plan.matrix_rate), (adam, plan.rate)]


def _keep(plan: LessonPlan, state: Path, step: int, learners: list[Any]) -> None:
    """Save the state of the next step atomically."""
    import torch

    unfinished = state.with_name(f"{state.name}.{os.getpid()}")
    torch.save({"plan": asdict(plan), "step": step, "learnt": [one.state_dict() for one in learners]}, unfinished)
    unfinished.rename(state)


def _restore(plan: LessonPlan, state: Path, learners: list[Any]) -> int:
    """Load the state of an earlier build of the same plan; return its number of finished steps."""
    import torch

    if not state.exists():
        return 0
    kept = torch.load(state, weights_only=True)
    if kept["plan"] != asdict(plan):
        raise UserError(
            f"`{state}` is the state of a build with another plan: {kept['plan']}. Build into another folder, or "
            f"delete that file to start over."
        )
    for one, learnt in zip(learners, kept["learnt"], strict=True):
        one.load_state_dict(learnt)
    return int(kept["step"])


def _pace(step: int, plan: LessonPlan) -> float:
    """Learning-rate schedule: warm-up, constant to the middle, then linear decay to 0."""
    left = 1 - step / plan.steps
    return min(1.0, (step + 1) / plan.warm_up, 0.02 + 0.98 * 2 * left)


def main(argv: list[str] | None = None) -> int:
    """Build from the command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.toy.student.build", description=__doc__.split("\n\n")[0])
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for weights, tokenizer and card")
    parser.add_argument(
        "--exam-only", action="store_true", help="only evaluate the student in the folder, and write its card"
    )
    parser.add_argument(
        "--exam-rows", type=int, default=_EXAM_ROWS, help="held-out problems of each kind in the evaluation"
    )
    for name, default in asdict(LessonPlan()).items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type(default), default=default, help=f"default: {default}")
    options = vars(parser.parse_args(argv))
    folder, rows, exam_only = options.pop("output_dir"), options.pop("exam_rows"), options.pop("exam_only")

    def body() -> int:
        if rows < _FEWEST:
            raise UserError(f"`--exam-rows {rows}` is too few to evaluate a student. Give {_FEWEST} or more.")
        exam = examine_folder(folder, rows) if exam_only else build(LessonPlan(**options), folder, rows)
        say(f"wrote {folder}: judge AUROC {exam.judge.auroc:.4f}, accuracy {exam.judge.accuracy:.4f}; see README.md")
        return 0

    return ended("build", body, parser)


if __name__ == "__main__":
    sys.exit(main())
