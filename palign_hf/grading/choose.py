"""Which grader a user means: a name, a name with parameters, an object, or a function of one's own by where it is."""

from collections.abc import Callable, Mapping
from typing import Any

from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.grading.base import ExactGrader, Grade, Grader, as_text
from palign_hf.grading.boxes import last_boxed
from palign_hf.grading.choice import ChoiceGrader
from palign_hf.grading.maths import MathGrader
from palign_hf.located import Uncalled, check_function, check_kind, is_location, located, made, may_call


# Graders that a recipe can name; one's own are named by where they are, as `my_module:my_function`.
GRADERS: dict[str, Callable[..., Grader]] = {"math": MathGrader, "choice": ChoiceGrader, "exact": ExactGrader}


class OwnGrader:
    """A user's function `(output, gold) -> bool`: what it says is both strict and lenient. It may give a `Grade` too.

    Raise its attribute `version` whenever it judges otherwise: fingerprints know it by its name and that.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._function = located("grader", name)
        check_function("grader", self._function, name, ("output", "gold"))
        self.version = getattr(self._function, "version", 1)

    def __reduce__(self) -> tuple[type["OwnGrader"], tuple[str]]:
        return OwnGrader, (self.name,)

    def grade(self, output: str, gold: str) -> Grade:
        """What the function says; if it fails, a wrong one with its reason."""
        output, gold = as_text(output), as_text(gold)
        answer = last_boxed(output)
        try:
            said = self._function(output, gold)
        except Exception as error:  # one's own function may fail with anything
            return Grade(False, False, answer, f"{self.name}: {type(error).__name__}: {error}")
        if isinstance(said, Grade):
            return said
        if said is None or isinstance(said, str):
            return Grade(False, False, answer, f"{self.name} said {shown(said)}, which is neither right nor wrong")
        return Grade(bool(said), bool(said), answer)


class UncalledGrader(Uncalled):
    """Stands for a user's own grader of a class where it may not be made."""

    version = 0

    def grade(self, output: str, gold: str) -> Grade:
        """Never: it stands for a grader where nothing is graded."""
        raise NotImplementedError(f"`{self.name}` was to be looked at only")


def make_grader(spec: "str | Mapping[str, Any] | Grader" = "math") -> Grader:
    """The grader a user means: an object, a name, or `{name: ..., parameter: ...}` as recipes have it."""
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
            f"`module:name` of one's own."
        )
    return _checked(made("grader", kind, name, parameters), str(name))


def _checked(grader: Any, given: str) -> Grader:
    if missing := [name for name in ("name", "version", "grade") if not hasattr(grader, name)]:
        raise UserError(
            f"`{given}` is no grader: it lacks {listed(missing)}. Give one of {listed(GRADERS)}, `module:name` of a "
            f"function, or an object with `name`, `version` and `grade(output, gold)`."
        )
    return grader
