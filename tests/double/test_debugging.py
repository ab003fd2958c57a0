"""Debug tensors of the double: what is told, when, and how long it is valid."""

from __future__ import annotations

import ctypes
import gc
from typing import Any

import numpy
import pytest

from tests import double
from tests.double import Violation
from tests.double.lab import NEW, Lab
from trtnn.trt.debugging import address_of


class World:
    """An engine of ``-relu(x)`` whose relu is a debug tensor, its context, and what was heard."""

    def __init__(self, version: str, name: str = "middle") -> None:
        self.lab = lab = Lab(version)
        self.trt, self.heard, self.given = lab.trt, list[Any](), list[int]()
        self.x = lab.input((2,))
        self.middle = lab.activate(self.x, "RELU").get_output(0)
        self.middle.name = name
        assert lab.net.mark_debug(self.middle) and lab.net.mark_debug(self.middle)
        self.plan = lab.build(lab.unary(self.middle, "NEG").get_output(0))
        self.context = self.plan and self._context()

    def _context(self) -> Any:
        self.runtime = self.trt.Runtime(self.lab.log)
        self.engine = self.runtime.deserialize_cuda_engine(bytes(self.plan))
        values = numpy.array([3.0, 4.0], numpy.float32)
        answers = {"middle": values, self.engine.get_tensor_name(1): -values}
        double.on_execute(self.engine, lambda context, tensors: answers)
        return self.engine.create_execution_context()

    def listener(self, fails: str = "") -> Any:
        world = self

        class Listener(self.trt.IDebugListener):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                world.trt.IDebugListener.__init__(self)

            def process_debug_tensor(
                self, addr: Any, location: Any, type: Any, shape: Any, name: str, stream: int
            ) -> bool:
                if fails:
                    raise RuntimeError(fails)
                world.given.append(address_of(addr))
                world.heard.append((name, type.name, tuple(shape), read(world.given[-1])))
                return True

        return Listener()

    def run(self) -> bool:
        self.memory = [numpy.zeros(2, numpy.float32) for _ in range(self.engine.num_io_tensors)]
        for i, array in enumerate(self.memory):
            self.context.set_tensor_address(self.engine.get_tensor_name(i), array.ctypes.data)
        return bool(self.context.execute_async_v3(0))


def read(address: int) -> list[float]:
    found: list[float] = numpy.frombuffer(ctypes.string_at(address, 8), numpy.float32).tolist()
    return found


@pytest.fixture(params=NEW)
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def test_8_6_has_none() -> None:
    lab = Lab("8.6")
    assert not hasattr(lab.net, "mark_debug") and not hasattr(lab.trt, "IDebugListener")


def test_a_tensor_is_told_of_once_its_state_is_on(world: World) -> None:
    listener = world.listener()
    assert world.context.set_debug_listener(listener)
    assert world.context.get_debug_listener() is listener
    assert world.run() and world.heard == [] and not world.context.get_debug_state("middle")
    assert world.context.set_tensor_debug_state("middle", True)
    assert world.run() and world.heard == [("middle", "FLOAT", (2,), [3.0, 4.0])]
    assert world.memory[1].tolist() == [-3.0, -4.0]  # the outputs are what they were
    assert world.context.set_all_tensors_debug_state(False) and world.run()
    assert len(world.heard) == 1


def test_the_outputs_and_their_number_stay(world: World) -> None:
    assert world.engine.num_io_tensors == 2
    assert world.engine.is_debug_tensor("middle") and not world.engine.is_debug_tensor("x0")
    assert world.lab.net.is_debug_tensor(world.middle)
    assert not world.lab.net.is_debug_tensor(world.x)


def test_what_is_no_debug_tensor_is_refused(world: World) -> None:
    assert not world.context.set_tensor_debug_state("x0", True)
    assert "x0 is no debug tensor" in world.lab.lines[-1][1]


def test_a_tensor_that_is_unmarked_is_none(world: World) -> None:
    assert world.lab.net.unmark_debug(world.middle)
    assert not world.lab.net.is_debug_tensor(world.middle)
    with pytest.raises(Violation, match="is of another network"):
        world.lab.net.mark_debug(Lab(world.lab.version).input((2,)))


def test_a_listener_that_nobody_holds_is_freed(world: World) -> None:
    world.context.set_debug_listener(world.listener())
    world.context.set_all_tensors_debug_state(True)
    gc.collect()
    with pytest.raises(Violation, match="the debug listener was freed"):
        world.run()


def test_an_exception_is_printed_and_forgotten(world: World, capsys: Any) -> None:
    listener = world.listener("broken")
    world.context.set_debug_listener(listener)
    world.context.set_all_tensors_debug_state(True)
    assert world.run()
    assert "Exception caught in processDebugTensor(): broken" in capsys.readouterr().err


def test_two_tensors_of_one_name_are_not_built() -> None:
    world = World("11", name="x0")
    assert world.plan is None and "repeated tensor name: x0" in world.lab.lines[-1][1]
