"""How a compiled model ends, and where it may not go: deletion, copies, forks, other GPUs."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import weakref

import pytest
import torch

import trtnn
from tests.run.test_calls import EXECUTIONS, make, pair, plain_record
from trtnn.errors import InputError, UnsupportedError
from trtnn.options import BuildOptions
from trtnn.run import cuda_graphs


@pytest.fixture(autouse=True)
def no_cuda_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "record", plain_record)


@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_deleted_model_is_gone_at_once(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    bound = model.bind(x, y)
    view = model.with_execution("async")
    for call in (model, view, model):
        call(x, y)
    bound()
    runner = model._runner
    gone = [weakref.ref(runner.engine), *(weakref.ref(c.handle) for c in runner.pool.contexts)]
    gc.disable()
    try:
        del model, bound, runner, view, call
        assert [ref() for ref in gone] == [None] * len(gone)
    finally:
        gc.enable()


@pytest.mark.parametrize("version", ["8.6", "reference"])
def test_copies_and_pickles_are_refused(version: str) -> None:
    model = make(version)
    for act in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UnsupportedError, match=r"cannot be (copied|pickled)") as caught:
            act(model)
        assert "model.save(" in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_is_told(execution: str) -> None:
    model = make("8.6", execution)
    x, y = pair(4)
    model(x, y)
    bound = model.bind(x, y)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        texts = []
        for call in (lambda: model(x, y), bound, lambda: model.bind(x, y)):
            try:
                call()
            except trtnn.BackendError as error:
                texts.append(error.message[:20])
        os.write(write, "|".join(texts).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert pipe.read() == "|".join(["this process was for"] * 3)
    os.waitpid(child, 0)
    torch.testing.assert_close(model(x, y)[0], x + y)
    torch.testing.assert_close(bound()[0], x + y)


def test_a_model_on_another_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("8.6")
    assert model.to("cpu") is model
    with pytest.raises(InputError, match=r"to: there is no cuda:1; PyTorch sees \d CUDA devices"):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
        model.to("cuda:1")
    with pytest.raises(InputError, match="to: an engine runs on a GPU, got meta"):
        model.to("meta")
    with pytest.raises(InputError, match="to: expected a device, got 'nowhere'"):
        model.to("nowhere")


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("execution", EXECUTIONS)
def test_a_model_on_two_gpus(execution: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # real CUDA graphs
    options = BuildOptions(builder_optimization_level=0)
    batch = trtnn.Dim("batch", 1, 4, 8)
    first = trtnn.compile(
        lambda x: torch.relu(x * 2 + 1),
        inputs=[trtnn.Input((batch, 16), name="x")],
        backend="tensorrt",
        device="cuda:0",
        execution=execution,
        options=options,
    )
    second = first.to("cuda:1")
    for current in (0, 1):
        with torch.cuda.device(current):
            for model, place in ((first, "cuda:0"), (second, "cuda:1")):
                x = torch.randn(4, 16, device=place)
                bound = model.bind(x)
                for _ in range(3):
                    torch.testing.assert_close(model(x), torch.relu(x * 2 + 1))
                    torch.testing.assert_close(bound(), torch.relu(x * 2 + 1))
                assert model(x).device == torch.device(place)
            assert torch.cuda.current_device() == current
    with pytest.raises(InputError, match="x: expected a tensor on cuda:1, got one on cuda:0"):
        second(torch.zeros(4, 16, device="cuda:0"))
