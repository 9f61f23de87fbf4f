"""A pipeline that needs no model: each token looks at those of like brightness."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe.fields import AttentionField
from attnprobe.models.fit import fit_view
from attnprobe.pipeline import Pipeline
from attnprobe.recipe import load_recipe
from attnprobe.run.carry import Run
from attnprobe.run.folder import RunFolder

GRID = 16


class NoModel:
    """What a run asks of a model."""

    def describe(self):
        return {"model": "none", "device": "cpu"}


@dataclass(frozen=True)
class Brightness:
    """A probe of the picture itself."""

    fit: str = "resize"

    def view(self, model, image):
        return fit_view((image.height, image.width), 128, self.fit, 8)

    def __call__(self, model, image, seed=0):
        small = (
            image.crop(self.view(model, image).box)
            .convert("L")
            .resize((GRID, GRID), Image.Resampling.BOX)
        )
        tokens = torch.from_numpy(np.asarray(small).copy()).double().ravel() / 255
        rows = torch.softmax(-200 * (tokens[:, None] - tokens[None]) ** 2, 1)
        return [AttentionField(rows, (GRID, GRID))]


@pytest.fixture
def run(tmp_path):
    """Carry a recipe, changed by overrides, over its images; the finished or stopped run."""

    def run(*overrides, fit="resize", output=tmp_path / "run", samples=None):
        recipe = load_recipe("diffseg", ["images={use: scenes, count: 3}", *overrides])
        pipeline = Pipeline(
            model=NoModel(),
            probe=Brightness(fit),
            aggregate=recipe.aggregate,
            group=replace(recipe.group, anchors=8),
            seed=recipe.seed,
        )
        samples = recipe.samples() if samples is None else samples
        return Run(recipe, samples, pipeline, RunFolder.choose(recipe.name, output))

    return run
