"""What the folder of an evaluation becomes on the Hub: the samples, lighteval's files, the report and a card."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from palign_hf.evaluation.files import SAMPLES_FILE
from palign_hf.hub.artifacts import Artifact, Card, CardOptions, RunFolder, Shards, files_below, json_item, unlinked
from palign_hf.hub.eval_results import read_evaluation
from palign_hf.hub.plan import Item
from palign_hf.hub.results_card import render
from palign_hf.runs.claims import LIGHTEVAL, WRITTEN


class EvaluationArtifact(Artifact):
    """Graded samples on the Hub, with the card of a repository of evaluations."""

    def recognises(self, folder: Path) -> bool:
        """Whether the samples lie in the folder."""
        return (folder / SAMPLES_FILE).exists()

    def suffix(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The parts of a configuration's default name after the student's."""
        return ("zero-shot" if settings.get("zero_shot") else self.kind,)

    def shards(self, folder: Path) -> Shards:
        """All samples in one shard."""
        return {"samples": {"samples-00000-of-00001.parquet": unlinked(folder / SAMPLES_FILE)}}

    def extra_files(self, run: RunFolder, config: str) -> list[Item]:
        """lighteval's results and details, which name the run as its report does."""
        if run.held:
            return []
        home, items = run.folder / LIGHTEVAL, []
        written = run.report.get(WRITTEN)
        for file in sorted(files_below(home)):
            # A report of the first release doesn't name its files.
            if isinstance(written, list) and file.relative_to(run.folder).as_posix() not in written:
                continue
            path = f"{LIGHTEVAL}/{config}/{file.relative_to(home).as_posix()}"
            items.append(json_item(path, file) if file.suffix == ".json" else Item(path, file))
        return items

    def card(self, run: RunFolder, repo_id: str, config: str, options: CardOptions) -> tuple[Card, list[Item]]:
        """The card of a repository of evaluations."""
        return partial(render, read_evaluation(run.folder, run.report), repo_id, config, run.splits), []

    def results(self, run: RunFolder) -> dict[str, Any]:
        """The report, as it may be published."""
        return read_evaluation(run.folder)
