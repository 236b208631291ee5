"""The model card of a toy student: how it was made and what the exam found, in words and as Hub metadata."""

from typing import Any

from palign_hf.toy import NAME
from palign_hf.toy.student.exam import Exam
from palign_hf.toy.student.plan import Plan
from palign_hf.toy.world.problems import VERSION
from palign_hf.toy.world.truth import NEAR


_BODY = """\
# {name}

A student of {millions:.1f} million parameters for a world of small problems whose truth is known. It is there to try
palign-hf on a laptop, to test it, and to measure how well searches find the true cut. It knows about five hundred
words and is of no use for anything else.

```python
from palign_hf import PrefixTruncation, load_traces

if __name__ == "__main__":
    traces = load_traces("{name}", split="test", limit=100)
    with PrefixTruncation("{name}") as truncation:
        prefixes = traces.map(truncation, batched=True)
```

## What it was taught

Llama architecture, weights in bfloat16, trained from nothing on generated problems of the training split (version
{world} of the toy world). It was taught to solve the easiest problems from the bare question, to finish harder ones
from a sufficient prefix, and to say in the judge prompt whether a prefix is sufficient; the traces in the judge prompt
it also read along, at a fifth of the weight of a reply. The solve prompt was practised on the easiest problems only.
Its lessons are drawn apart from the rows that `load_traces` gives: no problem of the validation and test splits is
among them; some easy questions of the training split recur.

## What it can do

Problems of the test split: the judge on every cut of {rows} traces, solving on {rows} problems of each difficulty,
finishing on those {unfinished} of the traces that need a prefix. Greedy decoding.

| as a judge | every cut of a trace | the {near} cuts before the true one and the {near} from it on |
|---|---|---|
| cuts | {judge[cuts]:,} | {judge[near_cuts]:,} |
| accuracy | {judge[accuracy]:.4f} | {judge[near_accuracy]:.4f} |
| AUROC | {judge[auroc]:.4f} | {judge[near_auroc]:.4f} |
| AUROC of the prefix's length alone | {judge[auroc_of_length]:.4f} | {judge[near_auroc_of_length]:.4f} |

Length alone already tells most cuts of a whole trace apart, so the right column is what the judge adds.

| solving, by difficulty | right |
|---|---|
{solved}

| finishing from | right |
|---|---|
{finished}

## How to make it again

```bash
python -m palign_hf.toy.student.build --output runs/toy/student{changes}
```

Plan: {plan}. Made with {made}; the same plan gives the same bytes there, elsewhere rounding differs.
"""


def student_card(plan: dict[str, Any], made: str, exam: Exam, parameters: int) -> str:
    """Markdown with metadata; every figure comes from `exam`, `made` says with what and where it was built."""
    from huggingface_hub import EvalResult, ModelCardData

    def result(metric: str, name: str, value: float, dataset: str) -> EvalResult:
        return EvalResult(
            task_type="text-generation",
            dataset_type=NAME,
            dataset_name=f"{NAME} {dataset}",
            dataset_split=exam.split,
            metric_type=metric,
            metric_name=name,
            metric_value=round(value, 4),
        )

    judge = exam.judge
    assert judge.auroc is not None and judge.accuracy is not None and judge.near_auroc is not None
    data = ModelCardData(
        license="apache-2.0",
        language="en",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["palign-hf", "toy"],
        model_name=NAME,
        eval_results=[
            result("roc_auc", "AUROC of the judge, every cut", judge.auroc, "judge"),
            result("roc_auc", "AUROC of the judge, near the true cut", judge.near_auroc, "judge"),
            result("accuracy", "accuracy of the judge, every cut", judge.accuracy, "judge"),
        ],
    )
    usual = Plan()
    changes = "".join(
        f" --{name.replace('_', '-')} {value}" for name, value in plan.items() if value != getattr(usual, name)
    )
    body = _BODY.format(
        name=NAME,
        millions=parameters / 1e6,
        world=VERSION,
        rows=exam.problems,
        unfinished=exam.unfinished,
        near=NEAR,
        judge=judge.as_dict(),
        solved="\n".join(f"| {name} | {share:.1%} |" for name, share in exam.solved.items()),
        finished="\n".join(f"| {name} | {share:.1%} |" for name, share in exam.finished.items()),
        changes=changes,
        plan=", ".join(f"{name.replace('_', ' ')} {value}" for name, value in plan.items()),
        made=made,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{body}"
