"""Dense conditional random field: like pixels anywhere near agree on their label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from einops import rearrange

from attnprobe.fields import AnyField, Segmentation
from attnprobe.lazy import torch
from attnprobe.refine.segments import compacted, masks, needed, picture_at, reduced_size
from attnprobe.registry import refiner

if TYPE_CHECKING:
    from PIL.Image import Image

Positive = Annotated[float, Ge(1e-4), Le(1e4)]


@refiner("crf")
@dataclass(frozen=True)
class DenseCrf:
    """Fully connected CRF with Gaussian kernels, by mean field (Krähenbühl & Koltun 2011).

    Its energy has −log of each label's probability, and a Potts penalty for every pair of pixels
    that disagree, w₁ exp(−|p|²/2θ_α² − |I|²/2θ_β²) + w₂ exp(−|p|²/2θ_γ²) for the differences of
    their places p and colours I (equation 3). Each kernel is normalised symmetrically, as in the
    authors' program. The sums over all pairs are exact, on a smaller picture; the masks
    found there are the proposals. O(t·K·P²) for t iterations on P pixels, at most side², of K
    labels; three P × P matrices in memory, 200 MB at side 64 and 1 GB at 96.

    Args:
        iterations: of the mean field.
        certainty: the probability of the given label at each pixel; the rest is shared by all.
        appearance: w₁, of pixels near and of like colour.
        smoothness: w₂, of pixels very near.
        near: θ_α, a share of the picture's longer side.
        colour: θ_β, colours being in [0, 1].
        very_near: θ_γ, a share of the picture's longer side.
        side: the smaller picture has about side² pixels.
    """

    iterations: Annotated[int, Ge(1), Le(1000)] = 10
    certainty: Annotated[float, Gt(0), Lt(1)] = 0.7
    appearance: Annotated[float, Ge(0), Le(1000)] = 10.0
    smoothness: Annotated[float, Ge(0), Le(1000)] = 3.0
    near: Positive = 0.15
    colour: Positive = 0.05
    very_near: Positive = 0.01
    side: Annotated[int, Ge(1), Le(96)] = 64

    def __call__(
        self,
        segmentation: Segmentation,
        field: AnyField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Labels and proposals of the picture's size, or of the smaller one.

        Raises:
            ComponentError: there is no picture.
        """
        image = needed(image, "DenseCrf")
        segments = compacted(segmentation)
        size = reduced_size(image, self.side)
        given = masks(segments, size).to(field.device).flatten(1)
        unary = (self.certainty * given + (1 - self.certainty) / len(given)).log()
        pairwise = self._pairwise(picture_at(image, size).to(unary))
        likely = unary.softmax(0)
        for _ in range(self.iterations):
            likely = (unary + likely @ pairwise).softmax(0)
        proposals = rearrange(likely, "label (h w) -> label h w", h=size[0])
        return Segmentation(proposals.argmax(0).cpu().numpy(), proposals, segments.names)

    def _pairwise(self, picture: torch.Tensor) -> torch.Tensor:
        """Both weighted kernels between all pixels, (P, P)."""
        height, width = picture.shape[1:]
        grid = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        place = torch.stack(grid).to(picture).flatten(1) / max(height, width)
        colour = picture.flatten(1) / self.colour
        total = _kernel(torch.cat([place / self.near, colour])).mul_(self.appearance)
        return total.add_(_kernel(place / self.very_near), alpha=self.smoothness)


def _kernel(features: torch.Tensor) -> torch.Tensor:
    """exp(−½|f_i − f_j|²) for i ≠ j, divided by the square roots of its row and column sums."""
    f = (features - features.mean(1, keepdim=True)).T
    square = 0.5 * (f**2).sum(1)
    kernel = torch.addmm(-square[:, None], f, f.T).sub_(square)
    kernel.clamp_(min=-60).exp_()  # numbers too small for float32's full precision are slow
    kernel.fill_diagonal_(0)
    scale = kernel.sum(1).clamp(min=1e-20).rsqrt()
    return kernel.mul_(scale[:, None]).mul_(scale)
