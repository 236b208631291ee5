"""The card of a dataset repository, with one section for each configuration.

`render` changes the section of one configuration; sections of others stay as they are. The text is in the template
`dataset_card.md`. What a person has written survives: text outside of sections and other YAML keys byte for byte, a
section that was edited or deleted as it is. Licence, language and name are set where the card has none, tags with a
new card; every push sets what describes the files: `configs`, `dataset_info`, `size_categories`, `source_datasets`.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from palign_hf.hub.cards import PAPER, FrontMatter, named, parts, stamped, with_parts
from palign_hf.hub.facts import DatasetFacts, Spread
from palign_hf.hub.plan import SPLIT, view_entry
from palign_hf.hub.settings import is_view, view_name
from palign_hf.plotting import colour, new_figure, plot_style, png_bytes
from palign_hf.schema import PAIRS, PREFIXES
from palign_hf.tables import escaped, table


_SIZE = (7.0, 3.0)  # inches
# How the values of PREFIXES and of PAIRS are called.
_RATIO_LABEL = {"PREFIXES": "prefix / trace, in tokens", "PAIRS": "prefix / target, in tokens"}
_AFTER = {"PREFIXES": "prefix", "PAIRS": "target"}


def dataset_pictures(facts: DatasetFacts) -> dict[str, bytes]:
    """PNG files by their paths in the repository; none of what wasn't measured."""
    found = {}
    if facts.ratio is not None:
        ratio = [("rows", facts.ratio)]
        found[picture_of(facts.config, "prefix_ratio")] = _histogram(_RATIO_LABEL[facts.table], ratio, "g")
    if facts.before is not None and facts.after is not None:
        lengths = [("trace", facts.before), (_AFTER[facts.table], facts.after)]
        found[picture_of(facts.config, "lengths")] = _histogram("tokens", lengths, ",.0f")
    return found


def picture_of(config: str, name: str) -> str:
    """Where a picture of a configuration is in the repository."""
    return f"pictures/{config}/{name}.png"


def _histogram(title: str, spreads: Sequence[tuple[str, Spread]], style: str) -> bytes:
    """Rows by some value, in bars side by side; all spreads have the same edges."""
    edges = np.asarray(spreads[0][1].edges)
    cell = (edges[-1] - edges[0]) / (len(edges) - 1)
    wide = 0.9 * cell / len(spreads)
    with plot_style(transparent=True):
        figure = new_figure(*_SIZE)
        axes = figure.add_subplot()
        most = max(max(spread.counts) for _, spread in spreads)
        for k, (name, spread) in enumerate(spreads):
            starts = edges[:-1] + 0.05 * cell + k * wide
            # One row of thousands is seen, too.
            heights = [max(count, most / 150) if count else 0 for count in spread.counts]
            axes.bar(starts, heights, wide, align="edge", color=colour(k), label=name)
        # Half of an odd number of rows is no number of rows.
        axes.set_yticks([0, most / 2, most], ["0", "" if most % 2 else f"{most // 2:,}", f"{most:,}"])
        ticks = np.linspace(edges[0], edges[-1], 5)
        axes.set_xticks(ticks, [format(tick, style) for tick in ticks])
        axes.set(xlim=(edges[0], edges[-1]), ylim=(0, most), xlabel=title)
        axes.grid(visible=False, axis="x")
        if len(spreads) > 1:
            figure.legend(loc="outside upper left", ncols=len(spreads))
        return png_bytes(figure)


logger = logging.getLogger("palign_hf")

_PACKAGE = Path(__file__).parents[1]
_NAME = "dataset_card.md"
_TAGS = ("palign-hf", "prefix-alignment", "reasoning", "distillation")
_UNKNOWN = "unknown"
# The name of a configuration's section in the template; on a card the configuration's name follows.
_CONFIG = "config"
_TABLES = {table.name: table for table in (PREFIXES, PAIRS)}
_COLUMNS = {"PREFIXES": "columns-prefixes", "PAIRS": "columns-pairs"}
_SIZES = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
# Settings that stand elsewhere on the card, or do not concern the rows.
_ELSEWHERE = ("versions", "seconds", "schema")
_FIRST = ("student_name", "student", "input", "search", "criterion", "mode", "sampling")
_RATIO = {"PREFIXES": "prefix over trace", "PAIRS": "prefix over target"}


class _Markdown(str):
    """Text that is Markdown already; anything else is escaped."""


def render(facts: DatasetFacts, existing: str | None) -> str:
    """The card with this configuration, made from the existing one; sections that stay as edited are logged."""
    card, notes = updated(facts, existing)
    for note in notes:
        logger.warning("%s: %s.", facts.repo_id, note)
    return card


def updated(facts: DatasetFacts, existing: str | None) -> tuple[str, list[str]]:
    """The card with this configuration, and notes of the sections that were edited and stay as they are."""
    top = FrontMatter(existing or "")
    held = parts(top.body)
    listed = top.data.get("configs")
    published = [named(one) for one in listed] if isinstance(listed, list) else []
    own = f"{_CONFIG}:{facts.config}"
    fresh, new_config = not held, not held or facts.config not in published
    notes = _describe(facts, top, fresh, alone=set(published) <= {facts.config, view_name(facts.config)})

    text = _filled(facts)
    made = {own if name == _CONFIG else name: part.text for name, part in parts(text).items()}
    for name in set(_COLUMNS.values()) - {_COLUMNS[facts.table]}:
        if name not in held:
            del made[name]
    if existing is None or not top.body.strip():
        title = text[: text.index("<!--")].strip()
        top.body, fresh = f"\n{title}\n", True
    new = set(made) if fresh else {own, _COLUMNS[facts.table]} if new_config else set()
    configs = [name for name in held if name.startswith(f"{_CONFIG}:")]
    behind = {
        own: (configs or ["about"])[-1],
        _COLUMNS[facts.table]: own if own not in held else (configs or [""])[-1],
    }
    top.body, changed = with_parts(top.body, made, new, behind.get)
    return top.card(), notes + changed


def template() -> str:
    """The text that all cards are made of; in a wheel it lies in the package, else at the top of the repository."""
    inside = _PACKAGE / "templates" / _NAME
    return (inside if inside.is_file() else _PACKAGE.parent / _NAME).read_text(encoding="utf-8")


def _describe(facts: DatasetFacts, top: FrontMatter, fresh: bool, alone: bool) -> list[str]:
    """Set the keys of the YAML; notes of those that say otherwise and stay. `alone`: no other configuration."""
    notes = []
    # An unknown license is one of all configurations: that of one of them doesn't make it known.
    if alone and top.data.get("license") == _UNKNOWN:
        top.set("license", facts.license or _UNKNOWN)
    held = top.setdefault("license", facts.license or _UNKNOWN)
    if held != (facts.license or _UNKNOWN):
        given = f"`{facts.license}`" if facts.license else "not known"
        notes.append(f"that of `{facts.config}` is {given}, but the card's license is `{held}`, and stays so")
    if facts.language:
        top.setdefault("language", list(facts.language))
    top.setdefault("pretty_name", facts.repo_id.partition("/")[2])
    if fresh:
        top.add("task_categories", ["text-generation"])
        top.add("tags", _TAGS)
    if facts.source_datasets:
        top.add("source_datasets", facts.source_datasets)
    _configs(facts, top)
    # All three, or `datasets` says at every loading that it can't read them.
    splits = [
        {"name": split, "num_bytes": facts.sizes[split], "num_examples": rows} for split, rows in facts.splits.items()
    ]
    about = {"config_name": facts.config, "features": list(facts.features), "splits": splits}
    top.put("dataset_info", facts.config, about)
    top.set("size_categories", [_size(_rows(top.data["dataset_info"]))])
    return notes


def _configs(facts: DatasetFacts, top: FrontMatter) -> None:
    """Say where the rows are: of this configuration, and of its view if it has one.

    Pairs that are alone but for their view are what one gets without naming any; of several one has to be named.
    """
    held = top.data.get("configs")
    listed = [dict(one) for one in held if isinstance(one, dict)] if isinstance(held, list) else []
    names, view = [named(one) for one in listed], view_name(facts.config)
    others = [one for one in listed if named(one) not in (facts.config, view)]
    before = next((one for one in listed if named(one) == facts.config), {})
    # `load_dataset` reports it as the version of the table.
    entry: dict[str, Any] = {"config_name": facts.config, "version": f"{_TABLES[facts.table].version}.0.0"}
    if before.get("default") or (facts.table == PAIRS.name and not others and not before):
        entry["default"] = True
    files = [{"split": split, "path": facts.file_of(split)} for split in facts.splits]
    top.put("configs", facts.config, entry | {"data_files": files})
    if facts.table == PAIRS.name and SPLIT in facts.splits:
        top.put("configs", view, view_entry(facts.config))
    else:
        top.take("configs", view)
    alone = [one for one in others if not is_view(named(one))]
    if not before and len(alone) == 1 and alone[0].get("default") and view_name(named(alone[0])) in names:
        top.put("configs", named(alone[0]), {key: value for key, value in alone[0].items() if key != "default"})


def _rows(infos: list[Any]) -> int:
    """Those of all configurations."""
    found = (split.get("num_examples") for info in infos for split in info.get("splits") or ())
    return sum(rows for rows in found if isinstance(rows, int))


def _size(rows: int) -> str:
    return next((name for most, name in _SIZES if rows < most), "n>10M")


def _filled(facts: DatasetFacts) -> str:
    """The template with the facts; every value is escaped unless it is Markdown of ours."""
    report = facts.report
    versions = facts.settings.get("versions", {})
    reasons = [f"- {count} rows: {escaped(reason)}" for reason, count in report.get("reasons", {}).items()]
    text: str = _compiled().render(
        pretty_name=_Markdown(facts.repo_id.partition("/")[2]),
        # Both are checked names: they may stand in code, where nothing can be escaped.
        repo_id=_Markdown(facts.repo_id),
        config=_Markdown(facts.config),
        table=facts.table,
        view=_Markdown(view_name(facts.config) if SPLIT in facts.splits else ""),
        splits=_table(("split", "rows"), [(split, f"{rows:,}") for split, rows in facts.splits.items()]),
        license=facts.license or "unknown; nobody has stated it. Ask the authors of the traces before you use them.",
        measured=_table(("measured", "value"), _measured(facts)),
        pictures=_pictures(facts),
        reasons=_Markdown("\n".join(reasons)),
        warnings=report.get("warnings", []),
        verified=_verified(facts),
        decontaminated=_decontaminated(facts),
        made=_table(("setting", "value"), _made(facts)),
        versions=", ".join(f"{name} {number}" for name, number in versions.items()) or "releases that aren't known",
        citation=_Markdown(PAPER["citation"]),
    )
    return stamped(text)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    from jinja2 import Environment, StrictUndefined

    def shown(value: Any) -> str:
        return value if isinstance(value, _Markdown) else escaped(str(value))

    environment = Environment(
        finalize=shown, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(template())


def _measured(facts: DatasetFacts) -> list[tuple[str, str]]:
    report = facts.report
    rows_in = (report.get("run") or {}).get("rows")
    found = [("rows in", f"{rows_in:,}")] if isinstance(rows_in, int) else []
    # Reports of the first release have no lines.
    lines = report.get("lines") or [["rows", str(report.get("rows"))], *_statuses(report.get("statuses", {}))]
    found += [(str(name), str(value)) for name, value in lines]
    after = {"PREFIXES": "prefix", "PAIRS": "target (prefix and continuation)"}[facts.table]
    spreads = [(_RATIO[facts.table], facts.ratio, ".3f")]
    spreads += [("tokens of the trace", facts.before, ",.0f"), (f"tokens of the {after}", facts.after, ",.0f")]
    return found + [(name, spread.text(style)) for name, spread, style in spreads if spread is not None]


def _statuses(statuses: Mapping[str, int]) -> list[list[str]]:
    return [[f"rows {status}", str(count)] for status, count in statuses.items() if count]


def _pictures(facts: DatasetFacts) -> list[tuple[_Markdown, str]]:
    found = []
    if facts.ratio is not None:
        found.append((_Markdown(picture_of(facts.config, "prefix_ratio")), f"Rows by {_RATIO[facts.table]}"))
    if facts.before is not None and facts.after is not None:
        found.append((_Markdown(picture_of(facts.config, "lengths")), "Rows by their tokens, before and after"))
    return found


def _verified(facts: DatasetFacts) -> str:
    if facts.table == "PREFIXES":
        return "Verified: nothing. Only pairs show whether the student reaches the right answer from a prefix."
    strict, graded = facts.report.get("strict"), facts.report.get("graded")
    if strict is None or not graded:
        return "Verified: nothing, since no sample was graded."
    kept = facts.splits.get("train", 0)
    rule = (facts.settings.get("rules") or {}).get("right")
    return f"Verified: {strict:.1%} of {graded:,} graded samples are right (strict). {kept:,} pairs are kept" + (
        f", by the rule {rule}." if rule else "."
    )


def _decontaminated(facts: DatasetFacts) -> str:
    names = facts.settings.get("decontaminate")
    if not names:
        return "Decontamination: the questions were compared with no benchmark."
    reasons = facts.report.get("reasons", {})
    found = sum(count for reason, count in reasons.items() if reason.startswith("contaminated"))
    return f"Decontamination: {found:,} problems were left out as copies of questions of {', '.join(map(str, names))}."


def _made(facts: DatasetFacts) -> list[tuple[str, str]]:
    settings = {name: value for name, value in facts.settings.items() if name not in _ELSEWHERE}
    order = [*(name for name in _FIRST if name in settings), *sorted(set(settings) - set(_FIRST))]
    made = [(name.replace("_", " "), _value(settings[name])) for name in order if settings[name] not in (None, [], {})]
    return [*made, ("rows from", ", ".join(f"{name} ({count:,})" for name, count in facts.sources.items()))]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items() if one is not None)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(head: tuple[str, ...], rows: list[tuple[str, str]]) -> _Markdown:
    return _Markdown("\n".join(table(head, rows)))
