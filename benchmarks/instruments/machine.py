"""Where a run takes place: TensorRT on a GPU, or the reference backend on the CPU."""

from __future__ import annotations

import functools
import gc
import platform
import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import torch

from trtnn.trt.library import TensorRT
from trtnn.trt.timing import timing_cache_file


@dataclass(frozen=True)
class Machine:
    """The device, and TensorRT's library where there is a GPU."""

    library: TensorRT | None

    @property
    def device(self) -> torch.device:
        return torch.device("cpu") if self.library is None else torch.device("cuda", 0)

    @property
    def backend(self) -> str:
        return "reference" if self.library is None else "tensorrt"

    @property
    def gpu(self) -> TensorRT:
        """TensorRT, for what only a GPU can show."""
        if self.library is None:
            raise RuntimeError("this measurement needs a GPU and TensorRT")
        return self.library

    def timings(self, folder: Path | None) -> Path | None:
        """Return the timing cache of this kind of GPU and TensorRT in a folder."""
        if self.library is None or folder is None:
            return None
        gpu = torch.cuda.get_device_properties(0)
        target = self.library.target
        return timing_cache_file(folder, target, gpu.name, gpu.multi_processor_count)

    def wait(self) -> None:
        """Wait for the GPU, where there is one."""
        if self.library is not None:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give back the GPU memory of what is no longer used; raise if the GPU is lost."""
        gc.collect()
        self.wait()
        if self.library is not None:
            torch.cuda.empty_cache()

    def facts(self) -> dict[str, str]:
        """Name the device, the versions and the day, as every row records them."""
        found = {
            "backend": self.backend,
            "date": datetime.now(timezone.utc).date().isoformat(),
            "device": "cpu",
            "python": platform.python_version(),
            "torch": torch.__version__,
        }
        if self.library is not None:
            found["device"] = torch.cuda.get_device_name()
            found["driver"] = _driver()
            found["tensorrt"] = self.library.target.version
        return found


def find_machine() -> Machine:
    """Return the GPU with TensorRT, or the CPU where PyTorch sees no GPU.

    On a GPU, PyTorch's TF32 is turned on, for both libraries that have it: TensorRT's is as well.

    Raises:
        BackendError: There is a GPU and no TensorRT.
    """
    if not torch.cuda.is_available():
        return Machine(None)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    return Machine(TensorRT())


@functools.cache
def _driver() -> str:
    """Return the version of NVIDIA's driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "unknown: no nvidia-smi"
    query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"unknown: nvidia-smi returned {done.returncode}"
    return done.stdout.split("\n")[0].strip()
