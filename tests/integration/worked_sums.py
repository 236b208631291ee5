"""Problems with a worked trace each, as many as a test needs; their judge is asked at 16 and more cuts of each."""

from datasets import Dataset

from palign_hf.schema import TRACES


def worked_sums(rows: int) -> Dataset:
    """Sums from different starts, told at length."""
    told = []
    for n in range(rows):
        steps = [
            f"Add {k} to what we have so far, {n + sum(range(k))}, and get {n + sum(range(k + 1))}."
            for k in range(1, 25)
        ]
        trace = (
            f"Okay, let me see. We start from {n}.\n\n" + " ".join(steps) + "\n\nWait, let me check that again. Yes."
        )
        total = n + sum(range(25))
        question = f"Start from {n} and add the numbers from 1 to 24. What do you get?"
        told.append({"id": f"sum-{n}", "question": question, "trace": trace, "answer": str(total), "source": "test"})
    return Dataset.from_list(told, features=TRACES.features)
