"""Prompts: their slots, their order, their hashes; tags that can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.prompts import ALIGN, ENOUGH, JUDGE, NOT_ENOUGH, SOLVE, TAG_STYLES, Template, tag_style


def test_solve_prompt_bytes():
    assert SOLVE.render(question="1+1?") == (
        "Please reason step by step, and put your final answer within \\boxed{}.\n\n1+1?"
    )


def test_judge_prompt_puts_what_changes_last():
    text = JUDGE.render(question="QQ", prefix="PP")
    assert text.endswith("PP") and text.index("QQ") < text.index("PP")
    assert ENOUGH in text and NOT_ENOUGH in text


def test_align_prompt_holds_question_then_prefix_and_asks_for_a_box():
    text = ALIGN.render(question="QQ", prefix="PP")
    assert text.index("QQ") < text.index("PP") and "\\boxed{}" in text


def test_braces_in_the_data_are_data():
    text = JUDGE.render(question="{prefix} and {question}", prefix="{question}")
    assert "{prefix} and {question}" in text and text.endswith("{question}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("only {question}", r"has `\{prefix\}` 0 times"),
        ("{question} {prefix} {prefix}", r"has `\{prefix\}` 2 times"),
        ("{prefix} {question}", r"puts `\{prefix\}` before `\{question\}`"),
    ],
)
def test_a_bad_template_says_what_is_wrong(text, message):
    with pytest.raises(ValueError, match=message):
        Template("judge", text, ("question", "prefix"))


def test_a_slot_that_nothing_fills_is_refused():
    with pytest.raises(ValueError, match="which nothing fills there"):
        Template("solve", "{question}{prefix}", ("question",))


def test_render_needs_every_slot():
    with pytest.raises(TypeError, match="is filled with"):
        JUDGE.render(question="q")


def test_a_user_template_from_a_file_changes_the_hash_only(tmp_path):
    path = tmp_path / "judge.txt"
    path.write_text("Q {question}\nP {prefix}\n")
    mine = JUDGE.from_file(path)
    assert mine.render(question="a", prefix="b") == "Q a\nP b"
    assert mine.hash != JUDGE.hash and mine.version == JUDGE.version
    with pytest.raises(ValueError, match="can't be read as the `judge` template"):
        JUDGE.from_file(tmp_path / "absent.txt")


def test_shipped_texts_change_only_with_their_version():
    """A changed prompt changes results: raise `version` together with the hash recorded here."""
    assert {t.name: (t.version, t.hash) for t in (SOLVE, JUDGE, ALIGN)} == {
        "solve": (1, "1ae8f80600a3"),
        "judge": (1, "c0e310696380"),
        "align": (1, "c4ffbcb5d523"),
    }


@given(prefix=st.text(), continuation=st.text(), style=st.sampled_from(["prefix", "draft", "think"]))
def test_tags_read_back_what_they_wrap(prefix, continuation, style):
    tags = tag_style(style)
    mark = tags.close.rstrip("\n")
    if mark in prefix or mark in prefix + mark[:-1]:
        return
    assert tags.split(tags.wrap(prefix, continuation)) == (prefix, continuation, True)


def test_an_unclosed_draft_is_told_apart():
    assert tag_style("prefix").split("<Begin_of_Prefix>half a") == ("half a", "", False)
    assert tag_style("none").split("plain") == ("", "plain", True)
    assert tag_style("prefix").split("no tags at all") == ("", "no tags at all", True)


def test_published_format():
    assert tag_style("prefix").wrap("P", "C") == "<Begin_of_Prefix>P<End_of_Prefix>\nC"
    assert tag_style("draft").wrap("P", "C") == "<Begin_of_Draft>P<End_of_Draft>\nC"
    assert set(TAG_STYLES) == {"prefix", "draft", "none", "think"}


def test_unknown_style_names_the_nearest():
    with pytest.raises(ValueError, match=r"`prefixes` is no tag style \(nearest match: `prefix`\)"):
        tag_style("prefixes")


_seams = st.lists(st.sampled_from(["<", ">", "\n", "a", "<End_of_Prefix", "End_of_Prefix>", "<think>", "</think>"]))


@given(
    prefix=st.text() | _seams.map("".join),
    continuation=st.text() | _seams.map("".join),
    style=st.sampled_from(["prefix", "draft", "think"]),
)
def test_a_target_without_tags_inside_has_each_of_them_once(prefix, continuation, style):
    tags = tag_style(style)
    if tags.tag_in(prefix) is None and tags.tag_in(continuation) is None:
        target = tags.wrap(prefix, continuation)
        assert target.count(tags.open.strip()) == target.count(tags.close.strip()) == 1
        assert tags.split(target) == (prefix, continuation, True)


def test_tags_inside_a_text_are_named_and_a_style_without_tags_has_none():
    assert tag_style("prefix").tag_in("a <End_of_Prefix> b") == "<End_of_Prefix>"
    assert tag_style("prefix").tag_in("a <End_of_Draft> b") is None
    assert tag_style("none").tag_in("a <End_of_Prefix> b") is None
