"""Pictures that the model draws itself, watched while it draws."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from annotated_types import Ge, Le, MinLen

from attnprobe.data.base import Drawing, Sample, no_truth
from attnprobe.registry import source

Prompt = Annotated[str, MinLen(1)]


@source("prompts")
@dataclass(frozen=True)
class Prompts:
    """Pictures the model draws itself; their maps are means over the steps of drawing them.

    Of `probe` only the layers count then. With guidance, maps are those of the prompt's branch.

    Args:
        prompts: a text, or a list of them; a picture each.
        steps: how many denoising steps.
        guidance: scale of classifier-free guidance; 1 is none.
        seed: of the first picture's noise, one more for each picture after it.
    """

    prompts: Prompt | Annotated[tuple[Prompt, ...], MinLen(1)]
    steps: Annotated[int, Ge(1), Le(999)] = 20
    guidance: Annotated[float, Ge(0), Le(1000)] = 7.5
    seed: Annotated[int, Ge(0), Le(2**32)] = 0

    def __call__(self) -> Sequence[Sample]:
        """List the pictures, none of which is drawn yet."""
        prompts = (self.prompts,) if isinstance(self.prompts, str) else self.prompts
        samples = []
        for number, prompt in enumerate(prompts):
            drawing = Drawing(prompt, self.steps, self.guidance, self.seed + number)
            words = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:40].strip("-")
            name = f"{number + 1:02}-{words}" if words else f"{number + 1:02}"
            samples.append(Sample(name, partial(_same, drawing), no_truth, f"prompt {prompt!r}"))
        return samples


def _same(drawing: Drawing) -> Drawing:
    return drawing
