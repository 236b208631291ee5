"""Validation of settings that name a folder, before anything is loaded."""

import os
import re
from pathlib import Path

from palign_hf.errors import UserError, shown


# `s3://bucket`, `file:///tmp`; and `::`, which chains file systems in paths of `datasets` and fsspec.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w*|\{\w+\})")


def folder_of(given: str | Path) -> Path:
    """The folder of a setting; `~` of an unknown user stays as it is."""
    return Path(os.path.expanduser(given))


def check_folder(name: str, given: str, advice: str = "Give another folder.", written: bool = False) -> None:
    """Refuse a path that can't be a local folder, or can't be `written` to; a missing folder may still be created."""
    given_as = f"`{name}={shown(given, most=4096)}`"
    if reason := _no_path(given):
        raise UserError(f"{given_as} can't be a folder: {reason}. {advice}")
    folder = folder_of(given)
    try:
        place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
        there = place.exists()
    except OSError as error:
        raise UserError(f"{given_as} can't be a folder: {error.strerror}. {advice}") from error
    if not there:
        raise UserError(f"{given_as} can't be a folder: `{place}` is a link to nothing. {advice}")
    if not place.is_dir():
        raise UserError(f"{given_as} can't be a folder: `{place}` is a file. {advice}")
    try:
        folder.exists()  # a name may be too long for its file system
    except OSError as error:
        raise UserError(f"{given_as} can't be a folder: {error.strerror}. {advice}") from error
    if written and not os.access(place, os.W_OK):
        raise UserError(f"{given_as} can't be written: `{place}` is read-only. {advice}")


def _no_path(given: str) -> str:
    """Why a text is no path of a local folder; empty if it may be one."""
    if "\0" in given:
        return "a name has no null character"
    if any("\ud800" <= char <= "\udfff" for char in given):
        return "it holds half a surrogate pair, which is no Unicode"
    if found := _ADDRESS.match(given):
        return f"it is an address of `{found[0]}`, and results are written to a local folder"
    if "::" in given:
        return "`::` stands between file systems for `datasets`, so it would read another place"
    if found := _VARIABLE.search(given):
        return f"the variable `{found[0]}` is not expanded here, so give its value"
    if given.startswith("~") and (home := os.path.expanduser(given)).startswith("~"):
        return f"there is no user `{Path(home).parts[0].removeprefix('~')}` here"
    return ""
