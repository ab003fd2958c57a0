"""The models whose sizes vary: one trace each has to serve every size in range."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torchvision import models

from tests.lively import lively
from tests.rows import Sample, T
from tests.unet import UNet
from tests.zoo import minilm
from trtnn.sizes.dims import Dim, evaluate

LONG = torch.int64


class Visible(Sample):
    """An attention mask (N, L): each text shows its first tokens, at least one."""

    def make(self, bindings: dict[str, int], generator: torch.Generator) -> torch.Tensor:
        batch, length = (evaluate(size, bindings) for size in self.shape)
        shown = torch.randint(1, length + 1, (batch, 1), generator=generator)
        return (torch.arange(length) < shown).long()


@dataclass(frozen=True)
class Shaped:
    """A network with lively or real weights, and its named inputs with the Dims that vary."""

    name: str
    build: Callable[[], nn.Module]
    arguments: Mapping[str, Sample]

    @property
    def dims(self) -> list[Dim]:
        """The Dims of all inputs."""
        sizes = [size for x in self.arguments.values() for size in x.shape]
        return list(dict.fromkeys(size for size in sizes if isinstance(size, Dim)))

    def bindings(self) -> list[dict[str, int]]:
        """Return the least, the optimal, the greatest and five random sizes."""
        return corners_and_random(self.dims)

    def inputs(self, bindings: dict[str, int], seed: int = 5) -> dict[str, torch.Tensor]:
        """Return random inputs of given sizes."""
        generator = torch.Generator().manual_seed(seed)
        return {name: x.make(bindings, generator) for name, x in self.arguments.items()}

    def module(self) -> nn.Module:
        """Build the network in eval mode, its parameters redrawn unless they are real ones."""
        net = self.build()
        if self.name == "minilm":
            return net
        generator = torch.Generator().manual_seed(1)
        sizes = {d.name: d.opt for d in self.dims}
        eight = [replace(x, shape=(8, *x.shape[1:])) for x in self.arguments.values()]
        return lively(net, tuple(x.make(sizes, generator) for x in eight))


def corners_and_random(dims: list[Dim], count: int = 5) -> list[dict[str, int]]:
    """Return the sizes at min, opt and max, and ``count`` random ones in range."""
    corners = [{d.name: getattr(d, end) for d in dims} for end in ("min", "opt", "max")]
    draw = random.Random(3)
    return corners + [{d.name: draw.randint(d.min, d.max) for d in dims} for _ in range(count)]


def _transformers(name: str, head: str, **sizes: Any) -> Callable[[], nn.Module]:
    """Return a maker of a network of transformers with random weights."""

    def build() -> nn.Module:
        # Importing the package takes seconds that other tests need not pay.
        library = importlib.import_module("transformers")
        config = getattr(library, f"{name}Config")(**sizes)
        family = name.lower()
        home = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
        return getattr(home, head)(config).eval()

    return build


def _gpt2(batch: Dim, length: Dim, **sizes: Any) -> Shaped:
    build = _transformers(
        "GPT2", "GPT2LMHeadModel", use_cache=False, bos_token_id=0, eos_token_id=0, **sizes
    )
    high = sizes.get("vocab_size", 50257)
    return Shaped("gpt2", build, {"input_ids": T(batch, length, dtype=LONG, low=0, high=high)})


def _whisper(batch: Dim, mels: int, frames: int, **sizes: Any) -> Shaped:
    build = _transformers("Whisper", "WhisperEncoder", num_mel_bins=mels, **sizes)
    return Shaped("whisper_encoder", build, {"input_features": T(batch, mels, frames)})


def _segformer(height: Dim, width: Dim, **sizes: Any) -> Shaped:
    build = _transformers("Segformer", "SegformerForSemanticSegmentation", **sizes)
    return Shaped("segformer", build, {"pixel_values": T(1, 3, height, width)})


def _minilm(batch: Dim, length: Dim) -> Shaped:
    shape = (batch, length)
    mask = Visible(shape, LONG, None, None, constant=False)
    ids = T(*shape, dtype=LONG, low=0, high=30522)
    return Shaped("minilm", lambda: minilm().module, {"input_ids": ids, "attention_mask": mask})


def _resnet(batch: Dim, height: Dim, width: Dim) -> Shaped:
    return Shaped(
        "resnet18", lambda: models.resnet18(weights=None), {"x": T(batch, 3, height, width)}
    )


def _vit(batch: Dim, side: int, **sizes: Any) -> Shaped:
    return Shaped(
        "vit_b_16",
        lambda: models.VisionTransformer(image_size=side, patch_size=16, **sizes),
        {"x": T(batch, 3, side, side)},
    )


def _unet(batch: Dim, height: Dim, width: Dim, **sizes: Any) -> Shaped:
    return Shaped("unet", lambda: UNet(**sizes), {"image": T(batch, 3, height, width)})


def _named(*rows: Shaped) -> dict[str, Shaped]:
    return {row.name: row for row in rows}


BATCH = Dim("batch", 1, 2, 4)
FULL_BATCH = Dim("batch", 1, 8, 32)

# SHAPED["full"]: the published sizes. SHAPED["small"]: the same architectures on smaller inputs.
SHAPED: dict[str, dict[str, Shaped]] = {
    "full": _named(
        _resnet(FULL_BATCH, Dim("height", 128, 224, 320), Dim("width", 128, 224, 320)),
        _vit(FULL_BATCH, 224, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072),
        _minilm(FULL_BATCH, Dim("length", 2, 128, 512)),
        _segformer(Dim("height", 256, 512, 640), Dim("width", 256, 512, 640)),
        _whisper(Dim("batch", 1, 2, 8), 80, 3000),
        _unet(Dim("batch", 1, 1, 4), Dim("height", 256, 388, 572), Dim("width", 256, 388, 572)),
        _gpt2(Dim("batch", 1, 2, 8), Dim("length", 1, 128, 1024)),
    ),
    "small": _named(
        _resnet(BATCH, Dim("height", 33, 64, 90), Dim("width", 33, 64, 90)),
        _vit(BATCH, 64, num_layers=3, hidden_dim=96, mlp_dim=192, num_heads=4),
        _minilm(BATCH, Dim("length", 1, 12, 40)),
        _segformer(
            Dim("height", 32, 64, 100),
            Dim("width", 32, 64, 100),
            depths=[1, 1, 1, 1],
            hidden_sizes=[16, 32, 48, 64],
            num_attention_heads=[1, 2, 3, 4],
            decoder_hidden_size=32,
            num_labels=5,
        ),
        _whisper(
            BATCH,
            8,
            40,
            d_model=48,
            encoder_layers=2,
            encoder_attention_heads=4,
            encoder_ffn_dim=96,
            max_source_positions=20,
            vocab_size=100,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=0,
        ),
        _unet(BATCH, Dim("height", 44, 61, 92), Dim("width", 44, 70, 92), maps=6, levels=2),
        _gpt2(
            BATCH,
            Dim("length", 1, 7, 24),
            vocab_size=100,
            n_positions=24,
            n_embd=48,
            n_layer=3,
            n_head=4,
        ),
    ),
}
