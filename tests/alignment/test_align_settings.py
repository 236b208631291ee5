"""What an alignment is told: what can't be right is refused in words when it is made."""

import inspect
from dataclasses import fields

import pytest

from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.alignment.transform import PrefixAlignment
from palign_hf.errors import UserError
from palign_hf.prompts import ALIGN, SOLVE, TAG_STYLES


def test_every_setting_is_documented_once_and_an_argument():
    for one in fields(AlignmentSettings):
        assert one.metadata["help"] and "\n" not in one.metadata["help"]
    parameters = list(inspect.signature(PrefixAlignment).parameters)
    assert parameters == [one.name for one in fields(AlignmentSettings)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"mode": "prefil"}, r"`mode='prefil'` is unknown \(nearest match: `prefill`\)"),
        ({"sampling": "al"}, "nearest match: `all`"),
        ({"tag_style": "prefix"}, "`tag_style=prefix` are for `mode='prefill'`"),
        ({"mode": "prefill", "tag_style": "drafts"}, "`drafts` is no tag style.*`draft`"),
        ({"mode": "prefill", "align_template": "x.txt"}, "is for `mode='prompt'`"),
        ({"align_template": "nowhere.txt"}, "`nowhere.txt` can't be read as the `align` template"),
        ({"temperature": 0.0}, "`n=4` with `temperature=0`"),
        ({"top_p": 0.0}, "`top_p=0.0` must be above 0"),
        ({"n": 0}, "`n=0` must be at least 1"),
        ({"grader": "maths"}, "`maths` is no grader.*`math`"),
        ({"refuse": ["cut", "loops"]}, r"`refuse=loops`: no sample has such a flag \(nearest match: `loop`\)"),
        ({"carry": ["answer"]}, "`carry=answer` names a column that every pair has"),
        ({"carry": ["level", "level"]}, "`carry=level` is named twice"),
        ({"fallback": "longer"}, "nearest match: `longer_prefix`"),
    ],
)
def test_what_cannot_be_right_is_refused(given, words):
    with pytest.raises(UserError, match=words):
        AlignmentSettings("palign-toy", **given)


def test_texts_become_what_they_name():
    assert AlignmentSettings("palign-toy").read_template() is ALIGN
    assert AlignmentSettings("palign-toy").style is None
    assert AlignmentSettings("palign-toy", mode="prefill").read_template() is SOLVE
    assert AlignmentSettings("palign-toy", mode="prefill").style == TAG_STYLES["prefix"]
    assert AlignmentSettings("palign-toy", mode="prefill", tag_style="none").style == TAG_STYLES["none"]
    assert AlignmentSettings("palign-toy", refuse=["loop"]).refuse == ("loop",)
    assert AlignmentSettings("palign-toy", temperature=0.0, n=1).drawing(5, 1).max_tokens == 5
