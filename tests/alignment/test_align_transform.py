"""Prefixes to pairs over an engine that speaks by rule: what is drawn, what is kept, what becomes of the rest."""

import pickle
import subprocess
import sys

import pytest
from datasets import Dataset
from datasets.fingerprint import Hasher
from hypothesis import given, settings
from hypothesis import strategies as st

from palign_hf.alignment.rows import problem_key
from palign_hf.alignment.transform import PrefixAlignment
from palign_hf.engines.base import EngineIdentity, RequestFailed
from palign_hf.errors import UserError
from palign_hf.generation.ledger import read_about
from palign_hf.generation.runner import StudentRunner
from palign_hf.generation.sampling import seed_of
from palign_hf.grading import Grade
from palign_hf.prompts import ALIGN, SOLVE
from palign_hf.schema import OUTCOMES, PAIRS, PREFIXES, SchemaError, check_table
from palign_hf.segmentation import cuts


TRACE = "We add two and two. That gives four. Let me check. Yes, it is four. So we are done."
ENDS = [0, *cuts(TRACE)]
RIGHT, WRONG = r"So it is \boxed{4}.", r"So it is \boxed{5}."


def prefix_row(name: str, cut: int = 2, probed: tuple[int, ...] = (), **changes) -> dict:
    row = {"id": name, "question": f"What is 2 + 2 in case {name}?", "trace": TRACE, "answer": "4", "source": "s"}
    row |= {"prefix": TRACE[: ENDS[cut]], "prefix_end": ENDS[cut], "n_segments": len(ENDS) - 1}
    row |= {"prefix_segments": cut, "prefix_ratio": cut / 5, "trace_tokens": 40, "prefix_tokens": 8 * cut}
    row |= {"status": "sufficient", "reason": None}
    return row | {"probes": [{"segments": c, "margin": 1.0, "verdict": "x"} for c in probed]} | changes


def prefixes(*rows: dict) -> Dataset:
    return Dataset.from_list(list(rows), features=PREFIXES.features)


@pytest.fixture
def make(pupil, speaker, tmp_path):
    made = []

    def make(**given) -> PrefixAlignment:
        usual = {"engine": "transformers", "ledger": str(tmp_path / "ledger"), "progress": False, "grader": "exact"}
        made.append(PrefixAlignment(str(pupil), **usual | given))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_first_stops_a_problem_at_its_first_kept_sample(make, speaker):
    alignment = make()
    right_from = {name: at for at, name in enumerate(("zero", "one", "two", "never"))}
    seeds = {}
    for row in (prefix_row(name) for name in right_from):
        key = problem_key(row["question"], row["prefix"])
        for sample in range(4):
            seeds[seed_of(key, 0, sample)] = (
                RIGHT if sample >= right_from[row["id"]] and row["id"] != "never" else WRONG
            )
    speaker.text = lambda prompt, seed: seeds[seed]
    pairs = prefixes(*map(prefix_row, right_from)).map(alignment, batched=True)
    check_table(pairs, PAIRS)
    drawn = {name: [row for row in pairs if row["id"] == name] for name in right_from}
    assert {name: len(rows) for name, rows in drawn.items()} == {"zero": 1, "one": 2, "two": 3, "never": 4}
    assert [row["status"] for row in drawn["two"]] == ["rejected", "rejected", "kept"]
    assert [row["sample"] for row in drawn["never"]] == [0, 1, 2, 3]
    assert {row["reason"] for row in drawn["never"]} == {"wrong answer"}
    assert alignment.usage.asked == len(speaker.asked) == len(pairs)


def test_all_draws_all_of_them_and_at_once(make, speaker):
    speaker.text = lambda prompt, seed: RIGHT
    pairs = prefixes(prefix_row("a")).map(make(sampling="all", n=3), batched=True)
    assert pairs["status"] == ["kept"] * 3 and pairs["sample"] == [0, 1, 2]
    assert speaker.most_at_once == 3 and len(set(pairs["seed"])) == 3


def test_a_pair_carries_what_was_found_out_about_it(make, speaker):
    speaker.text = lambda prompt, seed: RIGHT
    (row,) = prefixes(prefix_row("a")).map(make(), batched=True)
    assert row["prefix"] == TRACE[: ENDS[2]] and row["continuation"] == RIGHT and row["answer_found"] == "4"
    assert (row["strict"], row["lenient"], row["finish_reason"], row["flags"]) == (True, True, "stop", [])
    assert (row["mode"], row["engine"], row["fallback"], row["source"]) == ("prompt", "fake 1 (float64)", None, "s")
    assert row["tokens"] > 5 and row["prefix_tokens"] == 16 and row["trace_tokens"] == 40


def test_the_modes_put_the_prefix_where_they_say(make, speaker):
    source = prefix_row("a")
    prefixes(source).map(make(), batched=True)
    prefixes(source).map(make(mode="prefill"), batched=True)
    prompt, prefill = (asked[1] for asked in speaker.asked[:: len(speaker.asked) // 2][:2])
    assert ALIGN.message(source["question"], source["prefix"]) in prompt
    assert SOLVE.message(source["question"]) in prefill and prefill.endswith(
        f"assistant\n<Begin_of_Prefix>{source['prefix']}<End_of_Prefix>\n"
    )


def test_a_sample_is_drawn_as_told_and_by_a_seed_of_its_content(make, speaker):
    rows = [prefix_row("a"), prefix_row("b"), prefix_row("c", question="What is 2 + 2 in case a?")]
    speaker.text = lambda prompt, seed: WRONG
    pairs = prefixes(*rows).map(make(max_tokens=50, seed=3), batched=True)
    sampling = speaker.asked[0][2]
    assert (sampling.temperature, sampling.top_p, sampling.repetition_penalty) == (0.6, 0.9, 1.05)
    assert (sampling.max_tokens, sampling.n, sampling.seed) == (50, 1, pairs[0]["seed"])
    seeds = {row["id"]: row["seed"] for row in pairs if row["sample"] == 0}
    assert seeds["a"] == seeds["c"] != seeds["b"]  # the same problem under another id is the same problem
    again = prefixes(*reversed(rows)).map(make(max_tokens=50, seed=3), batched=True)
    assert {row["id"]: row["seed"] for row in again if row["sample"] == 0} == seeds
    assert len(speaker.asked) == 8  # a and b, four samples each, and nothing twice


def test_what_is_left_out_or_cannot_be_asked_has_a_row_with_the_reason(make, speaker):
    speaker.text = lambda prompt, seed: RIGHT
    odd = [
        prefix_row("proof", answer=None),
        prefix_row("blank", answer=" "),
        prefix_row("skipped", status="skipped", prefix="", prefix_end=0),
        prefix_row("no trace", trace=None),
        prefix_row("no question", question=None),
        prefix_row("empty", question="  "),
        prefix_row("other", prefix="Something else."),
        prefix_row("long", question="word " * 5000),
        prefix_row("good"),
    ]
    pairs = prefixes(*odd).map(make(), batched=True)
    check_table(pairs, PAIRS, filled=["id", "sample", "status"])
    told = {row["id"]: (row["status"], row["reason"]) for row in pairs}
    assert len(pairs) == len(told) == len(odd)
    assert told["good"] == ("kept", None)
    assert told["proof"] == told["blank"] == ("left_out", "it has no gold answer, so nothing can be verified")
    assert told["skipped"] == ("left_out", "it has no prefix: its row is `skipped`")
    assert told["no trace"] == ("skipped", "the trace is null, not text")
    assert told["no question"] == ("skipped", "the question is null, not text")
    assert told["empty"] == ("skipped", "the question is empty")
    assert told["other"] == ("skipped", "the prefix is not the beginning of its trace")
    assert told["long"][0] == "skipped" and "and the context holds 4096" in told["long"][1]
    assert {name for name, *_ in speaker.asked} == {"good"}


def test_text_that_is_no_unicode_stays_with_its_row(make, speaker):
    speaker.text = lambda prompt, seed: RIGHT
    rows = [prefix_row("a"), prefix_row("b", question="What \ud800 is it?"), prefix_row("c")]
    found = list(make().stream(rows, 3))
    assert [row["status"] for row in found] == ["kept", "skipped", "kept"]
    assert (
        found[1]["reason"].startswith("the question is broken: it holds U+D800")
        and found[1]["question"] == "What ? is it?"
    )


def test_a_row_too_large_for_any_context_is_skipped(make, speaker):
    speaker.text = lambda prompt, seed: RIGHT
    found = list(make().stream([prefix_row("a"), prefix_row("b", question="x" * 4_000_001)], 2))
    assert [row["status"] for row in found] == ["kept", "skipped"]
    assert found[1]["reason"].startswith("the question has 4,000,001 characters, more than any context holds")


def test_a_sample_with_a_control_token_inside_is_not_kept(make, speaker):
    speaker.text = lambda prompt, seed: r"So <|im_start|>it is \boxed{4}." if seed % 2 else RIGHT
    pairs = prefixes(prefix_row("a"), prefix_row("b")).map(make(sampling="all", n=4), batched=True)
    inside = [row for row in pairs if row["seed"] % 2]
    assert inside and {row["reason"] for row in inside} == {"control tokens"}
    assert {row["status"] for row in pairs if row["seed"] % 2 == 0} <= {"kept"}


@pytest.mark.parametrize("given", [{}, {"mode": "prefill"}, {"mode": "prefill", "tag_style": "draft"}])
def test_tags_inside_a_trace_are_a_reason_of_their_own(make, speaker, given):
    """Such a pair was kept, and trained with two closing tags; what the student writes itself counts as well."""
    tag = "<End_of_Draft>" if "tag_style" in given else "<End_of_Prefix>"
    trace = f"We {tag} add."
    odd = prefix_row("trace", trace=trace, prefix=trace, prefix_end=len(trace))
    speaker.text = lambda prompt, seed: rf"So {tag} \boxed{{4}}." if seed % 2 else RIGHT
    alignment = make(sampling="all", n=4, **given)
    pairs = prefixes(odd, prefix_row("b"), prefix_row("c")).map(alignment, batched=True)
    (skipped,) = [row for row in pairs if row["id"] == "trace"]
    reason = f"the prefix holds `{tag}` itself, which would be taken for its border"
    assert (skipped["status"], skipped["reason"]) == ("skipped", reason)
    wrote = [row for row in pairs if tag in row["continuation"]]
    assert wrote and {(row["status"], row["reason"]) for row in wrote} == {
        ("rejected", "a tag of the training target")
    }
    told = alignment.report(pairs).reasons
    assert told[reason] == 1 and told["a tag of the training target"] == len(wrote)


def test_a_status_that_is_none_of_prefixes_is_told(make, speaker):
    found = list(make().stream([prefix_row("a", status="enough"), prefix_row("b", status=None)], 2))
    assert [row["status"] for row in found] == ["skipped"] * 2 and "its status is `enough`" in found[0]["reason"]


def test_a_reply_that_goes_on_in_the_middle_keeps_its_first_space(tmp_path, monkeypatch):
    """Tokenizers in the manner of Llama 2 take the space off what comes first."""
    import tiny
    from speaker import Speaker

    tokenizer = tiny.fast(tiny.sentencepiece(), tiny.INSTRUCT)
    student = tiny.save_student(tmp_path / "student", tokenizer)
    ids = tokenizer.encode("We add two and so on", add_special_tokens=False)
    engine = Speaker(tokenizer)
    monkeypatch.setattr("palign_hf.generation.runner.make_engine", lambda *given, **options: engine)
    usual = {"engine": "transformers", "ledger": str(tmp_path), "progress": False, "mode": "prefill", "n": 1}
    glued, apart = (PrefixAlignment(str(student), tag_style=tags, **usual) for tags in ("none", "prefix"))
    beginning = glued.prompts().found(prefix_row("a"))
    at = next(
        place for place in range(1, len(ids)) if tokenizer.convert_ids_to_tokens(ids[place]).startswith("\u2581")
    )
    assert glued.prompts().text(ids[at:], beginning) == " " + tokenizer.decode(ids[at:]).lstrip()
    assert apart.prompts().text(ids[at:], beginning) == tokenizer.decode(ids[at:])


def test_a_failed_request_is_an_error_of_its_sample_and_asked_again(make, speaker):
    def fails(prompt, seed):
        if "case b" in prompt:
            raise RequestFailed("refused by rule")
        return RIGHT

    speaker.text = fails
    rows = prefixes(prefix_row("a"), prefix_row("b"))
    pairs = rows.map(make(), batched=True)
    assert [(row["id"], row["status"]) for row in pairs] == [("a", "kept"), ("b", "error")]
    assert pairs[1]["reason"] == "no answer to sample 0: refused by rule" and pairs[1]["continuation"] == ""
    speaker.text, before = (lambda prompt, seed: RIGHT), len(speaker.asked)
    mended = rows.map(make(), batched=True, load_from_cache_file=False)
    assert mended["status"] == ["kept", "kept"] and len(speaker.asked) == before + 1


def test_nothing_is_drawn_twice_for_other_rules_more_samples_or_a_fallback(make, speaker):
    speaker.text = lambda prompt, seed: WRONG
    rows = prefixes(*(prefix_row(str(at), probed=(4,)) for at in range(5)))
    first = make(n=2)
    rows.map(first, batched=True)
    assert len(speaker.asked) == 10
    for change in ({"sampling": "all"}, {"right": "lenient"}, {"refuse": []}):
        other = make(n=2, **change)
        rows.map(other, batched=True)
        assert other.fingerprint != first.fingerprint and other.ledger_path == first.ledger_path
        assert len(speaker.asked) == 10 and other.usage.asked == 0 and other.usage.samples == 10
    rows.map(make(n=3), batched=True)
    assert len(speaker.asked) == 15
    assert read_about(first.ledger_path)["answers"] == "samples"


def test_another_engine_of_a_sample_is_told(make, speaker):
    rows = prefixes(prefix_row("a"))
    speaker.text = lambda prompt, seed: WRONG
    rows.map(make(n=1), batched=True)
    speaker.identity = EngineIdentity("other", "2", "bfloat16")
    pairs = rows.map(make(n=2), batched=True)
    assert pairs["engine"] == ["fake 1 (float64)", "other 2 (bfloat16)"]


@pytest.mark.parametrize(
    ("kind", "most", "cuts_tried"),
    [("drop", 2, []), ("longer_prefix", 1, [3]), ("longer_prefix", 2, [3, 4]), ("full_trace", 2, [5])],
)
def test_a_fallback_is_tried_only_where_nothing_was_kept(make, speaker, kind, most, cuts_tried):
    speaker.text = lambda prompt, seed: RIGHT if "case good" in prompt else WRONG
    rows = prefixes(prefix_row("good", probed=(1, 2, 3, 4)), prefix_row("bad", probed=(1, 2, 3, 4)))
    pairs = rows.map(make(n=2, fallback=kind, fallback_cuts=most), batched=True)
    bad = [row for row in pairs if row["id"] == "bad"]
    assert [row["prefix_end"] for row in bad] == [ENDS[2]] * 2 + [ENDS[cut] for cut in cuts_tried for _ in range(2)]
    assert [row["sample"] for row in bad] == list(range(2 + 2 * len(cuts_tried)))
    assert all(row["prefix"] == TRACE[: row["prefix_end"]] for row in bad)
    assert [row["fallback"] for row in bad] == [None] * 2 + [kind] * 2 * len(cuts_tried)
    assert [row["status"] for row in pairs if row["id"] == "good"] == ["kept"]


def test_a_longer_prefix_that_is_enough_ends_the_search(make, speaker):
    speaker.text = lambda prompt, seed: RIGHT if "Let me check." in prompt else WRONG
    pairs = prefixes(prefix_row("a", probed=(3, 4))).map(make(n=2, fallback="longer_prefix"), batched=True)
    assert [(row["status"], row["fallback"]) for row in pairs][2:] == [("kept", "longer_prefix")]


def test_problems_can_be_left_out_by_their_id(make, speaker):
    alignment = make()
    alignment.leave_out({"b": "repeats another problem"})
    found = {row["id"]: row for row in alignment.stream([prefix_row("a"), prefix_row("b")], 2)}
    assert (found["b"]["status"], found["b"]["reason"]) == ("left_out", "repeats another problem")
    assert {name for name, *_ in speaker.asked} == {"a"}


def test_carried_columns_keep_their_types_and_a_missing_one_is_refused(make, speaker):
    rows = prefixes(prefix_row("a"), prefix_row("b")).add_column("level", [1, 2])
    speaker.text = lambda prompt, seed: WRONG
    pairs = rows.map(make(carry=["level"], n=2), batched=True)
    assert pairs.features["level"].dtype == "int64" and pairs["level"] == [1, 1, 2, 2]
    with pytest.raises(SchemaError, match="`carry=levels`.*nearest match: `level`"):
        rows.map(make(carry=["levels"]), batched=True)


def test_a_stream_gives_the_same_rows(make, speaker):
    rows = prefixes(*(prefix_row(str(at)) for at in range(5)))
    table = rows.map(make(), batched=True)
    stream = rows.to_iterable_dataset().map(make(), batched=True, batch_size=2, remove_columns=rows.column_names)
    assert [row["continuation"] for row in stream] == table["continuation"]


def test_one_engine_serves_two_stages_and_is_closed_by_who_made_it(pupil, speaker, tmp_path):
    with StudentRunner(str(pupil), engine="transformers") as runner:
        alignment = PrefixAlignment(str(pupil), engine=runner, ledger=str(tmp_path), progress=False)
        assert alignment.runner is runner
        list(alignment.stream([prefix_row("a")], 1))
        alignment.close()
        assert runner.started


def test_its_hash_is_what_changes_the_result(make, pupil, tmp_path):
    one, same, other = make(), make(max_concurrency=3, ledger=str(tmp_path / "x")), make(seed=1)
    assert Hasher.hash(one) == Hasher.hash(same) != Hasher.hash(other)
    assert Hasher.hash(pickle.loads(pickle.dumps(one))) == Hasher.hash(one)
    code = "import sys; from datasets.fingerprint import Hasher; "
    code += "from palign_hf.alignment.transform import PrefixAlignment; "
    code += "print(Hasher.hash(PrefixAlignment(sys.argv[1], engine='transformers', grader='exact')))"
    told = subprocess.run([sys.executable, "-c", code, str(pupil)], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == Hasher.hash(one)


class Tolerant:
    """A grader with a parameter, and something that it keeps for itself."""

    name, version = "tolerant", 1

    def __init__(self, tolerance: int = 1) -> None:
        self.tolerance, self._seen = tolerance, []

    def grade(self, output: str, gold: str) -> Grade:
        return Grade(self.tolerance > 1, True, "4")


def test_a_parameter_of_ones_own_grader_changes_the_result_and_no_sample(make):
    strict, same, loose = (
        make(grader={"name": "test_align_transform:Tolerant", "tolerance": tolerance}) for tolerance in (1, 1, 2)
    )
    same.grader._seen.append("a text")
    assert strict.fingerprint == same.fingerprint != loose.fingerprint
    assert strict.ledger_path == loose.ledger_path


def test_what_is_left_out_is_hashed_and_copied_with_it(make):
    one = make()
    before = Hasher.hash(one)
    one.leave_out({"b": "repeats another problem"})
    assert Hasher.hash(one) != before
    copy = pickle.loads(pickle.dumps(one))
    assert Hasher.hash(copy) == Hasher.hash(one)
    found = {row["id"]: row["status"] for row in copy.stream([prefix_row("b")], 1)}
    copy.close()
    assert found == {"b": "left_out"}


def test_settings_are_settled(make):
    with pytest.raises(AttributeError, match="`n` was settled"):
        make().n = 2


def test_a_benchmark_of_rules_never_loses_a_row(make, speaker):
    """Counts in are counts out plus counted reasons, whatever the student says."""
    alignment = make(n=2)
    says = st.sampled_from([RIGHT, WRONG, "no box", "", "again and again " * 60, r"\boxed{4}" * 3])
    kinds = st.lists(st.tuples(says, st.sampled_from(["sufficient", "skipped"]), st.booleans()), max_size=8)

    @settings(max_examples=25)
    @given(kinds)
    def run(rows):
        words = {f"case {at}?": said for at, (said, _, _) in enumerate(rows)}
        speaker.text = lambda prompt, seed: next((said for case, said in words.items() if case in prompt), WRONG)
        sources = [
            prefix_row(str(at), status=status, answer="4" if gold else None)
            for at, (_, status, gold) in enumerate(rows)
        ]
        found = list(alignment.stream(sources, len(sources)))
        assert {row["id"] for row in found} == {row["id"] for row in sources}
        assert len({(row["id"], row["sample"]) for row in found}) == len(found)
        assert all(row["status"] in OUTCOMES and (row["reason"] is None) == (row["status"] == "kept") for row in found)

    run()


def test_what_cannot_be_opened_is_refused_before_an_engine_starts(pupil, speaker, tmp_path):
    with pytest.raises(UserError, match="runs the student"):
        with StudentRunner("palign-toy", engine="transformers") as runner:
            PrefixAlignment(str(pupil), engine=runner)
