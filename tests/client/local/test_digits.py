"""What is sent for a float32 reads back to the same float32, in as few digits."""

import math
import struct
import subprocess
import sys
from array import array

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomlx.client.local import digits
from gomlx.contract.tensor import Tensor

FLOATS = st.floats(width=32, allow_infinity=False)
TENSOR = Tensor("x", "float32", (None,))


def float32(x: float) -> float:
    found: float = struct.unpack("<f", struct.pack("<f", x))[0]
    return found


@given(st.floats(-3.4e38, 3.4e38) | FLOATS.filter(math.isfinite))
def test_a_number_has_few_digits_and_reads_back(x: float) -> None:
    short = digits._shortest(x)
    assert struct.pack("<f", short) == struct.pack("<f", x)
    assert short == float(f"{short:.9g}")


@given(st.integers(-999_999, 999_999), st.integers(-30, 30))
def test_what_was_written_by_hand_is_sent_so(n: int, exponent: int) -> None:
    x = float(f"{n}e{exponent}")
    assert digits._shortest(float32(x)) == x


@pytest.mark.parametrize("x", [0.1, 1e-45, 3.4028234663852886e38, -0.0, 16777216.0])
def test_odd_numbers_survive(x: float) -> None:
    assert struct.pack("<f", digits._shortest(float32(x))) == struct.pack("<f", x)
    assert repr(digits._shortest(float32(0.1))) == "0.1"
    assert math.isnan(digits._shortest(math.nan))


@given(st.lists(FLOATS | st.integers(-5, 5), max_size=5))
def test_with_numpy_and_without_the_same_floats_are_sent(
    values: list[int | float],
) -> None:
    with_numpy = orjson.loads(
        orjson.dumps(digits.sent(TENSOR, [values]), option=orjson.OPT_SERIALIZE_NUMPY)
    )
    without = orjson.loads(orjson.dumps([digits._shortened(values)]))
    packed = [
        [None if x is None else struct.pack("<f", x) for x in found[0]]
        for found in (with_numpy, without)
    ]
    assert packed[0] == packed[1]


def test_other_dtypes_and_shapes_are_sent_as_they_are() -> None:
    wide = [0.10000000149011612]
    assert digits.sent(Tensor("x", "float64", (1,)), wide) is wide
    ragged = [[0.5, 0.25], [0.1]]
    assert digits.sent(TENSOR, ragged) == ragged
    assert digits.sent(TENSOR, [0.5, None, 1]).tolist()[::2] == [0.5, 1]


_LIGHT = """
import sys
from array import array
from gomlx import Client, FakeTransport
from gomlx.contract.canonical import Exact
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
signature = Signature((Tensor("x", "float32", (2,)),), ())
kinds = (Exact("float32", ""),)
contract = Contract("m", "0" * 32, signature, kinds, True, 60.0, 9, 999)
transport = FakeTransport(lambda row: {"y": 1}, {"x": "float32"})
with Client("m", "http://f", contract=contract, transport=transport) as client:
    client.predict(x=array("f", [0.1, 2.5]))
    client.predict(x=[0.1, 2.5])
    client.predict(x=[0.10000000149011612, 2.5])
bodies = [r.body for r in transport.requests if r.body]
assert bodies == [b'{"x":[0.1,2.5]}'], bodies
assert "numpy" not in sys.modules
"""


def test_a_light_client_sends_few_digits() -> None:
    subprocess.run([sys.executable, "-c", _LIGHT], check=True)


def test_arrays_of_the_standard_library_are_numbers() -> None:
    from gomlx.client.columns import to_json

    assert to_json(array("f", [0.5, 1.5])) == [0.5, 1.5]
    assert to_json(np.array([[True], [False]])) == [[True], [False]]
    assert to_json(np.array([b"a", b"\xff"])) == ["a", {"b64": "/w=="}]
