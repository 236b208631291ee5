"""What of an evaluation comes again and what needn't, in a sentence for each thing that decides it. Pure."""

from collections.abc import Iterable


# What comes again with the same seed, by the engine that draws.
ENGINES = {
    "transformers": "Every sample is drawn alone, so on a CPU the same seed gives the same samples, whatever else is "
    "asked; a GPU may round otherwise for a prompt that is partly in its cache, and then a sample may part ways where "
    "two tokens are near.",
    "vllm": "vLLM rounds by what else is in its batch, so a sample that is drawn anew with the same seed may part "
    "ways where two tokens are near.",
    "server": "Each sample is asked for with its seed; whether the server keeps to it is its own affair.",
}
LEDGER = (
    "A sample stays in the ledger as it was first drawn, whoever drew it, so the same command with the same ledger "
    "gives the same table."
)
GRADES = "The same text gets the same grade, unless grading it took longer than {seconds:g} s: then time decides."
INTERVALS = "Intervals are resampled with a fixed seed: the same samples give the same ones."


def repeatable(engines: Iterable[str], seed: int, seconds: float) -> dict[str, str]:
    """The sentences, by what they are about; `engines` begin with the names of those that drew the samples."""
    names = dict.fromkeys(one.split()[0] for one in engines)
    return {
        "seed": f"The seed is {seed}; each sample has its own, made of that one, the problem's text and the sample's "
        f"number, so neither order nor the number of processes matters.",
        **{name: ENGINES.get(name, f"What `{name}` repeats isn't known.") for name in names},
        "ledger": LEDGER,
        "grades": GRADES.format(seconds=seconds),
        "intervals": INTERVALS,
    }
