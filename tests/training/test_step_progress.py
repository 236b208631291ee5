"""The steps of a training as lines of a log, where the bars of TRL are off."""

from transformers import TrainerControl, TrainerState

from palign_hf.training.outcome import StepProgress


class Told:
    """In the place of a progress bar: what it is told."""

    def __init__(self, *given, **named) -> None:
        self.made, self.steps, self.closed = (given, named), [], False

    def advance(self, steps: int) -> None:
        self.steps.append(steps)

    def close(self) -> None:
        self.closed = True


def follow(monkeypatch, first: bool) -> list[Told]:
    """A training of ten steps that resumes at the sixth."""
    bars: list[Told] = []
    monkeypatch.setattr(
        "palign_hf.training.outcome.Progress", lambda *given, **named: bars.append(Told(*given, **named)) or bars[-1]
    )
    state = TrainerState(max_steps=10, global_step=6, is_world_process_zero=first)
    steps, control = StepProgress(), TrainerControl()
    steps.on_train_begin(None, state, control)
    for state.global_step in (7, 8, 9, 10):
        steps.on_step_end(None, state, control)
    steps.on_train_end(None, state, control)
    return bars


def test_a_training_that_resumes_counts_on_from_its_checkpoint(monkeypatch):
    (bar,) = follow(monkeypatch, first=True)
    assert bar.made == ((10, "training"), {"unit": "step", "before": 6})
    assert bar.steps == [1] * 4 and bar.closed


def test_of_several_processes_only_the_first_shows_steps(monkeypatch):
    assert follow(monkeypatch, first=False) == []
