"""Where TensorRT for RTX keeps the kernels that it compiles: beside the plans, a file a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trtnn.cache.folder import open_cache
from trtnn.trt.kernels import kernels_file, open_kernels
from trtnn.trt.library import TensorRT


def keep_kernels(library: TensorRT, gpu: Mapping[str, Any] | None, cache: Any = None) -> None:
    """Let contexts of TensorRT for RTX keep what they compile; does nothing for TensorRT.

    Args:
        gpu: The facts of the GPU that runs; None: there is none.
        cache: The engine cache, as ``compile`` takes it, for where the runtime options name no
            file.
    """
    named = library.runtime.runtime_cache
    if not library.compiles_kernels or named is False:
        return
    if named is None:
        store = open_cache(cache)
        if store is None or gpu is None:
            return
        path = kernels_file(store.folder, library.target.version, gpu["name"])
    else:
        path = Path(named)
    library.kernels = open_kernels(library.trt, path)
