"""Training pictures as latents on the device, drawn by other processes while training goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL

from attnprobe.models.tiny import architecture
from attnprobe.models.tiny.pictures import Drawn, Kind


class Corpus:
    """Latents and captions, drawn into batches; it fills in the background.

    A batch is (latents (B, 4, 32, 32) float32, token ids (B, 77)), its kinds in the shares asked.

    Args:
        drawn: where pictures come from.
        encode: pictures (n, 3, 128, 128) in [−1, 1] -> latents.
        shares: of each kind in a batch.
        device: where latents are kept.
    """

    def __init__(
        self,
        drawn: Drawn,
        encode: Callable[[torch.Tensor], torch.Tensor],
        shares: dict[Kind, float],
        device: torch.device,
    ) -> None:
        self.tokenizer = architecture.make_tokenizer()
        self.device = device
        self._encode = encode
        self._kinds = list(drawn.counts)
        weights = torch.tensor([shares[kind] for kind in self._kinds], device=device)
        self._weights = weights / weights.sum()
        self._starts = np.cumsum([0, *drawn.counts.values()])
        total = int(self._starts[-1])
        side = architecture.IMAGE_SIZE // 4
        self._latents = torch.empty(total, 4, side, side, dtype=torch.bfloat16, device=device)
        words = architecture.CAPTION_TOKENS
        self._ids = torch.empty(total, words, dtype=torch.int32, device=device)
        self._filled = torch.zeros(len(self._kinds), device=device)
        self.count, self.total = 0, total
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._fill, args=(drawn,), daemon=True)
        self._thread.start()

    def wait(self, share: float) -> None:
        """Wait until that share of the pictures is there, some of each kind among them."""
        while self._thread.is_alive() and (
            self.count < share * self.total or not bool(self._filled.all())
        ):
            time.sleep(0.05)
        if self._failure is not None:
            raise self._failure

    def batch(self, size: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a batch of what is there."""
        if self._failure is not None:
            raise self._failure
        kinds = torch.multinomial(self._weights, size, replacement=True, generator=generator)
        draws = torch.rand(size, generator=generator, device=self.device)
        starts = torch.as_tensor(self._starts[:-1], device=self.device)[kinds]
        chosen = starts + (draws * self._filled[kinds]).long()
        return self._latents[chosen].float(), self._ids[chosen].long()

    def _fill(self, drawn: Drawn) -> None:
        filled = dict.fromkeys(self._kinds, 0)
        try:
            for kind, pictures, captions in drawn:
                which = self._kinds.index(kind)
                start = int(self._starts[which]) + filled[kind]
                pixels = torch.from_numpy(pictures).to(self.device).permute(0, 3, 1, 2)
                place = slice(start, start + len(pictures))
                self._latents[place] = self._encode(pixels.float() / 127.5 - 1).bfloat16()
                self._ids[place] = self.token_ids(captions).int().to(self.device)
                filled[kind] += len(pictures)
                self._filled[which] = filled[kind]
                self.count += len(pictures)
        except BaseException as failure:  # told to the thread that trains
            self._failure = failure

    def token_ids(self, captions: list[str]) -> torch.Tensor:
        """(n, 77) int64."""
        return self.tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=architecture.CAPTION_TOKENS,
            return_tensors="pt",
        ).input_ids


def encoder(vae: AutoencoderKL, bfloat16: bool) -> Callable[[torch.Tensor], torch.Tensor]:
    """Pictures to scaled latents."""
    frozen = vae.eval().requires_grad_(False)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(pixels.device.type, torch.bfloat16, enabled=bfloat16):
            found = frozen.encode(pixels.to(memory_format=torch.channels_last)).latent_dist.mean
        return found.float() * frozen.config.scaling_factor

    return encode
