"""Resolution of graders: by name, by name and parameters, as an object, or as `module:name` of the user's code."""

from collections.abc import Callable, Mapping
from typing import Any

from palign_hf.config.resolve import Resolver, Uncalled, check_function, located
from palign_hf.grading.extraction import last_boxed
from palign_hf.grading.graders import (
    ChoiceGrader,
    ExactGrader,
    Grade,
    Grader,
    MathGrader,
    as_grade,
    as_text,
    version_of,
)


# Graders with a name. The user's own are given as `module:name`.
GRADERS: dict[str, Callable[..., Grader]] = {"math": MathGrader, "choice": ChoiceGrader, "exact": ExactGrader}


class OwnGrader:
    """A user's function `(output, gold)` as a grader.

    The function returns a `Grade`, or a `bool` that is both the strict and the lenient verdict. Increase its attribute
    `version` whenever its verdicts change: fingerprints contain its name and version.

    Args:
        name (`str`): The function, as `module:name`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._function = located("grader", name)
        check_function("grader", self._function, name, ("output", "gold"))
        self.version = version_of(self._function)

    def __reduce__(self) -> tuple[type["OwnGrader"], tuple[str]]:
        return OwnGrader, (self.name,)

    def grade(self, output: str, gold: str) -> Grade:
        """Call the function; an exception becomes a wrong answer with an error.

        Args:
            output (`str`): What the model wrote.
            gold (`str`): The gold answer.

        Returns:
            `Grade`: The verdict.
        """
        output, gold = as_text(output), as_text(gold)
        try:
            return as_grade(self._function(output, gold), self.name, output)
        except Exception as error:  # the user's code may raise anything
            return Grade(False, False, last_boxed(output), f"{self.name}: {type(error).__name__}: {error}")


class UncalledGrader(Uncalled):
    """A placeholder for a user's grader class where it must not be instantiated."""

    version = 0

    def grade(self, output: str, gold: str) -> Grade:
        """Raises: a placeholder can't grade."""
        raise NotImplementedError(f"`{self.name}` is a placeholder that was not instantiated")


def make_grader(spec: "str | Mapping[str, Any] | Grader" = "math") -> Grader:
    """Resolve a grader.

    Args:
        spec (`str`, `Mapping` or `Grader`, defaults to `"math"`): A name of `GRADERS`, `module:name` of the user's own
            function, class or object, `{name: ..., parameter: ...}` as in recipes, or a grader.

    Returns:
        `Grader`: The grader.

    Raises:
        `UserError`: There is no such grader, or the object is none.
    """
    return _GRADER.resolve(spec)


_GRADER = Resolver[Grader](
    "grader",
    GRADERS,
    attributes=("name",),
    methods=("grade",),
    stand_in=lambda name, parameters, kind: UncalledGrader(name, parameters),
    example="{name: choice, letters: ABCDE}",
    from_function=OwnGrader,
)
