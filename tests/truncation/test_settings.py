"""Settings and fingerprints: what is refused, what a fingerprint depends on, and that it never changes by itself."""

import inspect
import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest
from datasets.fingerprint import Hasher

from palign_hf.errors import UserError
from palign_hf.generation.ledger import ledger_folder
from palign_hf.students import Student
from palign_hf.truncation import transform as module
from palign_hf.truncation.criteria import SelfJudge
from palign_hf.truncation.search import Ascend, Binary, Linear
from palign_hf.truncation.transform import PrefixTruncation, TruncationIdentity, TruncationSettings, fingerprint


HUB = Student("me/student", commit="c0ffee", content=None)
KNOWN = TruncationIdentity(HUB, SelfJudge(), Ascend(), "sentence", None, 0.0)


def test_a_fingerprint_does_not_change_by_itself():
    # Written down: a change of these breaks every cache and ledger that exists.
    assert fingerprint({}) == "44136fa355b3678a"
    assert fingerprint({"b": [1, "caf\u00e9"], "a": None}) == "71e6231273c5004e"


def test_the_order_of_keys_does_not_matter_and_that_of_lists_does():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})


@pytest.mark.parametrize(
    "change",
    [
        {"student": Student("me/student", commit="beef", content=None)},
        {"student": Student("you/student", commit="c0ffee", content=None)},
        {"student": Student("me/student", commit=None, content="abc")},
        {"criterion": SelfJudge(verdict="generate")},
        {"granularity": "paragraph"},
        {"max_model_len": 4096},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_a_margin_changes_the_judge_and_the_result(change):
    other = replace(KNOWN, **change)
    assert other.judge_fingerprint != KNOWN.judge_fingerprint
    assert other.fingerprint != KNOWN.fingerprint


@pytest.mark.parametrize("change", [{"search": Linear()}, {"search": Ascend(confirm=3)}, {"audit": 0.5}])
def test_what_changes_only_the_cuts_asked_keeps_the_ledger(change):
    other = replace(KNOWN, **change)
    assert other.judge_fingerprint == KNOWN.judge_fingerprint
    assert other.fingerprint != KNOWN.fingerprint


@pytest.mark.parametrize(
    ("name", "raised"), [("PREFIXES", replace(module.PREFIXES, version=99)), ("TRANSFORM_VERSION", 99)]
)
def test_a_raised_version_changes_the_result_and_keeps_the_ledger(monkeypatch, name, raised):
    before = KNOWN.fingerprint, KNOWN.judge_fingerprint
    monkeypatch.setattr(module, name, raised)
    assert (KNOWN.fingerprint != before[0], KNOWN.judge_fingerprint == before[1]) == (True, True)


def test_a_raised_segmentation_changes_the_judge(monkeypatch):
    before = KNOWN.judge_fingerprint
    monkeypatch.setattr(module.segmentation, "VERSION", 99)
    assert KNOWN.judge_fingerprint != before


def test_a_folder_is_its_content_and_a_hub_student_its_commit():
    here, there = (Student(name, commit=None, content="abc") for name in ("here", "there"))
    assert replace(KNOWN, student=here).fingerprint == replace(KNOWN, student=there).fingerprint


def test_a_search_that_asks_other_cuts_is_another_result():
    assert len({replace(KNOWN, search=search).fingerprint for search in (Ascend(), Binary(), Linear())}) == 3


def identity(made: PrefixTruncation) -> tuple[str, str]:
    return made.fingerprint, Path(made.ledger_path).stem


class Renamed(PrefixTruncation):
    """Does something else."""

    def judge(self):
        return super().judge()


class Tuned(PrefixTruncation):
    """Has a number of its own."""

    def __init__(self, student: str, *, threshold: float, **settings) -> None:
        super().__init__(student, **settings)
        self.threshold = threshold


def test_a_subclass_has_the_fingerprint_of_what_it_changes_and_not_of_its_runtime(student, tmp_path):
    plain = PrefixTruncation(str(student), engine="transformers", ledger=str(tmp_path))
    other = Renamed(str(student), engine="transformers", ledger=str(tmp_path))
    low, high = (Tuned(str(student), threshold=at, engine="transformers", ledger=str(tmp_path)) for at in (0.1, 0.2))
    names = [identity(one) for one in (plain, other, low, high)]
    assert len({result for result, _ in names}) == len({judge for _, judge in names}) == 4
    hashed = [Hasher.hash(one) for one in (plain, other, low, high)]
    assert len(set(hashed)) == 4
    busy = Tuned(str(student), threshold=0.1, engine="transformers", ledger=str(tmp_path / "other"), max_concurrency=3)
    with busy:
        busy({"id": ["a"], "question": ["Q?"], "trace": [""], "answer": [None], "source": ["s"]})
        assert (busy.fingerprint, Hasher.hash(busy)) == (low.fingerprint, hashed[2])
    copied = pickle.loads(pickle.dumps(busy))
    assert (copied.threshold, copied.fingerprint) == (0.1, low.fingerprint)


def test_a_settled_setting_can_not_be_changed_behind_its_back(student):
    made = PrefixTruncation(str(student), engine="transformers")
    with pytest.raises(AttributeError, match="`audit` was settled.*`with_search`"):
        made.audit = 0.5
    made.note = "mine"


def test_it_shows_what_was_said_and_not_what_is_usual(student):
    made = PrefixTruncation(str(student), engine="transformers", search="binary", audit=0.1)
    assert repr(made).startswith(f"PrefixTruncation('{student}', engine='transformers', search=")
    assert "audit=0.1" in repr(made) and "ledger" not in repr(made) and "\n" not in repr(made)
    assert "search" not in repr(PrefixTruncation(str(student), search="ascend", engine="transformers"))


def test_every_setting_is_documented_once():
    for one in fields(TruncationSettings):
        assert one.metadata["help"] and "\n" not in one.metadata["help"]
    parameters = list(inspect.signature(PrefixTruncation).parameters.values())
    assert [one.name for one in parameters] == [one.name for one in fields(TruncationSettings)]
    assert [one.kind for one in parameters[1:]] == [inspect.Parameter.KEYWORD_ONLY] * (len(parameters) - 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"criterion": "self-juge"}, r"`self-juge` is no criterion \(nearest match: `self-judge`\)"),
        (
            {"criterion": {"name": "self-judge", "labls": ["a", "b"]}},
            r"`labls` is no parameter.*nearest match: `labels`",
        ),
        ({"criterion": {"name": "self-judge", "labels": ["a", "a"]}}, "can't tell a verdict"),
        ({"criterion": {"name": "self-judge", "labels": 3}}, "can't tell a verdict"),
        (
            {"criterion": {"name": "self-judge", "max_tokens": 0}},
            "`max_tokens=0` must be a whole number of at least 1",
        ),
        ({"criterion": {"name": "self-judge", "template": "nowhere.txt"}}, "`nowhere.txt` can't be read"),
        ({"criterion": "nowhere:Judge"}, "`nowhere:Judge` can't be imported"),
        ({"criterion": "json:loads"}, "is no criterion but a `function`, and was not called"),
        ({"criterion": {"labels": ["a", "b"]}}, "`None` is no criterion"),
        ({"criterion": {"name": "self-judge", "verdict": "text"}}, r"`verdict='text'` is unknown"),
        ({"criterion": {"name": "self-judge", "template": "json:loads"}}, "is no template but a `function`"),
        (
            {"verdict": "generate"},
            "^`verdict` is now a parameter of `criterion`. Write `criterion: {",
        ),
        ({"judge_template": "x.txt"}, "^`judge_template` is now a parameter of `criterion`. Write `criterion: {name:"),
        ({"engine_options": {"urls": []}, "engine": "server"}, "address"),
        ({"search": {"name": "ascnd"}}, "`ascnd` is no search"),
    ],
)
def test_what_can_be_seen_to_be_wrong_is_refused_before_a_student_is_looked_for(given, said):
    with pytest.raises(UserError, match=said):
        PrefixTruncation("no/such-student", **given)


def test_a_ledger_below_a_file_is_refused(student, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't be a folder: `.*file` is a file"):
        PrefixTruncation(str(student), ledger=str(tmp_path / "file" / "ledgers"))


def test_a_criterion_can_be_named_by_where_it_is(student, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from palign_hf.truncation.criteria import SelfJudge\nclass Mine(SelfJudge):\n    name = 'mine'\n"
    )
    named = PrefixTruncation(str(student), criterion={"name": "mine:Mine", "max_tokens": 9})
    assert named.describe()["criterion"]["name"] == "mine"


def test_ledgers_lie_where_they_are_told_to(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("PALIGN_HOME", raising=False)
    assert ledger_folder() == Path("/home/me/.cache/palign/ledgers")
    monkeypatch.setenv("PALIGN_HOME", "~/palign")
    assert ledger_folder() == Path("/home/me/palign/ledgers")
    assert ledger_folder("~/here") == Path("/home/me/here")
    assert ledger_folder("there") == Path("there")
