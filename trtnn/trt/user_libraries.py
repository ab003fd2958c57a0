"""``load_plugins``: libraries of plugins that users have."""

from __future__ import annotations

import os
from pathlib import Path

from trtnn.trt.library import TensorRT
from trtnn.trt.plugins import Key


def load_plugins(path: str | os.PathLike[str]) -> tuple[Key, ...]:
    """Load a library of TensorRT plugins into this process, and return the creators it brought.

    Do so before ``trtnn.compile``, ``trtnn.load`` and ``trtnn.host.HostModel``. An engine that
    holds one of its plugins is kept, and found again, for a library of just this content; a saved
    one says which library it needs. Loading a library runs code of its own.

    Args:
        path: The library's file.

    Raises:
        OSError: There is no such file, or it cannot be loaded.
        LoadError: It brings no creators; or TensorRT refuses it, and the error has its log lines.
        AbsentError: TensorRT is not installed.

    With TensorRT installed::

        trtnn.load_plugins("build/libmine.so")
    """
    return TensorRT().plugins.load(Path(path))
