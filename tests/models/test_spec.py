import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from attnprobe import AttnProbeError, ModelSpec, Pipeline, Probe
from attnprobe.aggregate import Multiscale
from attnprobe.data.scenes import make_scene
from attnprobe.group import DiffSeg
from attnprobe.models import PRESETS
from attnprobe.models.tiny.architecture import make_tokenizer, make_vae
from tests.conftest import small_unet

ROOT = Path(__file__).parents[2]


def text_config(tokenizer, projection: int = 32) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=projection,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory) -> Path:
    """A small Stable Diffusion pipeline as diffusers saves it."""
    tokenizer = make_tokenizer()
    pipe = StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=small_unet(sample_size=32),
        scheduler=EulerDiscreteScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    folder = tmp_path_factory.mktemp("sd")
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory) -> Path:
    """A small SDXL pipeline, with two text encoders and size conditions."""
    tokenizer = make_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        projection_class_embeddings_input_dim=6 * 8 + 32,
        cross_attention_dim=48,
        norm_num_groups=8,
    )
    pipe = StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=CLIPTextModel(text_config(tokenizer)),
        text_encoder_2=CLIPTextModelWithProjection(text_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(),
        force_zeros_for_empty_prompt=True,
    )
    folder = tmp_path_factory.mktemp("sdxl")
    pipe.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["sd_folder", "sdxl_folder"])
@pytest.mark.parametrize("noise", [False, True])
def test_a_local_pipeline_segments(kind, noise, request):
    model = ModelSpec(repo=str(request.getfixturevalue(kind)), device="cpu").load()
    probe = Probe(timesteps=(300, 100), noise=noise, prompt="a red disc")
    pipeline = Pipeline(model, probe, Multiscale(), DiffSeg(anchors=4))
    scene = make_scene("test", 0)
    segmentation = pipeline.segment(scene.image[:96])
    assert segmentation.labels.shape == (96, 128)


def test_the_probe_is_one_pass_as_the_pipeline_would_make_it(sd_folder):
    """Latent mean × scaling, clean, told t: the same as by hand with diffusers' own parts."""
    model = ModelSpec(repo=str(sd_folder), device="cpu").load()
    pipe = StableDiffusionPipeline.from_pretrained(sd_folder)
    pixels = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents = pipe.vae.encode(pixels).latent_dist.mean * pipe.vae.config.scaling_factor
        ids = pipe.tokenizer("", padding="max_length", max_length=77, return_tensors="pt").input_ids
        words = pipe.text_encoder(ids).last_hidden_state
        expected = pipe.unet(latents, 300, words).sample
    mine = model.encode(pixels)
    assert torch.equal(mine, latents)
    assert torch.equal(model.denoise(mine, 300), expected)


def test_dtype_and_description(sd_folder):
    model = ModelSpec(repo=str(sd_folder), dtype="bfloat16", device="cpu").load()
    assert model.denoiser.dtype == torch.bfloat16
    told = model.describe()
    assert told["dtype"] == "bfloat16"
    assert told["device"] == "cpu"
    assert told["pipeline"] == "StableDiffusionPipeline"


def test_the_embedded_model(tiny):
    assert tiny.size == 128
    assert tiny.multiple == 16
    assert tiny.pipe.scheduler.config.beta_schedule == "scaled_linear"
    assert isinstance(tiny.pipe.vae, AutoencoderKL)
    folder = Path(PRESETS["tiny"].repo)
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 25e6
    assert not [f for f in folder.rglob("*") if f.suffix in (".bin", ".pt", ".pkl", ".ckpt")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "needs either a preset or a repo, and not both"),
        ({"preset": "tiny", "repo": "a/b"}, "and not both"),
        ({"preset": "sd41"}, "unknown preset 'sd41'; did you mean sd21 or sd15"),
        ({"preset": "tiny", "dtype": "int8"}, "'float32', 'float16' or 'bfloat16'. Got 'int8'"),
    ],
)
def test_bad_specs(given, message):
    with pytest.raises(AttnProbeError, match=message):
        ModelSpec(**given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"repo": "./nowhere"}, "there is no such folder"),
        ({"repo": "not a name"}, "neither a folder nor a name on the hub"),
        ({"preset": "tiny", "device": "gpu"}, "device 'gpu' can't be used"),
        ({"preset": "tiny", "revision": "main"}, "a local folder has no revision"),
    ],
)
def test_models_that_cannot_be_had(given, message):
    with pytest.raises(AttnProbeError, match=message):
        ModelSpec(**given).load()


def test_no_network_is_one_sentence(monkeypatch):
    """The hub's address is set to a closed port of this machine: nothing is reached."""
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(AttnProbeError) as caught:
        ModelSpec(repo="nobody/no-such-model").load()
    assert str(caught.value) == (
        "the Hugging Face hub can't be reached, and its local cache has no "
        "nobody/no-such-model (looked for model_index.json); --model tiny needs no network"
    )


def broken(folder: Path, to: Path, change) -> str:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    change(to)
    return str(to)


def rename_weights(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def cut_weights(folder: Path) -> None:
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def own_code(folder: Path) -> None:
    index = folder / "model_index.json"
    config = json.loads(index.read_text())
    config["_class_name"] = ["pipeline", "Mine"]
    index.write_text(json.dumps(config))


def empty(folder: Path) -> None:
    (folder / "model_index.json").unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_weights, "can't be loaded: .*safetensors"),
        (cut_weights, "can't be loaded"),
        (own_code, "brings code of its own, which is never run"),
        (empty, "holds no model_index.json"),
        (lambda f: (f / "model_index.json").write_text("{"), "can't be loaded"),
    ],
)
def test_broken_folders(sd_folder, tmp_path, change, message):
    with pytest.raises(AttnProbeError, match=message) as caught:
        ModelSpec(repo=broken(sd_folder, tmp_path, change)).load()
    assert "\n" not in str(caught.value)


LOADED = """
import attnprobe as ap

ap.ModelSpec(preset="tiny").load()

from diffusers.utils import logging as of_diffusers
from transformers.utils import logging as of_transformers

print(of_diffusers.is_progress_bar_enabled(), of_transformers.is_progress_bar_enabled())
"""


@pytest.mark.parametrize("loud", [False, True])
def test_loading_shows_no_notice_of_a_library_unless_it_is_wanted(loud, tmp_path):
    quieted = ("HF_HUB_DISABLE_PROGRESS_BARS", "VERBOSITY")  # by the command line, in other tests
    environment = {k: v for k, v in os.environ.items() if not k.endswith(quieted)}
    environment["PYTHONPATH"] = str(ROOT)
    environment |= {"TRANSFORMERS_VERBOSITY": "warning"} if loud else {}
    words = [sys.executable, "-c", LOADED]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "True True\n"
    assert ("Loading" in done.stderr) == loud
    assert loud or done.stderr == ""
