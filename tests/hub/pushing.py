"""What the tests of pushing share: a push of one configuration, a card that keeps what is there, and no waiting."""

from dataclasses import replace

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
