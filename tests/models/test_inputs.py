"""Denoisers that want something else than a latent, a timestep and a prompt are refused at once."""

import types

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet3DConditionModel,
)
from torch import nn

from attnprobe.errors import ModelError
from attnprobe.models import Model
from attnprobe.models.tiny.architecture import make_vae
from tests.conftest import small_unet


def piped(unet, vae=None) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae=vae or make_vae(),
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def refused(pipe) -> str:
    with pytest.raises(ModelError) as caught:
        Model(pipe, torch.device("cpu"), "mine")
    return str(caught.value)


@pytest.mark.parametrize("channels", [9, 8, 7, 5, 3])
def test_channels_that_are_not_the_latents(channels):
    said = refused(piped(small_unet(in_channels=channels)))
    assert "model mine (StableDiffusionPipeline) can't be probed" in said
    assert f"its UNet takes {channels} channels, and the latents of its VAE have 4" in said


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"num_class_embeds": 10}, "a class or a level of noise"),
        ({"class_embed_type": "timestep"}, "a class or a level of noise"),
        ({"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 24}, "a picture besides"),
        (
            {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": 8,
                "projection_class_embeddings_input_dim": 5 * 8 + 32,
            },
            "told 5 numbers besides, not the 6",
        ),
    ],
)
def test_other_conditions(changes, why):
    pipe = piped(small_unet(**changes))
    pipe.text_encoder_2 = types.SimpleNamespace(
        config=types.SimpleNamespace(projection_dim=32, hidden_size=16)
    )
    assert why in refused(pipe)


def test_other_denoisers():
    video = UNet3DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("DownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "UpBlock3D"),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=8,
        attention_head_dim=4,
    )
    assert "its denoiser is a UNet3DConditionModel" in refused(piped(video))


def test_a_vae_of_sound():
    vae = AutoencoderKL(in_channels=1, out_channels=1, norm_num_groups=4, block_out_channels=(8,))
    assert "takes pictures of 1 channels" in refused(piped(small_unet(), vae))


def test_a_wrapped_unet_is_known_by_what_it_wraps():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("inner"), name)

    pipe = piped(small_unet())
    pipe.unet = Wrapped(pipe.unet)
    Model(pipe, torch.device("cpu"), "mine")


def test_latents_are_shifted_and_scaled_as_the_vae_says():
    """By channel, as SDXL's pipelines undo it before they decode; or by one number."""
    pixels = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = Model(piped(small_unet()), torch.device("cpu"), "mine")
    vae = model.pipe.vae
    plain = model.encode(pixels) / vae.config.scaling_factor
    mean, deviation = [0.1, -0.2, 0.3, 0.0], [1.5, 2.0, 0.5, 1.0]
    vae.register_to_config(latents_mean=mean, latents_std=deviation, scaling_factor=0.5)
    found = model.encode(pixels)
    undone = found * torch.tensor(deviation).view(1, 4, 1, 1) / 0.5 + torch.tensor(mean).view(
        1, 4, 1, 1
    )
    torch.testing.assert_close(undone, plain)
    vae.register_to_config(latents_mean=None, latents_std=None, shift_factor=0.2)
    torch.testing.assert_close(model.encode(pixels), (plain - 0.2) * 0.5)
