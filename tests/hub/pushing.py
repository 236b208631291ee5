"""What the tests of pushing share: a push of one configuration, a card that keeps what is there, and no waiting."""

import json
from dataclasses import replace
from pathlib import Path

from datasets import Dataset
from finished_runs import evaluation_run

from palign_hf.hub.plan import Item
from palign_hf.hub.push import Push, Pushed, push
from palign_hf.hub.retries import Patience


# Waits are counted, not spent.
PATIENCE = Patience(tries=4, conflicts=8, sleep=lambda seconds: None)
ROWS, REPORT = b"PAR1" + bytes(range(256)) * 20, b'{"kind": "prefixes"}'


def card_for(config: str):
    """A card with one line a configuration, and whatever else stands in it."""
    line = f"* {config}\n"

    def card(existing: str | None) -> str:
        text = existing if existing is not None else "---\nlicense: apache-2.0\n---\n"
        return text if line in text else text + line

    return card


def wanted(repo_id: str, config: str = "one", rows: bytes = ROWS, **more) -> Push:
    """A push of one configuration with one large file and one small one."""
    items = (
        Item(f"data/{config}/train-00000-of-00001.parquet", rows + config.encode()),
        Item(f"reports/{config}/report.json", REPORT),
    )
    usual = Push(repo_id, items, f"Publish {config}", owned=(f"data/{config}/", f"reports/{config}/"))
    return replace(usual, **{"card": card_for(config)} | more)


def pushed(hub, given: Push, **more) -> Pushed:
    """Push it with the token that writes."""
    return push(given, api=hub.api(), patience=PATIENCE, **more)


def complete(hub, given: Push, revision: str = "main") -> bool:
    """Whether a revision holds all that was to be pushed, to the byte."""
    files = hub.files(given.repo_type, given.repo_id, revision)
    wants = {item.path: item.source for item in given.items}
    return wants.items() <= files.items() and b"* " in files["README.md"]


def student_run(folder: Path, adapter: bool = False, **settings) -> Path:
    """What a training leaves, weights and all: a student, or its adapter with the merged student beside it."""
    home = folder / "merged" if adapter else folder
    for place in dict.fromkeys([folder, home]):
        place.mkdir(parents=True, exist_ok=True)
        (place / "tokenizer.json").write_text('{"model": {"vocab": {"/usr/lib/x": 1}}}')
        (place / "chat_template.jinja").write_text("{{ messages }}")
    (home / "config.json").write_text('{"model_type": "llama"}')
    (home / "model.safetensors").write_bytes(b"whole" * 4000)
    if adapter:
        (folder / "adapter_model.safetensors").write_bytes(b"adapter" * 2000)
        told = {"base_model_name_or_path": "/usr/lib/students/small", "peft_type": "LORA"}
        (folder / "adapter_config.json").write_text(json.dumps(told))
    for left in ("checkpoint-2/optimizer.pt", ".run/x", "training_args.bin", "runs/events"):
        (folder / left).parent.mkdir(exist_ok=True)
        (folder / left).write_bytes(b"/usr/lib/secret place")
    (folder / "README.md").write_text("---\nmodel_name: student\n---\n\n# student\n\nA student.\n")
    told = {"student": "/usr/lib/students/Small-1B", "baseline": "p-align", "input": {"source": "/usr/lib/pairs"}}
    report = {"rows": 3, "settings": told | settings, "run": {"version": 1}, "weights": {"trained": 1}}
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.md").write_text("# Report\n\n| rows from | /usr/lib/pairs |\n")
    return folder


def whole_evaluation(folder: Path) -> Path:
    """An evaluation with its samples and lighteval's files."""
    evaluation_run(folder)
    told = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(told | {"run": {"fingerprint": "x"}}))
    Dataset.from_dict({"id": ["a", "b"], "text": ["x", "y"]}).to_parquet(folder / "samples.parquet")
    results = folder / "lighteval" / "results" / "small" / "results_2026.json"
    results.parent.mkdir(parents=True)
    results.write_text(json.dumps({"config_general": {"model_name": "/usr/lib/students/small"}}))
    return folder
