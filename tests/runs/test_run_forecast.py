"""Hours and GB grow with the work and the student, shrink with processes, and say where their numbers are from."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.runs.forecast import (
    DEVICES,
    GB,
    NAMES,
    Forecast,
    Speed,
    TrainingForecast,
    _time,
    costs,
    hours,
    measure,
    speed,
    training_hours,
)
from palign_hf.students import StudentShape, resolve_student, student_shape


PAGE = Path(__file__).parents[2] / "docs" / "costs.md"

counts = st.integers(1, 10**9)
devices = st.sampled_from([*DEVICES.values()])
shapes = st.builds(
    StudentShape,
    parameters=st.integers(10**6, 4 * 10**10),
    layers=st.integers(1, 100),
    hidden=st.integers(64, 8192),
    key_values=st.integers(32, 8192),
    intermediate=st.integers(64, 30_000),
    vocabulary=st.integers(256, 200_000),
    weight_bytes=st.sampled_from([2, 4]),
)


@st.composite
def trainings(draw) -> TrainingForecast:
    shape = draw(shapes)
    weight = shape.weight_bytes
    return TrainingForecast(
        steps=draw(st.integers(1, 10**5)),
        tokens=draw(counts),
        batch_tokens=draw(st.integers(1, 200_000)),
        trained=shape.parameters,
        shape=shape,
        compute_bytes=draw(st.sampled_from([2, weight])),
        trained_bytes=weight,
        state_bytes=weight,
        checkpointing=draw(st.booleans()),
        sharding=draw(st.sampled_from(["none", "zero1", "zero2", "zero3", "fsdp"])),
        processes=draw(st.integers(1, 64)),
    )


@given(devices, shapes, counts, counts, counts, st.integers(1, 100_000))
def test_more_tokens_take_no_less_time(device, shape, read, written, more, request_tokens):
    rate = speed(device, shape, request_tokens)
    assert hours(read + more, written, rate) >= hours(read, written, rate)
    assert hours(read, written + more, rate) >= hours(read, written, rate)
    longer = speed(device, shape, request_tokens + more)
    assert hours(read, written, longer) >= hours(read, written, rate) * (1 - 1e-9)


@given(devices, shapes, st.integers(1, 300), st.integers(1, 300), counts)
def test_more_rows_take_no_less_time(device, shape, rows, more, each):
    def whole(rows: int) -> float:
        return hours(rows * each, rows * each, speed(device, shape, 1000, rows))

    assert whole(rows + more) >= whole(rows) * (1 - 1e-9)


@given(devices, shapes, st.integers(1, 10**10), counts, counts)
def test_a_larger_student_takes_no_less_time(device, shape, more, read, written):
    larger = replace(shape, parameters=shape.parameters + more)
    assert hours(read, written, speed(device, larger)) >= hours(read, written, speed(device, shape)) * (1 - 1e-9)


@given(devices, shapes)
def test_what_does_not_fit_takes_forever(device, shape):
    rate = speed(device, shape)
    fits = shape.parameters * shape.weight_bytes + 2048 * shape.cache_bytes <= 0.9 * device.memory * GB
    assert math.isinf(hours(1, 1, rate)) == (not fits) and (rate.at_once >= 1) == fits


@given(trainings(), devices, st.integers(1, 10**8))
def test_more_work_takes_longer_and_a_larger_student_more_memory(training, device, more):
    longer = replace(training, tokens=training.tokens + more)
    assert training_hours(longer, device) > training_hours(training, device)
    shape = replace(training.shape, parameters=training.shape.parameters + more)
    larger = replace(training, shape=shape, trained=shape.parameters)
    assert training_hours(larger, device) > training_hours(training, device) and larger.memory > training.memory
    wider = replace(training, batch_tokens=training.batch_tokens + more)
    assert wider.activations > training.activations and wider.weights == training.weights


@given(trainings(), st.integers(10, 10_000))
def test_all_weights_take_more_memory_and_time_than_an_adapter(training, part):
    adapter = replace(training, trained=training.trained // part, trained_bytes=4, state_bytes=4)
    assert adapter.optimizer < training.optimizer and adapter.gradients < training.gradients
    assert adapter.memory < training.memory and adapter.passes < training.passes


@given(trainings(), st.integers(2, 64))
def test_sharding_divides_what_it_says_and_nothing_else(training, processes):
    alone = {
        name: replace(training, sharding=name, processes=1) for name in ("none", "zero1", "zero2", "zero3", "fsdp")
    }
    many = {name: replace(one, processes=processes) for name, one in alone.items()}
    for name, divided in {
        "none": (),
        "zero1": ("optimizer",),
        "zero2": ("optimizer", "gradients"),
        "zero3": ("optimizer", "gradients", "weights"),
        "fsdp": ("optimizer", "gradients", "weights"),
    }.items():
        for part in ("weights", "gradients", "optimizer", "activations"):
            share = processes if part in divided else 1
            assert getattr(many[name], part) == pytest.approx(getattr(alone[name], part) / share)


@given(trainings())
def test_checkpointing_stores_less_and_computes_more(training):
    stored, again = replace(training, checkpointing=False), replace(training, checkpointing=True)
    assert again.passes == stored.passes + 1
    # Of one layer only the layer itself is stored either way.
    assert again.activations < stored.activations or training.shape.layers == 1


def test_the_textbook_bytes_of_a_parameter():
    """16 bytes in float32; with an adapter only the weights; ZeRO-3 in half precision 16 bytes over all processes."""
    shape = StudentShape(7 * 10**9, 28, 3584, 512, 18_944, 152_064, weight_bytes=4)
    full = TrainingForecast(
        steps=1, tokens=1, batch_tokens=1, trained=shape.parameters, shape=shape, compute_bytes=4, trained_bytes=4
    )
    assert full.memory / shape.parameters == pytest.approx(16, rel=1e-2)
    half = replace(shape, weight_bytes=2)
    adapter = replace(full, shape=half, trained=4 * 10**7, compute_bytes=2)
    assert adapter.weights + adapter.gradients + adapter.optimizer == pytest.approx(14.48e9)
    zero = replace(full, compute_bytes=2, sharding="zero3", processes=8)
    assert zero.weights + zero.gradients + zero.optimizer == pytest.approx(shape.parameters * 16 / 8)


def test_the_shape_of_a_student_is_that_of_its_config():
    shape = student_shape(resolve_student("palign-toy"))
    assert (shape.layers, shape.hidden, shape.key_values, shape.vocabulary) == (6, 192, 192, 1280)
    assert 2.8e6 < shape.parameters < 3e6 and shape.cache_bytes == 2 * 6 * 192 * 2


def test_this_machine_is_measured_with_the_engine_that_is_asked():
    rate = measure({"student": "palign-toy", "engine": "transformers"}, seconds=0.2)
    assert rate.prefill > rate.decode > 0 and rate.at_once > 1
    assert "measured here" in rate.source and "transformers" in rate.source


@pytest.mark.parametrize("device", NAMES)
def test_the_text_names_the_device_and_its_source(device, monkeypatch):
    monkeypatch.setattr("palign_hf.runs.forecast.measure", lambda given: Speed(1000, 10, "measured here", 4))
    forecast = Forecast(
        lines=(("rows", "3"), ("time", "not known")),
        rows=3,
        prompt_tokens=3_600_000,
        written_tokens=3_600,
        most_written=36_000,
        request_tokens=100,
        runner={"student": "palign-toy"},
    )
    text = forecast.text(device)
    assert "not known" in str(forecast) and "not known" not in text
    assert ("not measured" in text) == (device != "this") and text.count("time ") == 1 and "memory " in text
    if device == "this":
        assert "about 66 minutes on this machine, 2.0 hours if each sample takes all that it may" in text


def test_a_forecast_of_several_has_each(monkeypatch):
    one = Forecast(lines=(("rows", "1"),), rows=1, prompt_tokens=1, runner={"student": "palign-toy"})
    several = Forecast(parts={"a": one, "b": replace(one, rows=2)})
    assert several.text("l4").count("on one l4") == 4 and str(several) == "== a\nrows       1\n\n== b\nrows       1"
    assert [part["rows"] for part in several.as_dict().values()] == [1, 2]


def test_a_student_that_does_not_fit_is_said(monkeypatch):
    large = StudentShape(32 * 10**9, 64, 5120, 1024, 25_600, 151_936)
    monkeypatch.setattr("palign_hf.students.student_shape", lambda *given: large)
    forecast = Forecast(rows=1, prompt_tokens=1, request_tokens=1, runner={"student": "palign-toy"})
    assert "don't fit on one l4" in dict(costs(forecast, "l4"))["time"]


@pytest.mark.parametrize(
    ("hours", "text"),
    [(0, "1 second"), (0.001, "4 seconds"), (0.05, "3 minutes"), (1.4, "84 minutes"), (2.25, "2.2 hours")],
)
def test_a_time_is_in_its_unit(hours, text):
    assert _time(hours) == text


# Qwen3's sizes, with a request of 2,048 tokens.
_SIZES = {
    "0.6B": StudentShape(596_049_920, 28, 1024, 1024, 3072, 151_936),
    "1.7B": StudentShape(1_720_574_976, 28, 2048, 1024, 6144, 151_936),
    "4B": StudentShape(4_022_468_096, 36, 2560, 1024, 9728, 151_936),
    "8B": StudentShape(8_190_735_360, 36, 4096, 1024, 12_288, 151_936),
    "14B": StudentShape(14_768_307_200, 40, 5120, 1024, 17_408, 151_936),
    "32B": StudentShape(32_762_123_264, 64, 5120, 1024, 25_600, 151_936),
}


def test_the_table_of_the_page_is_that_of_the_code():
    rates = {(size, name): speed(device, one) for size, one in _SIZES.items() for name, device in DEVICES.items()}
    for size in _SIZES:
        cells = [
            f"{rates[size, name].prefill:,.0f} / {rates[size, name].decode:,.0f}" if rates[size, name].at_once else "-"
            for name in DEVICES
        ]
        assert f"| {size} | {' | '.join(cells)} |" in PAGE.read_text()
