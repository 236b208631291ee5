"""The finished run in a folder, with the description of its results.

The report names the stage, and the list of stages has its `Artifact`. Reports of the first release name no stage:
there the files of the folder decide.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError, listed
from palign_hf.hub.artifacts import Artifact, RunFolder, unlinked
from palign_hf.runs.parts import read_mapping
from palign_hf.runs.shards import REPORT
from palign_hf.runs.stages import all_stages, find_stage


def read_folder(folder: str | Path) -> RunFolder:
    """Read the finished run in a folder.

    Args:
        folder (`str` or `Path`): The output folder of a stage, or a folder in it that is published on its own.

    Returns:
        `RunFolder`: The run with the artifact of its stage.

    Raises:
        UserError: The folder holds no finished run, or its files are not those of its report.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"`{folder}` is no folder. Give the folder of a finished run, as `runs/STUDENT/prefixes`.")
    home = path if (path / REPORT).exists() or not (path.parent / REPORT).exists() else path.parent
    report = read_mapping(unlinked(home / REPORT))
    whole = report is not None and isinstance(report.get("settings"), dict) and isinstance(report.get("run"), dict)
    artifact = _artifact(report, path) if report is not None and whole else None
    if home != path and (artifact is None or path.name not in artifact.subfolders):
        raise UserError(_refusal(path, path, None))
    if report is None or not whole:
        raise UserError(_refusal(path, home, report))
    if home != path:
        unlinked(path)
    if artifact is None or not artifact.recognises(path):
        raise UserError(
            f"`{folder}` has a report, but not the files that it reports. Run the same command again, with "
            f"`--overwrite`."
        )
    found = RunFolder(path, artifact, report, home)
    _ = found.shards  # A split with a shard missing is refused here.
    return found


def _artifact(report: Mapping[str, Any], path: Path) -> Artifact | None:
    """The artifact of the stage that a report names; of a report without a stage, the one that knows the files."""
    stage = report.get("stage")
    if isinstance(stage, str):
        found: Artifact | None = getattr(find_stage(stage), "artifact", None)
        return found
    # Of two tables the later one may carry all columns of the earlier one.
    known = [getattr(stage, "artifact", None) for stage in reversed(list(all_stages()))]
    return next((one for one in known if one is not None and one.recognises(path)), None)


def _refusal(path: Path, home: Path, report: Mapping[str, Any] | None) -> str:
    """Why a folder holds no finished run."""
    if report is not None or (home / REPORT).exists():
        return f"`{home / REPORT}` is no report of a run. Give the folder of a finished run, as it was written."
    if (home / ".run").exists() or any(home.glob("checkpoint-*")):
        return f"The run in `{path}` hasn't ended: it has no `{REPORT}` yet. Run its command again, which resumes it."
    inside = [one.name for one in home.iterdir() if (one / REPORT).exists()]
    way = f"Give one of {listed(sorted(inside))} in it." if inside else "Give a folder that has one."
    return f"`{path}` is no folder of a run of this package: it has no `{REPORT}`. {way}"
