"""lighteval metric that computes all measures: each sample is graded once, and its labels stay with the problem.

A backend that has labelled its samples puts them into `doc.specific["samples"]`; those of any other backend are graded
here, in the grader pool, and put there. So lighteval's details contain the labels of every sample.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from lighteval.metrics.metrics_sample import SampleLevelComputation, SamplingMetric
from lighteval.metrics.utils.metric_utils import SampleLevelMetricGrouping
from lighteval.models.model_output import ModelResponse
from lighteval.tasks.requests import Doc, SamplingMethod

from palign_hf.errors import UserError
from palign_hf.evaluation.metrics import RATES, VERDICTS, measure, shown_ks
from palign_hf.evaluation.problems import COLUMNS
from palign_hf.evaluation.samples import Output, Sample, sampled, ungraded
from palign_hf.grading import GraderPool
from palign_hf.prompts import TAG_STYLES, TagStyle, tag_style


_MEANS = (*RATES, "draft_share", "tokens", "draft_tokens")
# Of these less is better, or neither is.
_LOWER = ("cut", "loop", "draft_share", "tokens", "draft_tokens")


class LabelledSamples(SampleLevelComputation, SamplingMetric):
    """The measures of one problem's `n` samples."""

    def __init__(self, n: int, grader: str = "math") -> None:
        self.n, self.grader = n, grader

    def num_samples(self) -> int:
        """Number of samples that lighteval requests."""
        return self.n

    def compute(self, doc: Doc, model_response: ModelResponse, **_: Any) -> dict[str, float]:
        """All measures; those that a backend's samples don't support, such as finish reasons, are left out."""
        assert doc.specific is not None
        if "samples" not in doc.specific:
            doc.specific["samples"] = [sample.row() for sample in self._graded(doc, model_response)]
        samples = [Sample.from_row(row) for row in doc.specific["samples"]]
        self._check(doc, len(samples))
        found = measure(samples)
        named = {f"{verdict} {name}": name for verdict in VERDICTS for name in _passes(self.n)}
        values = {_name(name, self.n): found.value(name) for name in (*named, *_MEANS)}
        return {name: value for name, value in values.items() if value is not None}

    def _graded(self, doc: Doc, response: ModelResponse) -> list[Sample]:
        self._check(doc, len(response.text))
        assert doc.specific is not None
        shared = {name: doc.specific[name] for name in COLUMNS} | {"about": doc.specific.get("about", {})}
        counts = [len(ids) for ids in response.output_tokens]
        tokens = counts if len(counts) == self.n else [None] * self.n
        outputs = [
            Output(**shared, sample=number, text=text, tokens=count)
            for number, (text, count) in enumerate(zip(response.text, tokens, strict=True))
        ]
        grades = iter(_pool(self.grader).grade_all((one.text or "", one.gold) for one in outputs if not one.blank))
        return [sampled(one, ungraded(one) if one.blank else next(grades), _style(one.text or "")) for one in outputs]

    def _check(self, doc: Doc, samples: int) -> None:
        if samples != self.n:
            raise UserError(
                f"`{doc.task_name}` has {samples} samples of the problem {doc.id}, and {self.n} were asked for. Each "
                f"counts: let the model give all of them."
            )


def metric(n: int, grader: str = "math") -> SampleLevelMetricGrouping:
    """The metric over `n` samples a problem."""
    names = [_name(f"{verdict} {name}", n) for verdict in VERDICTS for name in _passes(n)] + list(_MEANS)
    better: Any = {name: name not in _LOWER for name in names}
    return SampleLevelMetricGrouping(
        metric_name=names,
        higher_is_better=better,
        category=SamplingMethod.GENERATIVE,
        sample_level_fn=LabelledSamples(n, grader),
        corpus_level_fn=dict.fromkeys(names, np.mean),
    )


def _passes(n: int) -> Sequence[str]:
    return [*(f"pass@{k}" for k in shown_ks(n)), "avg@n", "maj@n"]


def _name(name: str, n: int) -> str:
    """As lighteval's tables show it: `strict_pass@3`."""
    return name.replace(" ", "_").replace("@n", f"@{n}")


def _style(text: str) -> TagStyle:
    """The tags that a text begins with."""
    begun = text.lstrip()
    return next((one for one in TAG_STYLES.values() if one.open and begun.startswith(one.open)), tag_style("none"))


@lru_cache(maxsize=4)
def _pool(grader: str) -> GraderPool:
    """One pool for all problems; its workers end with this process."""
    return GraderPool(grader)
