"""Run the file that ``build.py`` writes on NumPy arrays: ``python run.py net.trtnn``.

PyTorch is not imported, and need not be there. Without a GPU of the file's it says what is missing.
"""

from __future__ import annotations

import sys

import numpy

from trtnn.errors import TrtnnError
from trtnn.host import HostModel


def main(path: str) -> int:
    """Run batches of several sizes; return the exit status."""
    random = numpy.random.default_rng(0)
    try:
        model = HostModel(path)
    except TrtnnError as error:
        print(f"not run: {error.message}")
        return 1
    with model:
        for size in (1, 8, 50):
            features = random.standard_normal((size, 16), dtype=numpy.float32)
            found = model(features=features)
            assert numpy.array_equal(found["best"], found["scores"].argmax(-1))
            print(f"{size:2} rows: classes {sorted(set(found['best'].tolist()))}")
    print(f"torch was imported: {'torch' in sys.modules}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
