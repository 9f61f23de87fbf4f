"""A training of so many minutes: rate by the clock, averaged weights, checkpoints to resume."""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

WARM = 200
"""Steps over which the rate rises."""

DECAY_FROM = 0.5
"""Share of the minutes after which the rate falls, in a straight line to nothing."""


class Trainer:
    """AdamW whose rate follows the clock, with an exponential average of the weights.

    Args:
        name: of the checkpoint.
        parts: what is trained.
        args: ``out``, ``device``, ``seed``, ``ema``, ``float32``, ``resume``, ``every``.
        minutes: how long in all, stops and resumed parts left out.
        rate: the highest learning rate.
    """

    def __init__(
        self, name: str, parts: nn.ModuleDict, args: argparse.Namespace, minutes: float, rate: float
    ) -> None:
        self.name, self.args, self.seconds = name, args, 60 * minutes
        self.device = torch.device(args.device)
        movable: Any = parts  # torch's stubs miss this form of `to`
        self.parts: nn.ModuleDict = movable.to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.parts).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(
            self.parts.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.rate, self.step, self.spent = rate, 0, 0.0
        self.generator = torch.Generator(self.device).manual_seed(args.seed)
        self.path = Path(args.out) / f"{name}.pt"
        if args.resume and self.path.exists():
            self._load()

    def run(self, loss: Callable[[torch.Generator], torch.Tensor], batch: int) -> nn.ModuleDict:
        """Train to the end and return the averaged parts."""
        before, first, shown = self.spent, self.step, 0.0
        started = saved = told = time.monotonic()
        while self.spent < self.seconds:
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate_now()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=not self.args.float32):
                value = loss(self.generator)
            self.optimizer.zero_grad(set_to_none=True)
            value.backward()
            nn.utils.clip_grad_norm_(self.parts.parameters(), 1.0)
            self.optimizer.step()
            self._update_average()
            self.step += 1
            if self.step % 50 == 0:  # reading the loss waits for the device, so the clock is right
                shown = value.item() if not shown else 0.8 * shown + 0.2 * value.item()
            now = time.monotonic()
            self.spent = before + now - started
            if now - told > 10:
                pace = (self.step - first) / (now - started)
                print(
                    f"{self.name} {self.spent / 60:.1f} min, step {self.step}, loss {shown:.4f}, "
                    f"{pace:.2f} steps and {pace * batch:.0f} samples a second",
                    flush=True,
                )
                told = now
            if now - saved > 60 * self.args.every:
                self.save()
                saved = now
        if self.step > first:
            self.save()
        return self.average.eval()

    def rate_now(self) -> float:
        """The rate at this step and second."""
        left = 1 - self.spent / self.seconds
        return self.rate * min(1.0, (self.step + 1) / WARM, left / (1 - DECAY_FROM))

    def _update_average(self) -> None:
        keep = min(self.args.ema, (1 + self.step) / (10 + self.step))
        averaged, current = list(self.average.parameters()), list(self.parts.parameters())
        torch._foreach_lerp_(averaged, [p.detach() for p in current], 1 - keep)

    def save(self) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "step": self.step,
            "spent": self.spent,
            "parts": self.parts.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=self.device, weights_only=True)
        self.step, self.spent = state["step"], state["spent"]
        self.parts.load_state_dict(state["parts"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        print(f"{self.name}: going on from step {self.step}", flush=True)
