"""Public datasets in the Hub double, under their real ids and at the commits that the package names."""

from pathlib import Path

from hub_double import Double

from palign_hf.data.benchmarks import BENCHMARKS


def preload(double: Double, folder: Path) -> list[str]:
    """Put every OWNER/NAME of a folder there: its files, and a card that says which configuration has which.

    Benchmarks of the package answer at their pinned commit, besides main. Returns the ids.
    """
    pinned = {known.hub_id: known.revision for known in BENCHMARKS.values()}
    found = []
    for place in sorted(path for path in folder.glob("*/*") if path.is_dir()):
        name = f"{place.parent.name}/{place.name}"
        paths = sorted(path for path in place.rglob("*") if path.is_file())
        files = {path.relative_to(place).as_posix(): path.read_bytes() for path in paths}
        double.create("dataset", name)
        double.commit("dataset", name, {**files, "README.md": _card(files)}, commit_id=pinned.get(name))
        found.append(name)
    return found


def _card(files: dict[str, bytes]) -> bytes:
    """The configurations as the Hub's cards declare them: one a folder, with a file for each split."""
    lines = ["---", "configs:"]
    for config in sorted({path.rpartition("/")[0] for path in files}):
        lines += [f"- config_name: {config or 'default'}", "  data_files:"]
        inside = sorted(path for path in files if path.rpartition("/")[0] == config)
        for path in inside:
            lines += [f"  - split: {Path(path).stem}", f"    path: {path}"]
    return ("\n".join([*lines, "---", ""])).encode()
