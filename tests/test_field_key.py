"""The key of a field: equal for what gives the same field, and none where that can't be told."""

import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.core_model_loading import WeightRenaming

from attnprobe import AttnProbeError, Probe, about
from attnprobe import field_key as module
from attnprobe.aggregate import Multiscale
from attnprobe.cache import FieldCache
from attnprobe.field_key import field_key
from attnprobe.group import DiffSeg
from attnprobe.hooks import Layers
from attnprobe.models import Model, ModelSpec
from attnprobe.pipeline import Pipeline


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def key_of(model, probe=None, aggregate=None, image=None, seed=0):
    probe = probe or Probe(size=64)
    return field_key(model, probe, aggregate or Multiscale(), image or picture(), seed)


@pytest.fixture
def cache(tmp_path):
    return FieldCache(tmp_path / "cache")


@pytest.fixture
def pipeline(tiny, cache):
    return Pipeline(tiny, Probe(size=64), Multiscale(), DiffSeg(anchors=4), cache=cache)


@pytest.fixture(scope="module")
def own():
    """A model that a test may change, if it changes it back."""
    return ModelSpec(preset="tiny", device="cpu").load()


def test_the_key_knows_all_that_makes_a_field(tiny):
    def key(**changes):
        return key_of(tiny, **changes)

    noisy = Probe(size=64, noise=True)
    keys = [
        key(),
        key(probe=Probe(size=72)),
        key(probe=Probe(size=64, timesteps=(10,))),
        key(probe=Probe(size=64, layers=Layers(kind="self", block="up"))),
        key(aggregate=Multiscale(weights="paper")),
        key(image=picture(1)),
        key(image=picture().transpose(Image.Transpose.ROTATE_90)),
        key(probe=noisy),
        key(probe=noisy, seed=1),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert key() == key(seed=1)  # nothing is drawn
    assert key(image=picture().copy()) == keys[0]


def test_the_key_is_of_what_the_model_computes_with_and_not_of_its_name(tiny):
    by_hand = Model(tiny.pipe, tiny.device, "mine")
    assert key_of(by_hand) == key_of(tiny)


def test_the_key_is_that_of_another_process(tiny):
    code = f"""
import torch
torch.set_num_threads({torch.get_num_threads()})
from tests.test_field_key import ModelSpec, key_of
print(key_of(ModelSpec(preset="tiny", device="cpu").load()))
"""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == key_of(tiny)


def test_using_a_model_does_not_change_its_key(own):
    before = key_of(own)
    for prompt in ("", "a red star"):
        Probe(size=64, prompt=prompt, noise=True)(own, picture())
    assert key_of(own) == before
    own.pipe("a red star", num_inference_steps=2, guidance_scale=3.0, output_type="latent")
    own.pipe.set_progress_bar_config(disable=True)
    assert key_of(own) == before


def test_the_names_that_weights_are_saved_by_are_not_in_the_key(own):
    before = key_of(own)
    own.pipe.text_encoder._weight_conversions = [WeightRenaming("text_model.", "")]
    assert key_of(own) == before


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_single_weight_changed_in_place_is_another_key(own, part):
    before = key_of(own)
    for weight in list(getattr(own.pipe, part).parameters())[::30]:
        entry = weight.data.view(-1)[-1:]  # `data` keeps no account of changes
        kept = entry.clone()
        entry += 1
        assert key_of(own) != before
        entry.copy_(kept)
    assert key_of(own) == before


def test_a_lora_and_its_scale_are_in_the_key(tiny):
    peft = pytest.importorskip("peft")
    model = ModelSpec(preset="tiny", device="cpu").load()
    keys = [key_of(model)]
    config = peft.LoraConfig(r=2, target_modules=["to_q"], init_lora_weights=False)
    model.pipe.unet.add_adapter(config)
    model.pipe.unet.eval()
    keys.append(key_of(model))
    model.pipe.unet.set_adapters(["default"], [0.5])
    keys.append(key_of(model))
    model.pipe.unet.disable_adapters()
    keys.append(key_of(model))
    assert keys[0] == key_of(tiny)
    known = [key for key in keys if key is not None]
    assert len(set(known)) == len(known)


def zeroed(module, inputs, output):
    return output * 0


class Foreign(torch.nn.Module):
    def forward(self, x):
        return x


def fails(*args, **kwargs):
    raise NotImplementedError


def test_a_model_that_was_tampered_with_is_not_cached(own, monkeypatch):
    unet = own.pipe.unet
    hook = unet.mid_block.register_forward_hook(zeroed)
    assert key_of(own) is None
    hook.remove()
    unet.train()
    assert key_of(own) is None
    unet.eval()
    mid = type(unet.mid_block)
    patches = [(unet, "forward"), (mid, "forward"), (own, "encode"), (Model, "encode")]
    for place, name in patches:
        with monkeypatch.context() as patch:
            patch.setattr(place, name, fails)
            assert key_of(own) is None
    with monkeypatch.context() as patch:
        patch.setattr(Model, "denoise", torch.no_grad()(fails))
        assert key_of(own) is None
    unet.mine = Foreign().eval()
    assert key_of(own) is None
    del unet.mine
    assert key_of(own) is not None


def test_a_processor_of_diffusers_own_is_in_the_key(own):
    from diffusers.models.attention_processor import AttnProcessor

    before = key_of(own)
    kept = own.pipe.unet.attn_processors
    own.pipe.unet.set_attn_processor(AttnProcessor())
    assert key_of(own) not in (before, None)
    own.pipe.unet.set_attn_processor(kept)
    assert key_of(own) == before


def test_the_scheduler_is_in_the_key_where_it_makes_noise(own):
    from diffusers import DDPMScheduler

    noisy = Probe(size=64, noise=True)
    before = key_of(own, noisy)
    kept = own.pipe.scheduler
    own.pipe.scheduler = DDPMScheduler(beta_end=0.5)
    assert key_of(own, noisy) not in (before, None)
    own.pipe.scheduler = kept


def up_to(n):
    return Layers(kind="self", where=lambda layer: layer.index < n)


def last(fields):
    return fields[-1]


@dataclass(frozen=True)
class Last:
    def __call__(self, fields):
        return fields[-1]


class Changed(Multiscale):
    pass


@pytest.mark.parametrize(
    "changes",
    [
        {"probe": Probe(size=64, layers=up_to(4))},
        {"probe": Probe(size=64, layers=up_to(8))},
        {"aggregate": last},
        {"aggregate": Last()},
        {"aggregate": Changed()},
    ],
)
def test_what_cant_be_told_is_not_cached_and_works(pipeline, cache, changes):
    changed = replace(pipeline, **changes)
    plain = replace(changed, cache=None)
    assert torch.equal(changed.field(picture()).rows, plain.field(picture()).rows)
    assert cache.entries() == []


def test_a_component_that_was_changed_in_a_session_is_not_cached(tiny, monkeypatch):
    monkeypatch.setattr(Multiscale, "__call__", last)
    assert key_of(tiny) is None


def test_a_package_that_changed_since_it_was_imported_is_not_cached(tiny, monkeypatch):
    monkeypatch.setattr(about, "IMPORTED", time.time() - 10**9)
    assert key_of(tiny) is None


def test_a_file_of_the_package_that_cant_be_read_is_an_error(tiny, monkeypatch, tmp_path):
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(module, "__file__", str(tmp_path / "field_key.py"))
    with pytest.raises(AttnProbeError, match=r"gone\.py: of attnprobe itself, can't be read"):
        key_of(tiny)


def test_the_libraries_and_the_arithmetic_are_in_the_key(tiny):
    said = module._libraries()
    for name in ("torch", "diffusers", "transformers", "numpy", "pillow", "safetensors"):
        assert any(each.startswith(f"{name} ") for each in said)
    keys = {key_of(tiny)}
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    keys.add(key_of(tiny))
    torch.set_float32_matmul_precision(precision)
    with torch.autocast("cpu", torch.bfloat16):
        keys.add(key_of(tiny))
    assert len(keys) == 3
