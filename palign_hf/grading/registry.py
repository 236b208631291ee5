"""Resolution of graders: by name, by name and parameters, as an object, or as `module:name` of the user's code."""

from collections.abc import Callable, Mapping
from typing import Any

from palign_hf.config.resolve import (
    Uncalled,
    check_function,
    check_kind,
    is_location,
    located,
    made,
    may_call,
)
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.grading.extraction import last_boxed
from palign_hf.grading.graders import ChoiceGrader, ExactGrader, Grade, Grader, MathGrader, as_text


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
        self.version = getattr(self._function, "version", 1)

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
        answer = last_boxed(output)
        try:
            verdict = self._function(output, gold)
        except Exception as error:  # the user's code may raise anything
            return Grade(False, False, answer, f"{self.name}: {type(error).__name__}: {error}")
        if isinstance(verdict, Grade):
            return verdict
        if verdict is None or isinstance(verdict, str):
            return Grade(False, False, answer, f"{self.name} returned {shown(verdict)}, which is no verdict")
        return Grade(bool(verdict), bool(verdict), answer)


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
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        return _checked(spec, shown(repr(spec)))
    name, parameters = spec.get("name"), {key: value for key, value in spec.items() if key != "name"}
    if isinstance(name, str) and name in GRADERS:
        kind: Any = GRADERS[name]
    elif is_location(name):
        kind = located("grader", str(name))
        if not isinstance(kind, type):
            if parameters:
                raise UserError(f"`{shown(name)}` takes no {listed(parameters)}: it is no class. Leave them out.")
            return _checked(kind, str(name)) if hasattr(kind, "grade") else OwnGrader(str(name))
        check_kind("grader", kind, str(name), ("grade",), ("name", "version"))
        if not may_call():
            return UncalledGrader(str(name), parameters)
    else:
        raise UserError(
            f"`{shown(name)}` is no grader{nearest(shown(name), GRADERS)}. Choose one of {listed(GRADERS)}, or "
            f"`module:name` of your own."
        )
    return _checked(made("grader", kind, name, parameters), str(name))


def _checked(grader: Any, given: str) -> Grader:
    if missing := [name for name in ("name", "version", "grade") if not hasattr(grader, name)]:
        raise UserError(
            f"`{given}` is no grader: it lacks {listed(missing)}. Give one of {listed(GRADERS)}, `module:name` of a "
            f"function, or an object with `name`, `version` and `grade(output, gold)`."
        )
    return grader
