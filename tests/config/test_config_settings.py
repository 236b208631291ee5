"""Settings from Python: types and ranges are those that were declared, and the message says what was given."""

import math

import numpy as np
import pytest
from config_sample import Pilot, Sample, Source, Spelling

from palign_hf.errors import UserError


SOURCE = Source(path="a.jsonl")


def make(**changes) -> Sample:
    return Sample(**({"source": SOURCE, "student": "me"} | changes))


def test_what_is_right_is_kept():
    made = make(mode=3, heat=0.5, columns={"a": "b"}, sizes=[1], stops=("x",), shown=False, pilot=Pilot(rows=3))
    assert (made.mode, made.heat, made.columns, made.pilot) == (3, 0.5, {"a": "b"}, Pilot(rows=3))
    assert made.weight == math.inf and made.counted == 0


def test_values_take_the_form_of_their_type():
    made = make(share=1, stops=["x"], sizes=(2,), names=("n",))
    assert isinstance(made.share, float) and made.stops == ("x",) and made.sizes == [2] and made.names == ("n",)


def test_numbers_of_numpy_are_numbers():
    """`np.float32(0.5)` and `np.int64(3)` are settings as 0.5 and 3 are, and become them."""
    made = make(heat=np.float32(0.5), share=np.float64(0.25), batch_size=np.int64(3), sizes=[np.int32(1)])
    assert (made.heat, made.share, made.batch_size, made.sizes) == (0.5, 0.25, 3, [1])
    found = (made.heat, made.share, made.batch_size, *made.sizes)
    assert [type(one) for one in found] == [float, float, int, int]
    for given, message in ((np.float32("nan"), "must be a finite number"), (np.bool_(True), "must be a number")):
        with pytest.raises(UserError, match=message):
            make(share=given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "`batch_size=0` must be at least 1 and at most 100."),
        ({"batch_size": 101}, "`batch_size=101` must be at least 1 and at most 100."),
        ({"batch_size": True}, "`batch_size=True` must be a whole number."),
        ({"batch_size": 2.0}, "`batch_size=2.0` must be a whole number."),
        ({"cut": "sentense"}, "`cut='sentense'` is unknown (nearest match: `sentence`). Choose one of `sentence`, "),
        ({"mode": "of"}, "is unknown (nearest match: `off`). Choose one of `auto`, `off` or a whole number."),
        ({"mode": -1}, "`mode=-1` must be at least 0."),
        ({"share": math.nan}, "`share=nan` must be a finite number."),
        ({"share": "5e-5"}, "`share='5e-5'` must be a number."),
        ({"heat": 0}, "`heat=0` must be above 0.0 and below 2."),
        ({"heat": math.inf}, "`heat=inf` must be a finite number."),
        ({"columns": {"a": 1}}, "`columns={'a': 1}` must be a mapping of texts or null."),
        ({"columns": {1: "a"}}, "must be a mapping of texts or null."),
        ({"sizes": [1, "2"]}, "`sizes=[1, '2']` must be a list of whole numbers."),
        ({"sizes": [1, 0]}, "`sizes=[1, 0]` must be at least 1 in each place."),
        ({"stops": "x"}, "`stops='x'` must be a list of texts."),
        ({"student": " \n"}, "`student=' \\n'` must not be empty."),
        ({"search": 3}, "`search=3` must be text or a mapping or Spelling."),
        ({"engine": 3}, "`engine=3` must be text"),
        ({"voice": "loud"}, "`voice='loud'` must be Speaks or null."),
        ({"pilot": {"rows": 3}}, "`pilot={'rows': 3}` must be Pilot or null."),
        ({"source": "a.jsonl"}, "`source='a.jsonl'` must be Source."),
        ({"student": 10**5000}, "`student=int of great length` must be text."),
    ],
)
def test_what_cannot_be_right_is_refused(changes, message):
    with pytest.raises(UserError) as refused:
        make(**changes)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_objects_of_python_pass():
    spelling, anything = Spelling(), object()
    made = make(search=spelling, engine=anything, voice=anything)
    assert made.search is spelling and made.engine is anything and made.voice is anything


def test_required_settings_are_required_of_the_constructor():
    with pytest.raises(TypeError, match="student"):
        Sample(source=SOURCE)
