"""Every row, built by NVIDIA's own builder: as it stands, and in half precision."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from tests.layout import run_python
from tests.ops.test_ops import VALID
from tests.real_builder import (
    VARIANTS,
    Ready,
    build,
    groups_of,
    judge,
    needs_builder,
    ready,
    run_rows,
)
from trtnn import BuildError, Input, UnsupportedError, trace
from trtnn.lower.layers import ITensor, Layers
from trtnn.lower.network import Net
from trtnn.ops.arithmetic import Elementwise

pytestmark = needs_builder
NAMES = [name for name, _ in VALID]
PARTS = 2  # as many processes as share the work
# Each row as it stands, and some in a type of 16 bits; `make builds` takes each in every type.
SHARES = [("as it stands", 0, 2), ("as it stands", 1, 2), ("float16", 0, 6), ("bfloat16", 3, 6)]
AT_ONCE = {"as it stands": 8, "float16": 24, "bfloat16": 24}
# Rows that name a type of their own beside that of their inputs.
OF_ONE_TYPE = {name for name in NAMES if name.endswith("view as its own type")}
LEAST = {"as it stands": 600, "float16": 100, "bfloat16": 100}  # of a part, that are built


@pytest.mark.parametrize(("variant", "part", "parts"), SHARES)
def test_rows_are_built(variant: str, part: int, parts: int) -> None:
    outcome = run_rows(variant, NAMES[part::parts], AT_ONCE[variant])
    print(f"{variant}, part {part}: {outcome}")
    assert not outcome.failed and set(outcome.of("does not trace")) <= OF_ONE_TYPE
    assert len(outcome.of("built")) >= LEAST[variant]


@pytest.mark.builds
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("variant", VARIANTS)
def test_rows_of_every_type_are_built_one_by_one(variant: str, part: int) -> None:
    outcome = run_rows(variant, NAMES[part::PARTS], 1)
    print(f"{variant}, part {part}: {outcome}")
    assert not outcome.failed and set(outcome.of("does not trace")) <= OF_ONE_TYPE


def test_a_row_that_fails_in_a_group_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [name for name in NAMES if name.startswith("pointwise-")][:6]
    rows = [row for row in (ready(name, "float16") for name in names) if isinstance(row, Ready)]
    (group,) = groups_of(rows, 6)
    assert set(judge(group).values()) == {"built"} and len(group) > 3
    culprit = group[2]
    original = Net.done

    def wrong(net: Net, *how: Any) -> Any:
        assert net.node is None or net.node.op is not culprit.graph.nodes[-1].op, "planted"
        return original(net, *how)

    monkeypatch.setattr(Net, "done", wrong)
    said = judge(group)
    assert [name for name, text in said.items() if text != "built"] == [culprit.name]
    assert "planted" in said[culprit.name]


def test_a_row_at_which_the_process_dies_is_named() -> None:
    names = [name for name in NAMES if name.startswith("matrix-")][:3]
    outcome = run_rows("as it stands", names, 3, dies=names[1])
    assert list(outcome.failed) == [names[1]]
    assert "the process died (SIGABRT)" in outcome.said[names[1]]
    assert "Fatal Python error: Aborted" in outcome.said[names[1]]
    assert sorted(outcome.said) == sorted(names)


PLAN = """
import hashlib, torch, trtnn
from tests.real_builder import build
torch.manual_seed(3)
layers = (torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.Flatten(2))
net = torch.nn.Sequential(*layers, torch.nn.Linear(36, 5), torch.nn.Softmax(-1)).eval()
batch = trtnn.Dim("batch", 1, 2, 4)
plans = [build(trtnn.trace(net, [trtnn.Input((batch, 3, 8, 8))])) for _ in range(2)]
print(len(plans[0]), *(hashlib.sha256(plan).hexdigest() for plan in plans))
"""


def test_equal_builds_give_equal_plans_in_two_processes_too() -> None:
    found = [run_python(PLAN) for _ in range(2)]
    assert [result.returncode for result in found] == [0, 0], found[0].stderr
    size, first, second = found[0].stdout.split()
    assert first == second and found[0].stdout == found[1].stdout and int(size) > 1000


def test_a_missing_layer_is_told_at_the_users_line_with_the_alternative() -> None:
    with pytest.raises(UnsupportedError) as caught:
        build(trace(lambda x: x[x > 0], [Input((3,))]))  # <- here
    text = str(caught.value)
    assert re.search(r"TensorRT for RTX [\d.]+ has no NonZero: no size can depend on data", text)
    assert "# <- here" in text and 'backend="tensorrt"' in text


def dropped(net: Layers, x: Any, dtype: torch.dtype) -> ITensor:
    """Say that a tensor was cast, and do nothing."""
    return ITensor(x.handle, dtype, x.shape)


def mixed(op: Any, net: Layers, x: Any, y: Any) -> ITensor:
    """Add tensors of two types, of which TensorRT infers nothing."""
    return net.elementwise(net.cast(x, torch.float32), y, op.kind)


@pytest.mark.parametrize(
    ("place", "fault", "text"),
    [
        ((Layers, "cast"), dropped, r"Cast: TensorRT has \(3,\) .*FLOAT, the graph \(3,\) float16"),
        ((Elementwise, "lower"), mixed, r"TensorRT has None .*, the graph \(3,\) float16"),
    ],
)
def test_what_tensorrt_has_otherwise_is_told_at_the_users_line(
    place: tuple[Any, str], fault: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*place, fault)
    inputs = [Input((3,)), Input((3,), torch.float16)]
    with pytest.raises(BuildError, match=text) as caught:
        build(trace(lambda x, y: x.half() + y, inputs))  # <- here
    assert "# <- here" in str(caught.value)
