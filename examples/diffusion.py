"""Put a compiled UNet in place of the one in a Stable Diffusion pipeline of ``diffusers``.

The pipeline is a small one with random weights, so that it runs anywhere: the picture is noise. A
real one is ``StableDiffusionPipeline.from_pretrained(...)``, and ``CompiledUNet`` takes its UNet as
it is. Exits with 1 if the pictures of the two pipelines differ.
"""

from __future__ import annotations

import sys
from typing import Any

import operators  # noqa: F401 - before torchvision
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from setting import DEVICE, PRECISION, TOLERANCE, off_by
from transformers import CLIPTextConfig, CLIPTextModel

import trtnn

TOKENS = 77
STEPS = 4


def small_pipeline() -> StableDiffusionPipeline:
    """Return a pipeline of Stable Diffusion's parts, each as small as it can be."""
    unet = UNet2DConditionModel(
        sample_size=8,
        cross_attention_dim=32,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    )
    config = CLIPTextConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        bos_token_id=0,
        eos_token_id=1,
    )
    pipeline = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=CLIPTextModel(config).eval(),
        tokenizer=None,  # prompts are given as embeddings
        unet=unet.eval(),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(DEVICE)


class CompiledUNet(torch.nn.Module):
    """Stands where a pipeline expects its UNet, and has what a pipeline asks of one.

    Guidance doubles the batch, so that one picture is a batch of two.
    """

    def __init__(self, unet: UNet2DConditionModel, pictures: int = 4) -> None:
        super().__init__()
        self.config, self.dtype, self.device = unet.config, unet.dtype, unet.device
        side, width = unet.config.sample_size, unet.config.cross_attention_dim
        batch = trtnn.Dim("batch", 1, 2, 2 * pictures)
        self.model = trtnn.compile(
            unet,
            inputs={
                "sample": trtnn.Input((batch, unet.config.in_channels, side, side), unet.dtype),
                "timestep": trtnn.Input((), torch.int64, low=0, high=999),
                "encoder_hidden_states": trtnn.Input((batch, TOKENS, width), unet.dtype),
                "return_dict": False,
            },
            precision=PRECISION,
        )

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = False,  # noqa: FBT001, FBT002 - diffusers' own signature
        **unused: Any,
    ) -> tuple[torch.Tensor]:
        asked = {name: value for name, value in unused.items() if value is not None}
        if asked or return_dict:
            raise ValueError(f"expected neither {', '.join(asked)} nor return_dict=True")
        return self.model(
            sample=sample, timestep=timestep, encoder_hidden_states=encoder_hidden_states
        )


def picture(pipeline: StableDiffusionPipeline, prompt: torch.Tensor) -> torch.Tensor:
    """Return a picture (1, 3, H, W), from 0 to 1, always from the same noise."""
    made = pipeline(
        prompt_embeds=prompt,
        negative_prompt_embeds=torch.zeros_like(prompt),
        num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(0),
        output_type="pt",
    )
    return made.images


@torch.inference_mode()
def main() -> int:
    """Draw with both, compare; return the exit status."""
    torch.manual_seed(0)
    pipeline = small_pipeline()
    tokens = torch.randint(99, (1, TOKENS), device=DEVICE)
    prompt = pipeline.text_encoder(tokens)[0]

    expected = picture(pipeline, prompt)
    pipeline.unet = CompiledUNet(pipeline.unet)
    error = off_by(picture(pipeline, prompt), expected)
    print(f"a picture of {tuple(expected.shape[2:])} in {STEPS} steps")
    print(f"backend: {pipeline.unet.model.backend}, off by {error:.1e}")
    return int(error > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
