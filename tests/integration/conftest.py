"""Real engines for real students: SmolLM2-135M out of its wheel, exported once and kept beside the checkout."""

from pathlib import Path

import pytest

from palign_hf.toy.demo.run import export


@pytest.fixture(scope="session")
def smollm2() -> str:
    """The folder of SmolLM2-135M-Instruct (25 s the first time)."""
    return str(export(Path(__file__).parents[2] / ".palign" / "smollm2-135m"))


@pytest.fixture(scope="session")
def traces():
    """Six problems with a worked trace each, long enough that prefixes span many blocks of the cache."""
    from datasets import Dataset

    from palign_hf.schema import TRACES

    rows = []
    for n in range(6):
        steps = [
            f"Add {k} to what we have so far, {n + sum(range(k))}, and get {n + sum(range(k + 1))}."
            for k in range(1, 25)
        ]
        trace = (
            f"Okay, let me see. We start from {n}.\n\n" + " ".join(steps) + "\n\nWait, let me check that again. Yes."
        )
        total = n + sum(range(25))
        question = f"Start from {n} and add the numbers from 1 to 24. What do you get?"
        rows.append({"id": f"sum-{n}", "question": question, "trace": trace, "answer": str(total), "source": "test"})
    return Dataset.from_list(rows, features=TRACES.features)
