"""Things that go by a name with parameters: `fixed(ratio=0.25)` as text, `{name: fixed, ratio: 0.25}` in recipes."""

import re
from collections.abc import Collection, Iterable
from typing import Any

from palign_hf.errors import UserError, listed, nearest, shown


_SPEC = re.compile(r"\s*([\w-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def read_named(spec: Any, what: str, known: Collection[str], example: str) -> tuple[str, dict[str, Any]]:
    """The name, one of `known`, and the parameters as they were given; `what` is how messages call such a thing."""
    if isinstance(spec, dict):
        parameters = dict(spec)
        name = parameters.pop("name", None)
    elif isinstance(spec, str) and (match := _SPEC.fullmatch(spec)):
        name, parameters = match[1], _parameters(spec, match[2] or "")
    else:
        raise UserError(f"`{shown(spec)}` names no {what}. Give one of {listed(known)}, as `{example}`.")
    if not isinstance(name, str) or name not in known:
        raise UserError(f"`{shown(name)}` is no {what}{nearest(name, known)}. Give one of {listed(known)}.")
    return name, parameters


def check_parameters(name: str, given: Iterable[object], known: Collection[str]) -> None:
    """Refuse a parameter that the thing of this name doesn't take."""
    for parameter in given:
        if parameter not in known:
            has = f"It takes {listed(known)}" if known else "It takes none"
            raise UserError(f"`{shown(parameter)}` is no parameter of `{name}`{nearest(parameter, known)}. {has}.")


def _parameters(spec: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in filter(str.strip, text.split(",")):
        key, _, value = (piece.strip() for piece in part.partition("="))
        try:
            number = int(value) if value.lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise UserError(
                f"`{shown(part.strip())}` in `{shown(spec)}` is no number for a parameter. Write `name=number`."
            ) from None
        if key in found:
            raise UserError(f"`{shown(spec)}` gives `{shown(key)}` twice. Leave one of them out.")
        found[key] = number
    return found
