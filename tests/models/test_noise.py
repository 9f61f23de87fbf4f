"""Noise as in the model's training, whatever sampler the pipeline has and whatever ran before."""

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe.errors import ModelError
from attnprobe.models import Model, ModelSpec
from attnprobe.models.noise import shares

# Some schedulers mix NumPy and torch in ways that NumPy warns of.
pytestmark = pytest.mark.filterwarnings("ignore:.*__array:DeprecationWarning")

SAMPLERS = [
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
]
TRAINED = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def kept(zero_snr: bool = False) -> torch.Tensor:
    """ā by hand, in float64: of betas, and with zero terminal SNR by Lin et al.'s algorithm 1."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    share = (1 - betas).cumprod(0).sqrt()
    if zero_snr:
        share = (share - share[-1]) * share[0] / (share[0] - share[-1])
    return share**2


@settings(deadline=None)
@given(
    st.sampled_from(SAMPLERS),
    st.integers(0, 999),
    st.booleans(),
    st.sampled_from(["epsilon", "v_prediction"]),
)
def test_the_training_schedule_whatever_the_sampler(sampler, timestep, zero_snr, predicted):
    trained = DDIMScheduler(
        **TRAINED, rescale_betas_zero_snr=zero_snr, prediction_type=predicted
    ).config
    signal, noise = shares(getattr(diffusers, sampler).from_config(trained), timestep)
    want = kept(zero_snr)[timestep]
    torch.testing.assert_close(signal.double(), want.sqrt(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(noise.double(), (1 - want).sqrt(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_classs_own_defaults_count(sampler):
    """Heun's and LCM's betas are others than DDPM's where nobody gave any."""
    scheduler = getattr(diffusers, sampler)()
    for timestep in (0, 300, 998):
        torch.testing.assert_close(
            shares(scheduler, timestep)[0] ** 2, scheduler.alphas_cumprod[timestep]
        )


def test_bit_for_bit_what_training_scripts_add():
    scheduler = DDPMScheduler(**TRAINED)
    generator = torch.Generator().manual_seed(0)
    latents, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
    for timestep in (0, 300, 999):
        signal, strength = shares(scheduler, timestep)
        want = scheduler.add_noise(latents, noise, torch.tensor([timestep]))
        assert torch.equal(signal * latents + strength * noise, want)


@pytest.mark.parametrize(
    "scheduler",
    [
        diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        diffusers.FlowMatchHeunDiscreteScheduler(),
        diffusers.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True),
        diffusers.DPMSolverMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_flow_matching(scheduler):
    for timestep in (0, 250, 999):
        signal, noise = shares(scheduler, timestep)
        assert signal.item() == pytest.approx(1 - timestep / 1000)
        assert noise.item() == pytest.approx(timestep / 1000)


def test_a_flow_scheduler_says_the_same_of_its_own_timesteps():
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    for timestep in scheduler.timesteps[::97]:
        clean, noise = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 5.0)
        want = scheduler.scale_noise(clean, timestep[None], noise)
        share = timestep.item() / 1000
        torch.testing.assert_close((1 - share) * clean + share * noise, want)


@pytest.mark.parametrize(
    ("scheduler", "why"),
    [
        (diffusers.EDMEulerScheduler(), "EDMEulerScheduler, has no betas"),
        (diffusers.IPNDMScheduler(), "has no betas"),
        (diffusers.EulerDiscreteScheduler(timestep_type="continuous"), "tells the denoiser levels"),
        (diffusers.CogVideoXDDIMScheduler(), "shifts the signal-to-noise ratio"),
        (diffusers.HeunDiscreteScheduler(beta_schedule="exp"), "beta_schedule .* is 'exp'"),
        (diffusers.DPMSolverMultistepScheduler(use_flow_sigmas=True), "prediction_type is epsilon"),
        (diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "the other way round"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_isnt_known_is_refused(scheduler, why):
    with pytest.raises(ModelError, match=why):
        shares(scheduler, 300)


def test_timesteps_beyond_the_trainings():
    with pytest.raises(ModelError, match=r"from 0 to 99 .*Got 300"):
        shares(DDPMScheduler(num_train_timesteps=100), 300)


@pytest.fixture
def own_tiny() -> Model:
    return ModelSpec(preset="tiny", device="cpu").load()


@pytest.mark.parametrize(
    "sampler", ["EulerDiscreteScheduler", "DPMSolverMultistepScheduler", "LMSDiscreteScheduler"]
)
def test_what_was_drawn_before_changes_nothing(own_tiny, sampler):
    config = own_tiny.pipe.scheduler.config
    own_tiny.pipe.scheduler = getattr(diffusers, sampler).from_config(config)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    before = own_tiny.add_noise(latents, 300, seed=1)
    noise = own_tiny.add_noise(torch.zeros(1, 4, 8, 8), 300, seed=1)
    torch.testing.assert_close(before - noise, kept()[300].sqrt().float() * latents)
    own_tiny.draw("a red disc", 2, 1.0, 0)
    assert torch.equal(own_tiny.add_noise(latents, 300, seed=1), before)
    assert not torch.equal(own_tiny.add_noise(latents, 300, seed=2), before)


def test_half_precision_keeps_its_type(own_tiny):
    noisy = own_tiny.add_noise(torch.ones(1, 4, 8, 8, dtype=torch.float16), 300, seed=1)
    assert noisy.dtype == torch.float16
