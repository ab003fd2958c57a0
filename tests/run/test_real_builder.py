"""What decides shapes at run time, built by NVIDIA's own builder: host inputs and profiles."""

from __future__ import annotations

import pytest

import trtnn
from tests.real_builder import build, needs_builder
from tests.run.test_host_inputs import ROWS
from tests.run.test_profiles import WIDE
from trtnn import Dim, Input

pytestmark = needs_builder


@pytest.mark.parametrize("name", ROWS)
def test_host_inputs(name: str) -> None:
    assert build(trtnn.trace(ROWS[name].function, ROWS[name].inputs))


def test_several_profiles() -> None:
    other = Dim("m", profiles=[(2, 2, 2), (1, 3, 9), (4, 5, 6)])
    inputs = [Input((WIDE,), name="x"), Input((other,), name="y")]
    assert build(trtnn.trace(lambda x, y: (x[:, None] * y).sum(0), inputs))


def test_a_host_input_with_several_profiles() -> None:
    inputs = [Input((1, 3)), Input(WIDE, host=True)]
    assert build(trtnn.trace(lambda x, n: x.expand(n, 3) + 1, inputs))
