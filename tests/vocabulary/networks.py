"""Networks as libraries publish them, unmodified, in small: what users bring to ``compile``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import nn


class Network(NamedTuple):
    """A network, and the arguments of a call of its ``forward``."""

    module: nn.Module
    args: tuple[Any, ...]


Make = Callable[[], Network]

TIMM = """resnet18 resnetv2_50 vit_tiny_patch16_224 deit_tiny_patch16_224
swin_tiny_patch4_window7_224 swinv2_tiny_window8_256 convnext_atto convnextv2_atto
efficientnet_b0 mobilenetv3_small_100
mobilenetv4_conv_small regnetx_002 densenet121 mixer_s16_224 resmlp_12_224 gmixer_12_224
beit_base_patch16_224 cait_xxs24_224 coat_tiny crossvit_tiny_240 edgenext_xx_small
efficientformer_l1 ghostnet_100 hrnet_w18_small levit_128s maxvit_nano_rw_256 mobilevit_xxs
poolformer_s12 pvt_v2_b0 repvgg_a0 rexnet_100 twins_pcpvt_small xcit_nano_12_p16_224
eva02_tiny_patch14_224 fastvit_t8 hiera_tiny_224 davit_tiny tiny_vit_5m_224 vgg11 nfnet_f0
inception_v3 dpn68 focalnet_tiny_srf volo_d1_224 tnt_s_patch16_224""".split()

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
WORDS = {"vocab_size": 128, "max_position_embeddings": 64}


def ids(length: int = 12, batch: int = 2) -> torch.Tensor:
    """Return ids (batch, length) of the words 3 to 119, none of which means an end or padding."""
    return torch.randint(3, 120, (batch, length))


def image(side: int, channels: int = 3, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, channels, side, side)


def _hugging(model: str, *args: Any, config: str, call: Any = None, **sizes: Any) -> Make:
    """Return a maker of a model of transformers; ``call`` names another method to compile."""

    def make() -> Network:
        library: Any = importlib.import_module("transformers")
        made = getattr(library, model)(getattr(library, config)(**sizes))
        return Network(Calling(made, call) if call else made, args)

    return make


class Calling(nn.Module):
    """A model called in the way its pipeline calls it."""

    def __init__(self, model: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.model, self.call = model, call

    def forward(self, *args: Any) -> Any:
        return self.call(self.model, *args)


def _texts() -> dict[str, Make]:
    plain = {"vocab_size": 128, "n_positions": 64}
    decoder = {**SMALL, **WORDS, "num_key_value_heads": 2}
    text = lambda: (ids(), torch.ones(2, 12, dtype=torch.int64))  # noqa: E731
    return {
        "bert": _hugging("BertModel", *text(), config="BertConfig", **SMALL, **WORDS),
        "distilbert": _hugging(
            *("DistilBertModel", *text()),
            config="DistilBertConfig",
            **{**WORDS, "dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 128},
        ),
        "roberta": _hugging("RobertaModel", *text(), config="RobertaConfig", **SMALL, **WORDS),
        "deberta-v2": _hugging(
            *("DebertaV2Model", *text()),
            config="DebertaV2Config",
            **{**SMALL, **WORDS, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
        ),
        "gpt2": _hugging(
            "GPT2LMHeadModel", ids(), config="GPT2Config", n_embd=64, n_layer=2, n_head=4, **plain
        ),
        "llama": _hugging("LlamaForCausalLM", ids(), config="LlamaConfig", **decoder),
        "qwen2": _hugging("Qwen2ForCausalLM", ids(), config="Qwen2Config", **decoder),
        "mistral": _hugging("MistralForCausalLM", ids(), config="MistralConfig", **decoder),
        "modernbert": _hugging(
            *("ModernBertModel", *text()),
            config="ModernBertConfig",
            **{**SMALL, **WORDS, "pad_token_id": 0, "attn_implementation": "sdpa"},
        ),
    }


def _images() -> dict[str, Make]:
    vision = dict(**SMALL, image_size=32, patch_size=8)
    stages = {"depths": [1, 1, 1, 1], "hidden_sizes": [16, 32, 32, 64]}
    return {
        "vit": _hugging("ViTModel", image(32), config="ViTConfig", **vision),
        "swin v2": _hugging(
            *("Swinv2Model", image(64)),
            config="Swinv2Config",
            **{"image_size": 64, "embed_dim": 24, "window_size": 4},
            **{"depths": [1, 1], "num_heads": [2, 4]},
        ),
        "convnext": _hugging("ConvNextModel", image(64), config="ConvNextConfig", **stages),
        "segformer": _hugging(
            *("SegformerForSemanticSegmentation", image(64)),
            config="SegformerConfig",
            **{**stages, "num_attention_heads": [1, 2, 2, 4], "decoder_hidden_size": 32},
        ),
    }


T5 = {
    **{"vocab_size": 128, "d_model": 64, "d_kv": 16},
    **{"d_ff": 128, "num_layers": 2, "num_heads": 4},
}
ENDS = {"decoder_start_token_id": 1, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
BOTH_SIDES = {
    **{"d_model": 64, "encoder_layers": 2, "decoder_layers": 2},
    **{"encoder_attention_heads": 4, "decoder_attention_heads": 4},
    **{"encoder_ffn_dim": 128, "decoder_ffn_dim": 128},
}
WHISPER = {
    **{**BOTH_SIDES, **ENDS, "vocab_size": 128},
    **{"num_mel_bins": 16, "max_source_positions": 40},
}
DETR = {
    **{**BOTH_SIDES, "use_timm_backbone": False, "use_pretrained_backbone": False},
    **{"backbone_config": None, "num_queries": 10},
}


def _encoders_and_decoders() -> dict[str, Make]:
    seq2seq = lambda m, x, y: m(x, decoder_input_ids=y).logits  # noqa: E731
    return {
        "t5": _hugging(
            *("T5ForConditionalGeneration", ids(), ids(6)), config="T5Config", call=seq2seq, **T5
        ),
        "clip text": _hugging(
            "CLIPTextModel", ids(), config="CLIPTextConfig", **SMALL, **WORDS, eos_token_id=127
        ),
        "clip vision": _hugging(
            *("CLIPVisionModel", image(32)),
            config="CLIPVisionConfig",
            **{**SMALL, "image_size": 32, "patch_size": 8},
        ),
        "whisper": _hugging(
            *("WhisperForConditionalGeneration", torch.randn(2, 16, 80), ids(6)),
            config="WhisperConfig",
            call=seq2seq,
            **WHISPER,
        ),
        "wav2vec2": _hugging(
            *("Wav2Vec2Model", torch.randn(1, 4000)),
            config="Wav2Vec2Config",
            **{**SMALL, "conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16},
        ),
        "detr": _hugging("DetrForObjectDetection", image(96), config="DetrConfig", **DETR),
    }


BLOCKS = {"block_out_channels": (32, 64), "norm_num_groups": 8}
UNET = {
    **{**BLOCKS, "sample_size": 16, "layers_per_block": 1},
    **{"cross_attention_dim": 32, "attention_head_dim": 8},
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
}
VAE = {
    **BLOCKS,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
}
DIT = {
    **{"num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "num_layers": 2},
    **{"sample_size": 8, "patch_size": 2, "num_embeds_ada_norm": 10, "norm_num_groups": 4},
}


def _diffused(kind: str, *args: Any, call: Callable[..., Any], sizes: dict[str, Any]) -> Make:
    def make() -> Network:
        library: Any = importlib.import_module("diffusers")
        return Network(Calling(getattr(library, kind)(**sizes), call), args)

    return make


def _diffusers() -> dict[str, Make]:
    step = torch.tensor([3, 7])
    return {
        "unet": _diffused(
            *("UNet2DConditionModel", image(16, 4, 2), step, torch.randn(2, 7, 32)),
            call=lambda m, x, t, words: m(x, t, words).sample,
            sizes=UNET,
        ),
        "vae encoder": _diffused(
            *("AutoencoderKL", image(32)),
            call=lambda m, x: m.encode(x).latent_dist.mode(),
            sizes=VAE,
        ),
        "vae decoder": _diffused(
            "AutoencoderKL", image(8, 4), call=lambda m, x: m.decode(x).sample, sizes=VAE
        ),
        "dit": _diffused(
            *("DiTTransformer2DModel", image(8, 4, 2), step, torch.tensor([1, 2])),
            call=lambda m, x, t, c: m(x, timestep=t, class_labels=c).sample,
            sizes=DIT,
        ),
    }


class SpeakerEncoder(nn.Module):
    """Who speaks, as a vector of length 1: three layers of LSTM over 160 frames of 40 features."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.lstm = nn.LSTM(40, width, num_layers=3, batch_first=True)
        self.linear = nn.Linear(width, width)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        _, (hidden, _) = self.lstm(frames)
        return nn.functional.normalize(torch.relu(self.linear(hidden[-1])), dim=1)


def encodec(*shape: int, **sizes: Any) -> Make:
    """Return a maker of EnCodec's decoder, for (batch, width, frames)."""
    decode = lambda m, x: m.decoder(x)  # noqa: E731
    return _hugging(
        "EncodecModel", torch.randn(*shape), config="EncodecConfig", call=decode, **sizes
    )


def _sounds() -> dict[str, Make]:
    return {
        "speaker encoder": lambda: Network(SpeakerEncoder(), (torch.randn(2, 160, 40),)),
        "encodec decoder": encodec(1, 128, 50),
    }


def _torchvision() -> Iterator[tuple[str, Make]]:
    models: Any = importlib.import_module("torchvision.models")
    for module, side in ((models, 224), (models.segmentation, 96)):
        for name in models.list_models(module=module):
            given = {"weights_backbone": None} if module is models.segmentation else {}
            yield name, _vision(name, 299 if name == "inception_v3" else side, given)


def _vision(name: str, side: int, given: dict[str, Any]) -> Make:
    def make() -> Network:
        models: Any = importlib.import_module("torchvision.models")
        return Network(models.get_model(name, weights=None, **given), (image(side),))

    return make


def _timm(name: str) -> Make:
    def make() -> Network:
        timm: Any = importlib.import_module("timm")
        made = timm.create_model(name, pretrained=False)
        return Network(made, (image(made.default_cfg["input_size"][-1]),))

    return make


def _yolo(name: str) -> Make:
    def make() -> Network:
        tasks: Any = importlib.import_module("ultralytics.nn.tasks")
        model = tasks.DetectionModel(f"{name}.yaml", ch=3, nc=80, verbose=False)
        for part in model.modules():
            if hasattr(part, "export"):
                part.export, part.format = True, "engine"  # as its own exporter sets them
        return Network(model, (image(320),))

    return make


def families() -> dict[str, dict[str, Make]]:
    """Return the networks of each library, by name; ultralytics', which is AGPL, if it is there."""
    there = importlib.util.find_spec("ultralytics") is not None
    return {
        "ultralytics": {name: _yolo(name) for name in ("yolo11n", "yolov8n") if there},
        "torchvision": dict(_torchvision()),
        "timm": {name: _timm(name) for name in TIMM},
        "transformers": _texts() | _images() | _encoders_and_decoders() | _sounds(),
        "diffusers": _diffusers(),
    }


@torch.no_grad()
def enliven(module: nn.Module) -> nn.Module:
    """Draw every parameter and statistic anew, so that each shows in the output; in eval mode."""
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, (parameter.numel() / len(parameter)) ** -0.5)
        elif name.endswith("weight") or "gamma" in name or "scale" in name:
            parameter.uniform_(0.5, 1.5)
        else:
            parameter.normal_(0, 0.1)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)
    return module.eval()
