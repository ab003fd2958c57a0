"""A saved model without torch: NumPy in, NumPy out, through cuda-python."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from types import TracebackType
from typing import Any, NoReturn

import numpy

from trtnn.cache.kernels import keep_kernels
from trtnn.errors import BackendError, CudaError, InputError, OptionError, UnsupportedError
from trtnn.host.arrays import Array, Bound, read_interface, require_int32
from trtnn.host.cuda_runtime import Cuda
from trtnn.host.session import Session
from trtnn.options import RuntimeOptions
from trtnn.saved.agreement import require_agreement, require_shapes
from trtnn.saved.border import border_of
from trtnn.saved.file import read
from trtnn.saved.fit import (
    package_of,
    require_fit,
    require_host_code_allowed,
    require_plugins,
    require_valid,
)
from trtnn.trt.library import TensorRT

EXECUTIONS = ("sync", "async")


class HostModel:
    """Run what ``CompiledModule.save`` wrote on NumPy arrays; torch is not imported.

    Inputs are copied through pinned memory to the GPU, outputs back, on a stream of the model's
    own; both kinds of memory are kept from call to call. Results come in the structure that
    ``forward`` returned, of Python's own classes: a dataclass becomes a dict of its fields, a
    named tuple a tuple, a shape a tuple of ints. May be called from any thread: calls run one
    after another. A forked child cannot use it.

    Args:
        path: The saved model's file.
        device: The GPU's number.
        allow_host_code: Let TensorRT run the code for the CPU that the plan holds: load only what
            you would also run.
        profile: The one optimization profile that calls use. If omitted, a call keeps that of the
            last one while its sizes fit, and else takes the tightest that fits.
        execution: ``"sync"`` (``execute_v2``) or ``"async"`` (``execute_async_v3`` on the model's
            stream, one wait at the end). Sizes that depend on data need the second, and take it
            in either case.
        log_level: Messages of TensorRT below this level of ``logging`` are dropped.
        runtime: What contexts of TensorRT for RTX are told.

    Raises:
        LoadError: The file is damaged or no saved model; or was made for another GPU, TensorRT or
            platform; or holds code for the host, which was not allowed.
        UnsupportedError: The model takes or returns bfloat16, which NumPy lacks.
        AbsentError: TensorRT or cuda-python is not installed.
        CudaError: A call of CUDA failed; the message has CUDA's own name and text.
        InputError: There is no such GPU or profile.
        OptionError: ``execution`` is none of these.
        BuildError: TensorRT refuses the plan; carries its log lines.
        OSError: There is no such file, or it cannot be read.

    >>> HostModel("net.trtnn")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'net.trtnn'
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        device: int = 0,
        allow_host_code: bool = False,
        profile: int | None = None,
        execution: str = "sync",
        log_level: int = logging.WARNING,
        runtime: RuntimeOptions | None = None,
    ) -> None:
        if execution not in EXECUTIONS:
            allowed = ", ".join(EXECUTIONS)
            raise OptionError(f"execution: expected one of {allowed}, got {execution!r}")
        saved, where = read(path), str(path)
        border = border_of(saved.manifest, where)
        self._described = border.outputs
        require_host_code_allowed(saved.manifest, where, allowed=allow_host_code)
        self._interface = read_interface(saved.manifest, profile)
        cuda = Cuda()
        library = TensorRT(log_level=log_level, package=package_of(saved.manifest), runtime=runtime)
        gpu = _gpu(cuda, device)
        require_fit(saved.manifest, where, version=library.target.version, gpu=gpu)
        require_plugins(saved.manifest, where, library)
        require_valid(library, where, saved.plan)
        keep_kernels(library, gpu)
        self.path, self.device, self.execution = where, device, execution
        self._counted = [spec.name for spec in self._interface.outputs if spec.counted]
        self._lock, self._closed, self._profile = threading.Lock(), False, 0
        self._session = Session(cuda, library, device)
        self._finalizer = weakref.finalize(self, _abandon, self._session)
        try:
            with cuda.on(device):
                self._session.read(saved.plan, host_code=allow_host_code)
                require_agreement(border, where, library, self._session.engine)
                self._session.open(self._counted)
        except BaseException:
            _abandon(self._session)
            raise

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the model on NumPy arrays, by position or by input name; host inputs are ints.

        An argument within a structure has the name of its path: ``model(**{"sizes.rows": 3})``.
        Constants of the compilation are not given. Outputs are new arrays on every call.

        Raises:
            InputError: An argument does not fit its declaration; the message names it.
            BuildError: TensorRT failed to execute.
            CudaError: A call of CUDA failed.
            BackendError: The model is closed, or this is a forked child.
        """
        self._require_usable()
        arrays, hosts = self._interface.arguments(args, kwargs)
        bound = self._interface.bind(tuple(array.shape for array in arrays), hosts)
        for spec, array in zip(self._interface.inputs, arrays, strict=True):
            if spec.dtype.kind == "i" and self._session.dtypes[spec.name] != spec.dtype:
                require_int32(spec.name, array, self._session.library.target.name)
        with self._lock:
            self._require_usable()  # it may have been closed meanwhile
            session = self._session
            with session.cuda.on(self.device):
                try:
                    outputs = self._run(arrays, hosts, bound)
                except BaseException:  # Ctrl-C too: copies may still be under way
                    session.recover()
                    raise
                if (kernels := session.library.kernels) is not None:
                    kernels.ran((id(session), *(array.shape for array in arrays)))
        shapes = [output.shape for output in outputs]
        return self._interface.result(outputs, self._interface.measured(bound, shapes))

    def _run(self, arrays: list[Array], hosts: tuple[int, ...], bound: Bound) -> list[Array]:
        session, interface = self._session, self._interface
        if self._profile not in bound.fitting:
            self._profile = bound.fitting[0]
        pairs = list(zip(interface.inputs, arrays, strict=True))
        dynamic = {
            spec.name: array.shape
            for spec, array in pairs
            if any(not isinstance(size, int) for size in spec.shape)
        }
        changed = session.prepare(self._profile, dynamic)
        addresses = {}
        for spec, array in pairs:
            addresses[spec.name] = session.send(spec.name, spec.laid_out(array))
        for name, number in zip(interface.hosts, hosts, strict=True):
            if name in session.dtypes:  # else no layer needs it
                addresses[name] = session.send(name, numpy.array([number]))
        if changed or session.on_host:  # before there is memory for what the file says
            session.place_hosts(addresses)
            shape_of = session.context.get_tensor_shape
            require_shapes(self._described, bound.shapes, self.path, shape_of)
        for spec, known in zip(interface.outputs, bound.shapes, strict=True):
            if known is not None:
                addresses[spec.name] = session.room(spec.name, known)
        session.execute(addresses, synchronously=self.execution == "sync" and not self._counted)
        return self._fetch(bound)

    def _fetch(self, bound: Bound) -> list[Array]:
        """Return the outputs as new arrays of the declared dtypes."""
        session, outputs = self._session, self._interface.outputs
        if self._counted:
            session.wait()  # then TensorRT has told the shapes
        shapes = [
            session.counted.shapes[spec.name] if known is None else known
            for spec, known in zip(outputs, bound.shapes, strict=True)
        ]
        views = [session.fetch(spec.name, s) for spec, s in zip(outputs, shapes, strict=True)]
        session.wait()
        return [v.astype(spec.dtype) for v, spec in zip(views, outputs, strict=True)]

    def _require_usable(self) -> None:
        if os.getpid() != self._session.process:
            raise BackendError(
                "HostModel: CUDA does not survive a fork, and this process is a forked child",
                hint='load the model in the child, or start processes by "spawn"',
            )
        if self._closed:
            raise BackendError(f"HostModel: the model of {self.path} is closed")

    def close(self) -> None:
        """Free everything that the model holds; a second time does nothing.

        Raises:
            CudaError: CUDA failed to free a part; the rest is freed.
        """
        if os.getpid() == self._session.process:
            with self._lock:
                self._closed = True
                self._session.close()

    def __enter__(self) -> HostModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise UnsupportedError(
            "HostModel: it holds memory of a GPU, which can be neither copied nor pickled",
            hint=f"load it again: HostModel({self.path!r})",
        )

    def __repr__(self) -> str:
        given = {spec.name: spec for spec in self._interface.inputs} | self._interface.hosts
        specs = ", ".join(f"{name}: {what}" for name, what in given.items())
        return f"HostModel({self.path!r}, {specs})"


def _abandon(session: Session) -> None:
    """Close a session that nobody can call any more, at the interpreter's exit too: silently."""
    with contextlib.suppress(CudaError):
        session.close()


def _gpu(cuda: Cuda, device: int) -> dict[str, Any]:
    """Return what a plan depends on, as the manifest writes it."""
    count = cuda.count_devices()
    if type(device) is not int or not 0 <= device < count:
        raise InputError(f"device: expected an int from 0 to {count - 1}, got {device!r}")
    facts = cuda.facts(device)
    return {
        "name": facts.name,
        "compute_capability": list(facts.compute_capability),
        "sm_count": facts.multiprocessors,
    }
