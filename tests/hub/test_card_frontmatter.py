"""The YAML of a card, key by key."""

import pytest
import yaml
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.hub.cards import FrontMatter, dumped


CARD = """---
# what we are
license: mit  # asked the authors
tags:
- ours
- 'of people'
mine: {a: 1,   b: [2]}

# the end
last: "yes"
---

Text.
"""


def test_other_keys_and_comments_stay_byte_for_byte():
    top = FrontMatter(CARD)
    top.add("tags", ["ours", "more"])
    top.set("size_categories", ["n<1K"])
    assert top.card() == CARD.replace("- ours\n- 'of people'\n", "- ours\n- of people\n- more\n").replace(
        'last: "yes"\n', 'last: "yes"\nsize_categories:\n- n<1K\n'
    )


def test_what_is_there_already_is_not_written_again():
    top = FrontMatter(CARD)
    top.set("license", "mit")
    top.add("tags", ["of people"])
    assert top.setdefault("last", "no") == "yes" and top.card() == CARD


@pytest.mark.parametrize("card", ["", "Text.\n", "---\r\na: 1\r\n---\r\nText.\r\n", "---\n\n---\nText.\n"])
def test_a_card_gets_its_yaml_and_keeps_its_text(card):
    top = FrontMatter(card)
    top.set("license", "mit")
    read = DatasetCard(top.card())
    assert read.data.license == "mit" and read.text.strip() == ("Text." if card else "")
    assert ("\r\n" in card) == ("\r\n" in top.card()) and FrontMatter(top.card()).data["license"] == "mit"


@given(st.text(), st.text(min_size=1))
def test_any_text_comes_back_from_the_yaml_as_it_was(name, value):
    told = dumped({"name": name, "value": [value]})
    assert yaml.safe_load(told) == {"name": name, "value": [value]}
    assert told.isascii() and all(char.isprintable() or char == "\n" for char in told)


def test_entries_of_configurations_are_put_in_their_place():
    top = FrontMatter("")
    for name, of in (("a", 1), ("b", 2), ("a", 3)):
        top.put("configs", name, {"config_name": name, "of": of})
    assert top.data["configs"] == [{"config_name": "a", "of": 3}, {"config_name": "b", "of": 2}]


@pytest.mark.parametrize("yaml_text", ["a: [", "- a", "{a: 1, b: 2}", "just words"])
def test_yaml_that_cannot_be_changed_is_refused_in_words(yaml_text):
    with pytest.raises(UserError, match="YAML at the top of the card"):
        FrontMatter(f"---\n{yaml_text}\n---\nText.\n")


def test_a_key_that_others_refer_to_is_not_broken():
    top = FrontMatter("---\ntags: &t\n- a\nmine: *t\n---\n")
    with pytest.raises(UserError, match="YAML at the top|refer to it"):
        top.add("tags", ["b"])
