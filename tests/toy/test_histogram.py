"""The bars of the demo: every distance is counted once, and the picture is a picture."""

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from palign_hf.toy.demo.histogram import as_svg, as_text, bars


@given(st.lists(st.integers(-60, 60), max_size=50))
def test_every_distance_is_in_one_bar(distances):
    assert sum(count for _, count in bars(distances)) == len(distances)
    assert dict(bars(distances))["exact"] == distances.count(0)


def test_what_is_far_is_gathered_at_the_ends():
    drawn = bars([-50, -6, -5, 0, 5, 6, 7, 60])
    assert drawn[0] == ("6 or more short", 2) and drawn[1] == ("-5", 1)
    assert drawn[-1] == ("6 or more long", 3) and drawn[-2] == ("+5", 1)


def test_the_text_has_a_line_a_bar_and_shows_also_the_few():
    lines = as_text([0] * 100 + [3], width=10).splitlines()
    assert len(lines) == 13
    assert lines[6].strip() == "exact ██████████ 100" and lines[9].strip() == "+3 █ 1"
    assert lines[0].endswith("· 0")


def test_the_picture_is_well_formed_and_its_title_is_data():
    root = ElementTree.fromstring(as_svg([0, 1, -2], "cuts of <b>me & you</b>"))
    texts = [node.text for node in root.iter() if node.text]
    assert "cuts of <b>me & you</b>" in texts
    assert len([node for node in root.iter() if node.tag.endswith("rect")]) == 14


def test_no_distance_at_all_is_drawn_too():
    assert as_text([]).count("· 0") == 13
    ElementTree.fromstring(as_svg([], "none"))
