"""Reproducibility notes of an evaluation report."""

from collections.abc import Iterable


# Reproducibility with the same seed, by engine.
ENGINES = {
    "transformers": "Every sample is drawn alone, so on a CPU the same seed gives the same samples, whatever else is "
    "in the run; a GPU may round differently for a prompt that is partly in its cache, and then a sample may differ "
    "where two tokens are near.",
    "vllm": "vLLM's rounding depends on the rest of its batch, so a sample that is drawn again with the same seed may "
    "differ where two tokens are near.",
    "server": "Each request carries the sample's seed; whether the server uses it depends on the server.",
}
LEDGER = (
    "A sample stays in the ledger as it was first drawn, by any run, so the same command with the same ledger "
    "gives the same table."
)
GRADES = "The same text gets the same grade, unless grading it takes longer than {seconds:g} s."
INTERVALS = "Intervals are resampled with a fixed seed: the same samples give the same ones."


def repeatable(engines: Iterable[str], seed: int, seconds: float) -> dict[str, str]:
    """The notes by topic; `engines` begin with the names of those that drew the samples."""
    names = dict.fromkeys(one.split()[0] for one in engines)
    return {
        "seed": f"The seed is {seed}; each sample has its own, made of that one, the problem's text and the sample's "
        f"number, so neither order nor the number of processes matters.",
        **{name: ENGINES.get(name, f"The reproducibility of `{name}` is unknown.") for name in names},
        "ledger": LEDGER,
        "grades": GRADES.format(seconds=seconds),
        "intervals": INTERVALS,
    }
