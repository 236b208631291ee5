"""Generated parts of a card beside what people write."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.hub.cards import Part, parts, stamped, with_parts


MADE = {"one": "First.\n", "two": "Second.\n"}
NEWER = {"one": "First, again.\n", "two": "Second, again.\n"}
# What people write: anything but marks of ours.
PEOPLES = st.text(max_size=60).filter(lambda text: "palign:" not in text and "\r" not in text)


def nowhere(name: str) -> None:
    return None


def card() -> str:
    return with_parts("", MADE, MADE, nowhere)[0]


def test_parts_are_written_found_and_made_anew():
    assert {name: part.text for name, part in parts(card()).items()} == MADE
    changed, notes = with_parts(card(), NEWER, (), nowhere)
    assert {name: part.text for name, part in parts(changed).items()} == NEWER and not notes
    assert with_parts(changed, NEWER, (), nowhere) == (changed, [])


@given(PEOPLES, PEOPLES, PEOPLES)
def test_what_stands_around_parts_stays_byte_for_byte(before, between, behind):
    one, two = (Part(name, text, None).marked() for name, text in MADE.items())
    changed, notes = with_parts(f"{before}{one}{between}{two}{behind}", NEWER, (), nowhere)
    one, two = (Part(name, text, None).marked() for name, text in NEWER.items())
    assert changed == f"{before}{one}{between}{two}{behind}" and not notes


def test_a_part_that_was_edited_stays_and_is_told():
    edited = card().replace("First.", "First, by hand.")
    changed, notes = with_parts(edited, NEWER, (), nowhere)
    assert "First, by hand.\n" in changed and "First, again." not in changed and "Second, again." in changed
    assert notes == ["part `one` of the card was edited, and stays as it is"]


def test_a_part_that_was_deleted_stays_out_unless_it_is_new():
    deleted = card().replace(Part("one", MADE["one"], None).marked(), "")
    changed, notes = with_parts(deleted, NEWER, (), nowhere)
    assert list(parts(changed)) == ["two"] and notes == ["part `one` of the card was deleted, and stays out"]
    changed, notes = with_parts(deleted, NEWER, ["one"], {"one": "two"}.get)
    assert list(parts(changed)) == ["two", "one"] and not notes


def test_line_ends_of_a_browser_are_no_edit():
    windows = card().replace("\n", "\r\n")
    changed, notes = with_parts(windows, NEWER, (), nowhere)
    assert not notes and "First, again.\r\n" in changed and "\n" not in changed.replace("\r\n", "")


@pytest.mark.parametrize("broken", ["<!-- palign:end one -->", "<!-- palign:begin one -->\n", "no mark"])
def test_half_a_mark_is_a_persons(broken):
    assert not parts(broken) and stamped(broken) == broken


def test_what_a_template_marks_is_not_edited():
    template = "<!-- palign:begin one -->\nFirst.\n<!-- palign:end one -->\n"
    assert not parts(template)["one"].edited and parts(stamped(template))["one"].digest
