"""Refusal of secrets in settings, since settings are written into reports and cards."""

from collections.abc import Mapping
from typing import Any

from palign_hf.errors import UserError, shown
from palign_hf.redact import is_secret_name


# Settings that may hold secrets; their values are masked wherever a run writes.
_SENT = ("headers",)


def refuse_secrets(values: Mapping[Any, Any], error: type[UserError] = UserError, section: str = "") -> None:
    """Refuse text settings with the name of a secret (`hub_token`, `api_key`), in sections too.

    Args:
        values (`Mapping`): settings of a recipe or of options.
        error (`type[UserError]`): the exception type; its message names the setting and never its value.
        section (`str`): prefix of the keys, such as `training.`.
    """
    for name, value in values.items():
        if name in _SENT:
            continue
        if isinstance(name, str) and is_secret_name(name) and _has_text(value):
            raise error(
                f"`{section}{shown(name)}` would be a secret among the settings, which are written into reports and "
                f"cards. Leave it out: log in with `hf auth login`, or set it in the environment (`HF_TOKEN` for the "
                f"Hub, `PALIGN_API_KEY` for a server)."
            )
        if isinstance(value, Mapping):
            refuse_secrets(value, error, f"{section}{shown(name)}.")
        elif isinstance(value, (list, tuple)):
            for one in value:
                if isinstance(one, Mapping):
                    refuse_secrets(one, error, f"{section}{shown(name)}.")


def _has_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_text, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_text, value))
    return isinstance(value, str) and bool(value)
