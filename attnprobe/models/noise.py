"""How much of a latent is picture and how much noise at a timestep, as the model was trained.

A pipeline's scheduler says two things: how the model was trained, in its config, and how a picture
is sampled, in its class. Only the first says what the denoiser must be shown. Samplers' own
``add_noise`` scales latents as *they* keep them (Euler's are not of unit variance), and depends on
the steps of the picture drawn last.
"""

from __future__ import annotations

from typing import Any

import torch

from attnprobe.errors import ModelError

FLOW = (
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "FlowMatchLCMScheduler",
)
"""Schedulers of models that are trained by flow matching, and of no others."""

TRAINING = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
"""Keys of a scheduler's config that say how the model was trained, not how pictures are made."""


def shares(scheduler: Any, timestep: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What the clean latent and unit noise are multiplied by at a timestep, float32 scalars.

    √ā and √(1 − ā) of the training schedule (Ho et al. 2020, equation 4; with zero terminal SNR
    where the config says so, Lin et al. 2024); 1 − σ and σ, σ being the timestep's share of all,
    where the model is trained by flow matching (Lipman et al. 2023). What it predicts, the noise,
    the velocity or the picture, changes nothing.

    Raises:
        ModelError: the scheduler doesn't say how the model was trained, or the timestep is none
            of the training's.
    """
    name, config = type(scheduler).__name__, scheduler.config
    count = config.get("num_train_timesteps")
    flow = name in FLOW or config.get("prediction_type") == "flow_prediction"
    why = _unknown(name, config, flow)
    if why:
        raise ModelError(
            f"noise can't be added as the model was trained: its scheduler, {name}, {why}"
        )
    last = count if flow else count - 1
    if not 0 <= timestep <= last:
        raise ModelError(
            f"a timestep of this model is from 0 to {last} ({name}). Got {timestep} instead."
        )
    if flow:
        return torch.tensor(1 - timestep / count), torch.tensor(timestep / count)
    kept = _kept(config, name)[timestep]
    return kept.sqrt(), (1 - kept).sqrt()


def _unknown(name: str, config: Any, flow: bool) -> str:
    """Why the config doesn't say how the model was trained, or nothing."""
    if flow:
        if name not in FLOW and "flow_shift" not in config:
            return "has a flow of its own"
        return "counts its timesteps the other way round" if config.get("invert_sigmas") else ""
    if config.get("use_flow_sigmas"):
        predicted = config.get("prediction_type")
        return f"has use_flow_sigmas, but its model's prediction_type is {predicted}"
    if config.get("beta_schedule") is None:
        return "has no betas of the training"
    if config.get("snr_shift_scale", 1) != 1:
        return "shifts the signal-to-noise ratio"
    if config.get("timestep_type", "discrete") != "discrete":
        return "tells the denoiser levels of noise, not timesteps"
    return ""


def _kept(config: Any, name: str) -> torch.Tensor:
    """ā of each timestep: the share of the picture's variance that is left."""
    from diffusers import DDPMScheduler

    try:
        # By its values: from_config would put DDPM's defaults in the place of another class's.
        return DDPMScheduler(
            **{key: config[key] for key in TRAINING if key in config}
        ).alphas_cumprod
    except NotImplementedError:
        raise ModelError(
            f"noise can't be added as the model was trained: the beta_schedule of its scheduler, "
            f"{name}, is {config.get('beta_schedule')!r}, which is not known"
        ) from None
