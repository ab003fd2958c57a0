"""What the double demands of sizes that only a run can tell, and of what is computed in half."""

from __future__ import annotations

import re

import pytest

from tests.double import RuleError, Unknown, Violation, data_sizes, shape_at, shapes_at
from tests.double.lab import NEW, VERSIONS, Lab, put


@pytest.mark.parametrize("version", VERSIONS)
def test_sizes_that_must_be_equal_have_one_name(version: str) -> None:
    lab = Lab(version)
    a, b = lab.input((-1,), name="a"), lab.input((-1,), name="b")
    y = lab.pair(a, b).get_output(0)
    lab.profile(a=((1,), (2,), (4,)), b=((1,), (2,), (4,)))
    with pytest.raises(Violation, match=r"whether a\[0\] is b\[0\] is asked at run time"):
        lab.build(y)
    for tensor in (a, b):
        tensor.set_dimension_name(0, "batch")
    assert lab.build() is not None


@pytest.mark.parametrize("version", VERSIONS)
def test_a_free_size_beside_one_that_may_be_0(version: str) -> None:
    lab = Lab(version)
    x = lab.input((-1, 4), name="x")
    y = put(lab.net.add_shuffle(x), reshape_dims=(0, -1)).get_output(0)
    assert shape_at(y, {"x": (2, 4)}) == (2, 4)
    with pytest.raises(RuleError, match="cannot reshape"):
        shape_at(y, {"x": (0, 4)})


@pytest.mark.parametrize("version", NEW)
def test_statistics_are_computed_in_float(version: str) -> None:
    lab = Lab(version)
    one, zero = lab.constant([[1.0] * 4], "HALF"), lab.constant([[0.0] * 4], "HALF")
    layer = lab.net.add_normalization(lab.input((2, 4), "HALF"), one, zero, 2)
    with pytest.raises(Violation, match="computes in HALF; statistics are in FLOAT"):
        lab.build(layer.get_output(0))


@pytest.mark.parametrize("version", VERSIONS)
def test_sizes_that_depend_on_values_are_told_apart(version: str) -> None:
    lab = Lab(version)
    counts = [lab.net.add_non_zero(lab.input((2, 3))).get_output(0) for _ in range(2)]
    names = data_sizes(lab.net)
    assert len(names) == 2
    inputs = {"x0": (2, 3), "x1": (2, 3)}
    data = dict(zip(names, (5, 1), strict=True))
    assert shapes_at(counts, inputs, data) == [(2, 5), (2, 1)]
    with pytest.raises(Unknown, match=re.escape(names[0])):
        shapes_at(counts, inputs)
