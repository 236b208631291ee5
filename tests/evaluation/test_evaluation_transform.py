"""Problems to samples over an engine that speaks by rule: seeds, durability, failures, labels, the prompt."""

import pytest
from datasets import Dataset, IterableDataset

from palign_hf.cli import main
from palign_hf.engines.base import RequestFailed
from palign_hf.errors import UserError
from palign_hf.evaluation.samples import SAMPLES, check_complete
from palign_hf.evaluation.transform import StudentEvaluation
from palign_hf.generation.sampling import seed_of
from palign_hf.generation.store import content_key
from palign_hf.prompts import SOLVE
from palign_hf.schema import SchemaError, check_table


def problems(count: int, **changes) -> list[dict]:
    return [
        {"id": f"p{at}", "benchmark": "b", "question": f"What is 2 + 2 in case {at}?", "gold": "4", "level": str(at)}
        | changes
        for at in range(count)
    ]


@pytest.fixture
def make(pupil, speaker, tmp_path):
    made = []

    def make(**given) -> StudentEvaluation:
        usual = {"engine": "transformers", "ledger": str(tmp_path / "ledger"), "progress": False, "grader": "exact"}
        made.append(StudentEvaluation(str(pupil), **usual | given))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_problem_has_n_samples_each_with_a_seed_of_its_content(make, speaker):
    speaker.text = lambda prompt, seed: rf"\boxed{{{seed % 2 * 4}}}"
    groups = list(make(n=4).samples(problems(3)))
    for at, group in enumerate(groups):
        key = content_key(f"What is 2 + 2 in case {at}?")
        assert [one.seed for one in group] == [seed_of(key, 0, sample) for sample in range(4)]
        assert [one.strict for one in group] == [one.seed % 2 == 1 for one in group]
        assert [(one.id, one.sample, one.about) for one in group] == [
            (f"p{at}", s, {"level": str(at)}) for s in range(4)
        ]
    assert len({one.seed for group in groups for one in group}) == 12
    assert speaker.most_at_once >= 4


def test_a_question_too_large_for_any_context_is_refused_unread(make, speaker):
    large = problems(2)[1] | {"question": "x" * 4_000_001}
    first, second = make(n=1).samples([problems(2)[0], large])
    assert first[0].error is None
    assert second[0].error.startswith("the question has 4,000,001 characters, more than any context holds")


def test_sampling_is_really_on(make, speaker):
    list(make().samples(problems(1)))
    told = {(one.temperature, one.top_p, one.repetition_penalty, one.n) for *_, one in speaker.asked}
    assert told == {(0.6, 0.9, 1.05, 1)} and len(speaker.asked) == 3


def test_the_prompt_is_that_of_training_with_thinking_off(make, speaker):
    list(make(n=1).samples(problems(1)))
    ((_, prompt, _),) = speaker.asked
    assert SOLVE.message("What is 2 + 2 in case 0?") in prompt


def test_what_was_drawn_is_not_drawn_again_by_any_other_question_of_it(make, speaker):
    speaker.text = lambda prompt, seed: f"{seed}"
    first = list(make(n=2).samples(problems(3)))
    asked = len(speaker.asked)
    assert list(make(n=2).samples(problems(3))) == first and len(speaker.asked) == asked
    more = make(n=3, grader="math", tag_style="draft")
    again = list(more.samples(problems(3)))
    assert len(speaker.asked) == asked + 3 and more.usage.asked == 3 and more.usage.samples == 9
    assert [[one.text for one in group[:2]] for group in again] == [[one.text for one in group] for group in first]
    list(make(n=2, temperature=0.7).samples(problems(3)))
    assert len(speaker.asked) == asked + 3 + 6


def test_a_failed_request_is_an_empty_wrong_sample_and_asked_again_next_time(make, speaker):
    bad = seed_of(content_key("What is 2 + 2 in case 1?"), 0, 1)

    def say(prompt, seed):
        if seed == bad:
            raise RequestFailed("too much")
        return r"\boxed{4}"

    speaker.text = say
    evaluation = make(n=2)
    samples = [one for group in evaluation.samples(problems(3)) for one in group]
    assert check_complete(samples, problems=3, each=2)
    (failed,) = [one for one in samples if one.text is None]
    assert (failed.id, failed.sample, failed.strict, failed.lenient) == ("p1", 1, False, False)
    assert failed.error == "no answer to sample 1: too much" and failed.tokens == 0
    assert sum(one.strict for one in samples) == 5 and evaluation.usage.samples == 5
    speaker.text = lambda prompt, seed: r"\boxed{4}"
    before = len(speaker.asked)
    assert all(one.strict for group in make(n=2).samples(problems(3)) for one in group)
    assert len(speaker.asked) == before + 1


def test_a_problem_that_does_not_fit_has_n_wrong_samples_with_the_reason(make, speaker):
    rows = problems(2)
    rows[0]["question"] = "long " * 5000
    first, second = make(n=2).samples(rows)
    assert [one.text for one in first] == [None, None] and "and the context holds 4096" in first[0].error
    assert all(one.text for one in second) and {name for name, *_ in speaker.asked} == {"p1"}


def test_an_empty_text_is_wrong_and_counted(make, speaker):
    speaker.text = lambda prompt, seed: ""
    (group,) = make(n=2).samples(problems(1))
    assert [(one.text, one.strict, one.error) for one in group] == [("", False, "empty output")] * 2


def test_the_same_question_twice_has_the_same_samples_and_is_drawn_once(make, speaker):
    speaker.text = lambda prompt, seed: f"{seed}"
    one, other = make(n=2).samples(problems(2, question="q"))
    assert [s.text for s in one] == [s.text for s in other] and len(speaker.asked) == 2
    assert (one[0].id, other[0].id) == ("p0", "p1")


def test_the_draft_is_counted_in_tokens_and_labelled(make, speaker):
    speaker.text = lambda prompt, seed: r"<Begin_of_Prefix>one two three<End_of_Prefix> so \boxed{4}"
    ((one,),) = make(n=1).samples(problems(1))
    assert one.draft and one.closed and 3 <= one.draft_tokens < one.tokens and one.strict
    speaker.text = lambda prompt, seed: "<Begin_of_Prefix>one two three four five"
    ((other,),) = make(n=1, seed=1).samples(problems(1))
    assert other.draft and not other.closed and other.draft_tokens <= other.tokens and not other.strict


def test_the_ledger_says_what_its_samples_are(make, speaker, capsys):
    evaluation = make(n=2)
    list(evaluation.samples(problems(3)))
    assert main(["ledger", "show", evaluation.ledger_path]) == 0
    told = capsys.readouterr().out
    assert f"to solve, temperature 0.6, prompt {SOLVE.hash}" in told and "6 (6 stop)" in told


def test_what_changes_a_label_changes_the_result_and_what_changes_a_sample_the_ledger(make):
    base = make()
    for change in ({"n": 4}, {"grader": "math"}, {"tag_style": "draft"}):
        other = make(**change)
        assert other.fingerprint != base.fingerprint and other.ledger_path == base.ledger_path
    for change in ({"seed": 1}, {"top_p": 0.8}, {"max_tokens": 9}, {"max_draft_tokens": 9}, {"stop_loops": True}):
        other = make(**change)
        assert other.fingerprint != base.fingerprint and other.ledger_path != base.ledger_path
    for change in ({"max_concurrency": 3}, {"grading_workers": 1}):
        assert make(**change).fingerprint == base.fingerprint


def test_map_gives_samples_and_the_report_counts_them(make, speaker):
    speaker.text = lambda prompt, seed: r"\boxed{4}" if "case 1" not in prompt else "no idea"
    rows = Dataset.from_list(problems(3))
    evaluation = make(n=2)
    found = rows.map(evaluation, batched=True, batch_size=2)
    assert found.column_names == [*SAMPLES.columns, "level"] and found.features["sample"] == SAMPLES.features["sample"]
    check_table(found.remove_columns("level"), SAMPLES)
    drawn = [sample.row() for group in evaluation.samples(problems(3)) for sample in group]
    assert found.to_list() == drawn
    evaluation = make(n=2)
    report = evaluation.report(rows.map(evaluation, batched=True, load_from_cache_file=False))
    assert report.as_dict()["strict"]["pass@1"] == pytest.approx(2 / 3)
    assert report.settings["fingerprint"] == evaluation.fingerprint and report.usage.samples == 6
    assert report.text() and report.page()
    with pytest.raises(UserError, match="1 of 3 problems don't have the 2 samples"):
        evaluation.report(found.select(range(5)))


def test_map_takes_streams_and_numbers_and_refuses_what_it_can_not_read(make):
    stream = IterableDataset.from_generator(lambda: iter(problems(2, gold=4.0, level=3)))
    found = list(stream.map(make(n=1), batched=True, remove_columns=["id", "benchmark", "question", "gold", "level"]))
    assert [(one["gold"], one["level"], one["sample"]) for one in found] == [("4", "3", 0), ("4", "3", 0)]
    rows = Dataset.from_list(problems(2))
    with pytest.raises(SchemaError, match=r"Column `gold` \(nearest match: `golds`\) missing"):
        rows.rename_column("gold", "golds").map(make(), batched=True)
    with pytest.raises(SchemaError, match="got a single row"):
        rows.map(make())
    with pytest.raises(SchemaError, match="Row 1 of the batch has no text as `gold`"):
        make()({name: [one[name] for one in problems(1, gold=None)] for name in problems(1)[0]})
