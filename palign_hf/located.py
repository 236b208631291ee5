"""Import and check of a user's own classes, functions and objects that are given as `module:name`.

The import runs their module's code: a recipe that names one is code, to be read like any other. The object is checked
before anything calls it, so that a recipe can't call other installed code.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import Any

from palign_hf.errors import UserError, listed, shown


_CALLING: ContextVar[bool] = ContextVar("calling", default=True)


class Uncalled:
    """Stands for an object of a user's own class where nothing of it may be called, as in `--dry-run`."""

    def __init__(self, name: str, parameters: Mapping[str, Any]) -> None:
        self.name, self.parameters = name, dict(parameters)


@contextmanager
def uncalled() -> Iterator[None]:
    """Within, a user's own parts are imported and checked, and an `Uncalled` stands for what they would make."""
    token = _CALLING.set(False)
    try:
        yield
    finally:
        _CALLING.reset(token)


def may_call() -> bool:
    """Whether a user's own code may be called."""
    return _CALLING.get()


def is_location(name: object) -> bool:
    """Whether a name is `module:name`."""
    return isinstance(name, str) and name.count(":") == 1


def located(what: str, name: str) -> Any:
    """The object behind `module:name`, not called; `what` is what it is to be, for the message."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (Exception, SystemExit) as error:  # one's own module may fail with anything
        raise UserError(
            f"The {what} `{shown(name)}` can't be imported: {type(error).__name__}: {error}. Give `module:name` of "
            f"one that this environment can import."
        ) from error


def check_kind(
    what: str, found: Any, name: str, methods: Collection[str], attributes: Collection[str] = ("name",)
) -> None:
    """Refuse a class without the methods of such a thing, and what is no class, before it is called.

    `attributes` may be set by its constructor; the message about a refused class names those that it lacks.
    """
    needs = f"Give `module:name` of a class with {listed((*attributes, *methods))}."
    if not isinstance(found, type):
        raise UserError(f"`{shown(name)}` is no {what} but a `{type(found).__name__}`, and was not called. {needs}")
    if not all(callable(getattr(found, method, None)) for method in methods):
        lacking = [one for one in (*attributes, *methods) if not hasattr(found, one)]
        raise UserError(
            f"`{shown(name)}` is no {what}: the class lacks {listed(lacking)}, and was not called. {needs}"
        )


def check_function(what: str, found: Any, name: str, arguments: Collection[str]) -> None:
    """Refuse what isn't a function of a user's own that takes these arguments, before it is called."""
    home = str(getattr(found, "__module__", None) or type(found).__module__).partition(".")[0]
    reason = ""
    if not callable(found):
        reason = "it can't be called"
    elif home in sys.stdlib_module_names or inspect.isbuiltin(found):
        reason = f"it is a function of Python itself (`{home}`)"
    else:
        try:
            inspect.signature(found).bind(*arguments)
        except (TypeError, ValueError) as error:
            reason = f"it can't be called with {listed(arguments)}: {error}"
    if reason:
        raise UserError(
            f"`{shown(name)}` is no {what}: {reason}, and it was not called. Give `module:name` of a function "
            f"`({', '.join(arguments)})` of your own, or of a class."
        )


def made(what: str, kind: Callable[..., Any], name: object, parameters: Mapping[str, Any]) -> Any:
    """An object of that kind; `UserError` names the parameters that it can't be made from."""
    try:
        return kind(**parameters)
    except UserError:
        raise
    except Exception as error:  # one's own class may fail with anything
        raise UserError(
            f"The {what} `{shown(name)}` can't be made from `{shown(repr(dict(parameters)))}`: {error}. Give its "
            f"parameters."
        ) from error
