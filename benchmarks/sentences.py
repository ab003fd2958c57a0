"""``python -m benchmarks.sentences``: what each precision costs MiniLM's sentence embeddings.

Twenty sentences, ten pairs that say nearly the same, are embedded by the network with its real
weights in each precision and held against float64: by the cosine of the two embeddings of a
sentence, by the similarities of all pairs, and by who is whose nearest neighbour. INT8 is
calibrated on other sentences. On TensorRT where there is a GPU, else on the reference, which
rounds as TensorRT's layers do.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch

import tests.conftest  # noqa: F401 - declares torchvision's operators on CPU builds
import trtnn
from benchmarks.instruments.machine import find_machine
from tests.zoo import SENTENCES, minilm
from trtnn.options import BuildOptions

RESULT = Path(__file__).parent / "results" / "sentences.json"
BARS = {"int8": 0.98, "int8 after leave-one-out": 0.99}  # the mean cosine
TOLERANCE = 0.1  # of the network's outputs, for the layers that leave-one-out returns
BATCH = 16
WHO = ("old teacher", "young dog", "tall driver", "quiet doctor", "busy clerk", "small child")
DOES = ("watches the river", "buys some bread", "reads a letter", "repairs the car")
WHERE = ("at noon", "in the city", "without a word", "every other day")
CALIBRATION = [f"The {a} {b} {c}." for a, b, c in itertools.product(WHO, DOES, WHERE)]


def embedding(result: Any, mask: torch.Tensor) -> torch.Tensor:
    """Return the unit vectors (N, 384) of sentences: the mean over the tokens of each."""
    hidden = result.last_hidden_state if hasattr(result, "last_hidden_state") else result[0]
    shown = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * shown).sum(1) / shown.sum(1)
    return torch.nn.functional.normalize(mean.double(), dim=-1)


def compared(given: torch.Tensor, exact: torch.Tensor) -> dict[str, Any]:
    """Return how far embeddings are from exact ones, pair by pair of sentences.

    >>> compared(torch.eye(4).double(), torch.eye(4).double())["cosine_mean"]
    1.0
    """
    cosines = (given * exact).sum(-1)
    off = (given @ given.T - exact @ exact.T).abs()
    nearest = (given @ given.T).fill_diagonal_(-2).argmax(1)
    partners = torch.arange(len(given), device=given.device) ^ 1
    return {
        "cosine_mean": round(float(cosines.mean()), 6),
        "cosine_min": round(float(cosines.min()), 6),
        "similarity_off_at_most": round(float(off.max()), 6),
        "neighbours_right": int((nearest == partners).sum()),
        "sentences": len(given),
    }


@torch.no_grad()
def main() -> int:
    """Measure, write the result, and return the exit status."""
    machine, model = find_machine(), minilm()
    net = model.module.to(machine.device)
    given = {k: v.to(machine.device) for k, v in model.inputs(SENTENCES).items()}
    exact = embedding(net.double()(**given), given["attention_mask"])
    net.float()
    batches = [CALIBRATION[i : i + BATCH] for i in range(0, len(CALIBRATION), BATCH)]
    data = [{k: v.to(machine.device) for k, v in model.inputs(b).items()} for b in batches]
    plain = trtnn.quantize(net, data)
    tuned = trtnn.quantize(net, data, tolerance=TOLERANCE)
    kinds = {name: (net, name) for name in ("fp32", "tf32", "fp16", "bf16")}
    kinds.update({"int8": (plain, "fp16"), "int8 after leave-one-out": (tuned, "fp16")})
    rows: dict[str, Any] = {}
    for name, (module, precision) in kinds.items():
        try:
            compiled = trtnn.compile(
                module,
                inputs=given,
                precision=precision,
                backend=machine.backend,
                options=BuildOptions(builder_optimization_level=1),
                cache=False,
            )
        except trtnn.UnsupportedError as error:  # bfloat16 on 8.6
            rows[name] = {"refused": str(error).splitlines()[0]}
            continue
        rows[name] = compared(embedding(compiled(**given), given["attention_mask"]), exact)
        print(f"{name}: {rows[name]}", flush=True)
    returned = [layer for layer in plain.report.quantized if layer not in tuned.report.quantized]
    rows["int8 after leave-one-out"]["returned_to_fp16"] = returned
    held = {"bars": BARS, "calibrated_on": len(CALIBRATION), "tolerance": TOLERANCE, "rows": rows}
    RESULT.write_text(json.dumps({**machine.facts(), **held}, indent=1) + "\n")
    return int(any(rows[name]["cosine_mean"] < bar for name, bar in BARS.items()))


if __name__ == "__main__":
    raise SystemExit(main())
