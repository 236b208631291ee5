"""The card of a dataset repository: what it tells, and that it keeps what people and other runs have written."""

import json
import re
from dataclasses import replace

import pytest
import yaml
from datasets import load_dataset
from datasets.utils.metadata import MetadataConfigs
from finished_runs import pairs_run, prefixes_run
from huggingface_hub import DatasetCard
from huggingface_hub.repocard import metadata_load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.hub.cards import FrontMatter, parts
from palign_hf.hub.dataset_card import dataset_pictures, render, template, updated
from palign_hf.hub.facts import dataset_facts
from palign_hf.redact import remember
from palign_hf.schema import PAIRS, PREFIXES
from palign_hf.tables import escaped


REPO = "me/prefixes"


@pytest.fixture(scope="module")
def prefixes(tmp_path_factory):
    return dataset_facts(prefixes_run(tmp_path_factory.mktemp("runs") / "p"), repo_id=REPO, config="small.prefixes")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = pairs_run(tmp_path_factory.mktemp("runs") / "q")
    return dataset_facts(folder, repo_id=REPO, config="small.pairs", license="mit", language=["en"])


def section(card: str, config: str) -> str:
    return parts(card)[f"config:{config}"].text


def test_it_tells_what_was_run_and_measured(prefixes):
    told = section(render(prefixes, None), "small.prefixes")
    for line in (
        "| rows in | 4 |",
        "| rows sufficient | 2 |",
        "| rows full\\_trace | 1 |",
        "| prefix over trace | mean 0.375 ",
        "| tokens of the trace | mean 600 ",
        "| tokens of the prefix | mean 250 ",
        "- 1 rows: the trace is empty",
        "Verified: nothing.",
        "compared with no benchmark",
        f"| student | commit {'a' * 40}, name me/small-student |",
        f"| input | revision {'b' * 40}, rows 4, source them/traces |",
        "| command | palign truncate --config mine.yaml |",
        "Made with datasets 5.2.0, palign-hf 0.1.0.",
        "unknown; nobody has stated it",
        f'load_dataset("{REPO}", "small.prefixes", split="train")',
    ):
        assert line in told, line
    judge = "| ENOUGH without prefix (4 rows known) | 0.0% |"
    assert judge in told


def test_pairs_tell_what_was_verified_and_left_out(pairs):
    told = section(render(pairs, None), "small.pairs")
    for line in (
        "| rejected | 2 |",
        "66.7% of 3 graded samples are right (strict). 2 pairs are kept, by the rule strict.",
        "1 problems were left out as copies of questions of AIME24.",
        "| tokens of the target (prefix and continuation) | mean 300 ",
        "**License of the traces**: mit",
    ):
        assert line in told, line


def test_the_same_facts_give_the_same_bytes(prefixes, pairs):
    for facts in (prefixes, pairs):
        once = render(facts, None)
        assert updated(facts, once) == (once, [])


def test_its_yaml_is_read_by_the_hub_and_by_datasets(prefixes, pairs, tmp_path):
    card = render(pairs, render(prefixes, None))
    (tmp_path / "README.md").write_text(card)
    data = metadata_load(tmp_path / "README.md")
    assert data["license"] == "unknown" and data["size_categories"] == ["n<1K"] and data["language"] == ["en"]
    assert data["source_datasets"] == ["them/traces"] and "palign-hf" in data["tags"]
    read = DatasetCard(card)
    configs = MetadataConfigs.from_dataset_card_data(read.data)
    assert list(configs) == ["small.prefixes", "small.pairs", "small.pairs-sft"]
    assert configs["small.pairs-sft"]["data_files"] == [{"split": "train", "path": "sft/small.pairs/train-*"}]
    splits = [{"split": name, "path": f"small.pairs/{name}-*"} for name in ("train", "rejected")]
    assert configs["small.pairs"]["data_files"] == splits


def test_pairs_alone_are_loaded_without_a_name_and_of_several_one_is_named(prefixes, pairs):
    def chosen(card):
        return [one["config_name"] for one in FrontMatter(card).data["configs"] if one.get("default")]

    alone = render(pairs, None)
    assert chosen(alone) == chosen(render(pairs, alone)) == ["small.pairs"]
    both = render(prefixes, alone)
    assert chosen(both) == chosen(render(pairs, both)) == chosen(render(pairs, render(prefixes, None))) == []
    # What a person has chosen stays.
    first = "- config_name: small.prefixes\n"
    marked = both.replace(f"{first}  version", f"{first}  default: true\n  version")
    assert chosen(render(pairs, marked)) == chosen(render(prefixes, marked)) == ["small.prefixes"]
    assert chosen(render(replace(pairs, config="other"), marked)) == ["small.prefixes"]


def test_pairs_of_which_none_is_kept_have_no_view(pairs):
    none = replace(pairs, splits={"rejected": 4})
    card = render(none, render(pairs, None))
    assert [one["config_name"] for one in FrontMatter(card).data["configs"]] == ["small.pairs"]
    assert "small.pairs-sft" not in card


def test_datasets_loads_a_repository_laid_out_as_the_card_says(tmp_path):
    run = pairs_run(tmp_path / "run")
    repository = tmp_path / "repository"
    facts = dataset_facts(run, repo_id=REPO, config="c")
    (run / "data").rename(repository.mkdir() or repository / "c")
    (repository / "README.md").write_text(render(facts, None))
    loaded = load_dataset(str(repository), "c", cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == facts.splits == {"train": 2, "rejected": 2}
    assert loaded["train"].features == PAIRS.features


def test_another_configuration_stays_as_it_is(prefixes, pairs):
    first = render(prefixes, None)
    both = render(pairs, first)
    assert section(both, "small.prefixes") == section(first, "small.prefixes")
    assert {"columns-prefixes", "columns-pairs"} < set(parts(both)) and "columns-pairs" not in parts(first)
    assert [name for name in parts(both) if name.startswith("config:")] == [
        "config:small.prefixes",
        "config:small.pairs",
    ]
    assert updated(prefixes, both)[0] == both


def test_edits_of_people_survive_the_next_push(prefixes, pairs):
    card = render(prefixes, None)
    edited = (
        card.replace("# prefixes\n", "# Our prefixes\n\nRead this *first*.\n")
        .replace("license: unknown", "license: cc-by-4.0  # they said so\nours: [a,  b]")
        .replace("- distillation\n", "")
        .replace("## Limits\n", "## Limits, as we see them\n")
        .replace(card[card.index("<!-- palign:begin citation") : card.rindex("-->") + 3], "Cite us.")
    )
    for facts in (prefixes, pairs):
        edited, notes = updated(facts, edited)
        for kept in (
            "# Our prefixes\n\nRead this *first*.\n",
            "license: cc-by-4.0  # they said so\nours: [a,  b]\n",
            "## Limits, as we see them\n",
            "Cite us.",
        ):
            assert kept in edited
        assert "distillation" not in edited and "citation" not in parts(edited)
        assert any("`limits` of the card was edited" in note for note in notes)
        assert any("`citation` of the card was deleted" in note for note in notes)
        assert any("the card's license is `cc-by-4.0`" in note for note in notes)


def test_a_section_that_was_edited_or_deleted_stays_so(prefixes, pairs):
    card = render(pairs, render(prefixes, None))
    edited = card.replace("| rows sufficient | 2 |", "| rows sufficient | 2 (wow) |")
    told, notes = updated(prefixes, edited)
    assert "2 (wow)" in told and notes[-1] == "part `config:small.prefixes` of the card was edited, and stays as it is"
    begin, end = "<!-- palign:begin config:small.prefixes", "<!-- palign:end config:small.prefixes -->"
    deleted = card[: card.index(begin)] + card[card.index(end) + len(end) :]
    assert "config:small.prefixes" not in parts(render(prefixes, deleted))


def test_a_card_that_people_wrote_is_kept_whole(prefixes):
    theirs = "---\nlicense: mit\ntags: [mine]\n---\n\nAll of it by hand.\n"
    card = render(prefixes, theirs)
    body = card[card.index("\n---\n", 4) + 5 :]
    assert body.startswith("\nAll of it by hand.\n") and "config:small.prefixes" in parts(card)
    assert DatasetCard(card).data.tags[0] == "mine" and DatasetCard(card).data.license == "mit"
    assert updated(prefixes, card)[0] == card


def test_the_license_is_stated_once_it_is_known_of_all(prefixes, pairs):
    known = render(pairs, None)
    assert DatasetCard(known).data.license == "mit"
    both, notes = updated(prefixes, known)
    assert DatasetCard(both).data.license == "mit" and any("not known, but" in note for note in notes)


# What tries to be more than text, with something to recognise it by.
HOSTILE = st.lists(
    st.sampled_from(
        [
            "<script>",
            "-->",
            "<!-- palign:end config:c -->",
            "|",
            "`",
            "```\n",
            "\n# ",
            "](http://x)",
            "![",
            "**",
            "\\",
            "{{ 7 * 7 }}",
            "{% raw %}",
            "\u202e",
            "\u200b",
            "\x1b[2J",
            "\r\n---\r\n",
            "&lt;",
            "$$",
            "~~",
            "é",
            "a",
        ]  # fmt: skip
    ),
    min_size=1,
    max_size=8,
).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE)
def test_text_out_of_data_stays_text(tmp_path_factory, text):
    folder = prefixes_run(
        tmp_path_factory.mktemp("hostile") / "run",
        settings={"student_name": text, "command": text, "search": {text: text}, "versions": {text: text}},
        source=[text] * 4,
        reason=[None, None, text, text],
    )
    facts = dataset_facts(folder, repo_id=REPO, config="c", license=text, source_datasets=[text])
    card = render(facts, None)
    assert updated(facts, card)[0] == card and DatasetCard(card).data.source_datasets[0] == text
    bare = render(dataset_facts(prefixes_run(folder / "bare"), repo_id=REPO, config="c"), None)
    # The same parts, headings, code, tables and pictures as of harmless words.
    assert list(parts(card)) == list(parts(bare))
    for told in (r"^#+ ", r"^```", r"^!\[", r"^\|---"):
        assert len(re.findall(told, card, re.MULTILINE)) == len(re.findall(told, bare, re.MULTILINE)), told
    body = card[card.index("\n---\n", 4) :]
    assert all(char.isprintable() or char == "\n" for char in body)
    generated = re.sub(r"\\.", "", re.sub(r"<!-- palign:\w+ \S+( \S+)? -->", "", body))
    assert "<" not in generated and "{{" not in generated and "{%" not in generated
    for line in re.findall(r"^\| .*$", re.sub(r"\\.", "", section(card, "c")), re.MULTILINE):
        assert line.count("|") == 3, line


def test_no_place_of_this_machine_and_no_key_is_told(tmp_path):
    secret, place = f"hf_{'x' * 30}", str(tmp_path / "deep")
    about = {
        "student_name": f"{place}/student",
        "input": {"source": f"{place}/traces.jsonl", "revision": None},
        "command": f"palign truncate --student {place}/student --token {secret}",
        "engine_options": {"download_dir": place, "token": secret},
    }
    reasons = [None, None, f"no file {place}/x", f"refused {secret}"]
    facts = dataset_facts(prefixes_run(tmp_path / "run", about, reason=reasons), repo_id=REPO, config="c")
    card = render(facts, None)
    assert str(tmp_path) not in card and secret not in card and facts.source_datasets == ()
    assert "traces.jsonl" in card and "palign truncate --student student" in card


@pytest.mark.parametrize("known", [True, False])
def test_a_card_masks_secrets_before_it_escapes_them(known, tmp_path):
    """The reports of an older release hold them in clear."""
    token, own = "hf_abcDEF_0123456789", "canary_of*a|header"
    if known:
        remember(own)
    command = f"palign truncate --set training.hub_token={token} --set x=http://me:{own}@host"
    settings = {"command": command, "hub_token": token, "engine_options": {"urls": f"http://me:{own}@host"}}
    facts = dataset_facts(prefixes_run(tmp_path / "run", settings), repo_id="me/rows", config="c")
    card = render(facts, None)
    assert not any(part in card for part in (token, escaped(token), "abcDEF", "canary"))
    assert "training.hub\\_token=\\[key\\]" in card


def test_the_template_tells_every_column_of_both_tables():
    for part, table in (("columns-prefixes", PREFIXES), ("columns-pairs", PAIRS)):
        cells = re.findall(r"^\| ([^|]*) \|", parts(template())[part].text, re.MULTILINE)
        assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(table.columns)


def test_a_report_of_the_first_release_is_told_from_its_counts(tmp_path):
    folder = prefixes_run(tmp_path / "run")
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({k: v for k, v in report.items() if k not in ("lines", "run")}))
    told = section(render(dataset_facts(folder, repo_id=REPO, config="c"), None), "c")
    assert "| rows sufficient | 2 |" in told and "rows in" not in told


def test_what_is_no_finished_run_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="no folder of a finished run"):
        dataset_facts(tmp_path, repo_id=REPO, config="c")
    folder = prefixes_run(tmp_path / "run")
    for config in ("", "a/b", "a--b", "a b", "-->", "é", "x\n"):
        with pytest.raises(UserError, match="can't name a configuration"):
            dataset_facts(folder, repo_id=REPO, config=config)
    for repo_id in ("name", "a/b/c", "a/b c", 'a/b"', ""):
        with pytest.raises(UserError, match="names no repository of the Hub"):
            dataset_facts(folder, repo_id=repo_id, config="c")
    report = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(report | {"rows": 5}))
    with pytest.raises(UserError, match="different runs"):
        dataset_facts(folder, repo_id=REPO, config="c")
    (folder / "data" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(UserError, match="has no rows"):
        dataset_facts(folder, repo_id=REPO, config="c")


def test_pictures_that_a_card_shows_are_those_that_are_drawn(prefixes, pairs):
    for facts in (prefixes, pairs):
        shown = re.findall(r"^!\[[^]]*\]\((.*)\)$", render(facts, None), re.MULTILINE)
        assert sorted(shown) == sorted(dataset_pictures(facts))


def test_its_yaml_is_ascii(prefixes):
    block = render(prefixes, None).split("---\n")[1]
    assert block.isascii() and yaml.safe_load(block)["pretty_name"] == "prefixes"
