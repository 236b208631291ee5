"""What users bring along, named by where it is: `module:name` of a class or a function of their own."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from palign_hf.errors import UserError, shown


def is_location(name: object) -> bool:
    """Whether a name says where something is, rather than which of ours is meant."""
    return isinstance(name, str) and name.count(":") == 1


def located(what: str, name: str) -> Any:
    """The object behind `module:name`; `what` is what it is to be, for the message."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:  # one's own module may fail with anything
        raise UserError(
            f"The {what} `{name}` can't be imported: {type(error).__name__}: {error}. Give `module:name` of one that "
            f"this environment can import."
        ) from error


def made(what: str, kind: Callable[..., Any], name: object, parameters: Mapping[str, Any]) -> Any:
    """An object of that kind; parameters that it doesn't take are said in words."""
    try:
        return kind(**parameters)
    except UserError:
        raise
    except Exception as error:  # one's own class may fail with anything
        raise UserError(
            f"The {what} `{shown(name)}` can't be made from `{shown(repr(dict(parameters)))}`: {error}. Give its "
            f"parameters."
        ) from error
