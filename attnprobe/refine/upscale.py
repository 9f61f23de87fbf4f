"""DiffCut's last step: segments drawn anew at the picture's size, from features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attnprobe.errors import ComponentError
from attnprobe.fields import AttentionField, Segmentation
from attnprobe.lazy import F, torch
from attnprobe.refine.segments import cell_counts, compacted
from attnprobe.registry import refiner

if TYPE_CHECKING:
    from PIL.Image import Image


@refiner("upscale")
@dataclass(frozen=True)
class Upscale:
    """Each pixel to the segment whose mean feature is most like its own (DiffCut, section 3.3).

    Couairon et al., NeurIPS 2024. Segments' mean features are matched by inner product to features
    of unit length enlarged bilinearly. Products of enlarged features are enlarged products, so the
    proposals are those on the field's own grid, and the picture's size is reached whatever it is.
    Needs a field with features, as the aggregator `features` gives. O(K·N·C).
    """

    def __call__(
        self,
        segmentation: Segmentation,
        field: AttentionField,
        *,
        rng: np.random.Generator | None = None,
        image: Image | None = None,
    ) -> Segmentation:
        """Labels and proposals on the field's grid; segments that nothing is like are gone.

        Raises:
            ComponentError: the field has no features.
        """
        if field.features is None:
            raise ComponentError(
                f"Upscale: needs features, and the field from {field.origin or 'Python'} has none; "
                "use the aggregator features"
            )
        segments = compacted(segmentation)
        features = F.normalize(field.features.flatten(0, 1), dim=1)
        counts = torch.from_numpy(cell_counts(segments.labels, field.grid)).to(features)
        means = (counts @ features) / counts.sum(1, keepdim=True)
        maps = (means @ features.T).view(-1, *field.grid)
        labels = maps.argmax(0).cpu().numpy()
        return compacted(Segmentation(labels, proposals=maps, names=segments.names))
