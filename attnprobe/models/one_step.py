"""One pass of a denoiser, made by its own pipeline at a timestep that is chosen.

What a denoiser is told (how latents are packed, in which unit the timestep is, which embeddings and
masks of the prompt) is its pipeline's knowledge. So the pipeline is called as for drawing, with the
latents given and a scheduler in its own's place that has one step.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from attnprobe.models.noise import FLOW


class OneStep:
    """A scheduler with one timestep, which leaves latents as they are.

    Args:
        scheduler: whose place it takes; its config is read by pipelines.
        timestep: of the training's, as the scheduler itself would tell it.
    """

    order = 1
    init_noise_sigma = 1.0

    def __init__(self, scheduler: Any, timestep: int) -> None:
        self.config = scheduler.config
        flow = type(scheduler).__name__ in FLOW  # these count in floats, all others in integers
        dtype = torch.float32 if flow else torch.int64
        self.timesteps = torch.tensor([timestep], dtype=dtype)
        self.prediction: torch.Tensor | None = None

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: Any = None,
        timesteps: Any = None,
        sigmas: Any = None,
        mu: float | None = None,
    ) -> None:
        """Take the timestep to the device; whatever steps are wanted, there is one."""
        self.timesteps = self.timesteps.to(device)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Nothing: there is one step."""

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:
        """The latents as they are: noise was added as in training."""
        return sample

    def step(
        self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **other: Any
    ) -> tuple[torch.Tensor]:
        """Keep what the pipeline makes of the denoiser's output."""
        self.prediction = model_output
        return (sample,)


def one_pass(
    pipe: Any, latents: torch.Tensor, timestep: int, prompt: str, **call: Any
) -> torch.Tensor:
    """Have a pipeline make one pass on latents, and give the prediction as its scheduler gets it.

    Args:
        pipe: a text-to-image pipeline; it is left as it was.
        latents: as its call takes them.
        timestep: of the training's, from 0 to 1000 for all families.
        prompt: text condition.
        **call: further arguments of its call: sizes, and what turns guidance off.
    """
    shown = copy.copy(pipe)  # its parts are shared; its scheduler and its notes of a call are not
    scheduler = OneStep(pipe.scheduler, timestep)
    vars(shown)["scheduler"] = scheduler
    shown(prompt=prompt, latents=latents, num_inference_steps=1, output_type="latent", **call)
    assert scheduler.prediction is not None
    return scheduler.prediction
