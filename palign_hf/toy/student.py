"""The shipped student of the toy world: where it lies, and the name under which everything finds it."""

from pathlib import Path


# A student's name and a source of traces at once; a repository of the Hub has an owner before its name.
NAME = "palign-toy"


def toy_student() -> Path:
    """The folder of the student that ships with the package, as `from_pretrained` and vLLM load it."""
    return Path(__file__).parent / "student"
