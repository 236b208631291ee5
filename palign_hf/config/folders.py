"""Settings that name a folder: seen to be wrong before anything is loaded."""

import os
from pathlib import Path

from palign_hf.errors import UserError, shown


def check_folder(name: str, given: str, advice: str = "Give another folder.", written: bool = False) -> None:
    """Refuse what can't be a folder, or can't be `written` to; what isn't there yet may still be made."""
    said = f"`{name}={shown(given, most=4096)}`"
    folder = Path(os.path.expanduser(given))
    reason = ""
    if "\0" in given:
        reason = "a name has no null character"
    elif given.startswith("~") and str(folder).startswith("~"):
        reason = f"there is no user `{folder.parts[0].removeprefix('~')}` here"
    if reason:
        raise UserError(f"{said} can't be a folder: {reason}. {advice}")
    try:
        place = next(place for place in (folder, *folder.parents) if place.exists())
    except OSError as error:
        raise UserError(f"{said} can't be a folder: {error.strerror}. {advice}") from error
    if not place.is_dir():
        raise UserError(f"{said} can't be a folder: `{place}` is a file. {advice}")
    if written and not os.access(place, os.W_OK):
        raise UserError(f"{said} can't be written: `{place}` is read-only. {advice}")
