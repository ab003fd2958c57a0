"""Room on the stack for a builder that goes down a network layer by layer."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from tests.layout import ROOT
from tests.real_builder import needs_builder
from trtnn.trt.stacks import FEW, on_a_deep_stack

# Where the main thread has half a MiB, a chain of 700 kills the process, as 3,000 do with the usual
# eight: the exit status was -11 before the builder was given a stack of its own.
CHAIN = """
import torch, trtnn
from tests.real_builder import build

def chain(x):
    for _ in range(700):
        x = torch.tanh(x)
    return x

print(len(build(trtnn.trace(chain, [trtnn.Input((8, 8))]))) > 0)
"""


def shallow() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 19, resource.RLIM_INFINITY))


@needs_builder
def test_a_long_chain_builds() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHAIN], cwd=ROOT, preexec_fn=shallow, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr[-500:]


@pytest.mark.parametrize("layers", [0, FEW + 1])
def test_what_is_raised_arrives(layers: int) -> None:
    def fail() -> None:
        raise ValueError("from below")

    with pytest.raises(ValueError, match="from below"):
        on_a_deep_stack(layers, fail)
    assert on_a_deep_stack(layers, lambda: 3) == 3
