"""Forecast of an alignment for `--dry-run`: rows, prompts and samples, before an engine is started."""

from collections import Counter
from typing import TYPE_CHECKING

from palign_hf.asking.batches import plain_rows
from palign_hf.runs.report import kind


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.alignment.transform import PrefixAlignment

# Rows that are tokenized; the forecast extrapolates from them.
_SAMPLE = 200


def forecast(alignment: "PrefixAlignment", prefixes: "Dataset") -> str:
    """Describe rows, prompts and the largest number of samples; the length of samples is only known afterwards."""
    rows = len(prefixes)
    sample = prefixes.select(range(0, rows, -(-rows // _SAMPLE)))
    prompts, prompt_tokens, room = alignment.prompts(), 0, 0
    statuses: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for source in plain_rows(sample):
        row = alignment.open_row(prompts, source)
        statuses[row.status or "asked"] += 1
        reasons.update([kind(row.reason)] if row.reason else [])
        if row.beginning is not None:
            prompt_tokens += len(row.beginning.prompt)
            room += prompts.room(row.beginning)
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    asked = round(statuses["asked"] * scale)
    settings, style = alignment.settings, alignment.settings.style
    most = asked * settings.n
    tags = f", tag_style `{style.name}`" if style is not None else ""
    left = "; ".join(f"{name.replace('_', ' ')} {round(count * scale):,}" for name, count in statuses.items())
    return "\n".join(
        [
            f"student    {settings.student}",
            f"mode       {settings.mode}{tags}; result {alignment.fingerprint}",
            f"rows       {rows:,}: {about}{left}",
            *(f"           {about}{round(count * scale):,} x {reason}" for reason, count in reasons.most_common()),
            f"samples    {'at least' if settings.sampling == 'first' else 'all'} "
            f"{asked if settings.sampling == 'first' else most:,}, at most {most:,}"
            + ("" if settings.fallback == "drop" else f", and more for fallbacks ({settings.fallback})"),
            f"prompts    {about}{round(prompt_tokens * scale):,} tokens; with a prefix cache each is read once",
            f"written    at most {about}{round(room * scale):,} tokens a sample of each; what it will be is not known "
            f"before",
            f"ledger     {alignment.ledger_path}: what it holds already isn't drawn again",
        ]
    )
