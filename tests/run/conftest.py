"""A pipeline that needs no model: each token looks at those of like brightness."""

import os
import re
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe.cli import main
from attnprobe.fields import AttentionField
from attnprobe.models.fit import fit_image
from attnprobe.pipeline import Pipeline
from attnprobe.recipe import load_recipe
from attnprobe.run.carry import Run
from attnprobe.run.folder import RunFolder
from attnprobe.run.resume import earlier_run

GRID = 16


class NoModel:
    """What a run asks of a model."""

    def describe(self):
        return {"model": "none", "device": "cpu"}


@dataclass(frozen=True)
class Brightness:
    """A probe of the picture itself."""

    fit: str = "resize"

    def fitted(self, model, image):
        return fit_image((image.height, image.width), 128, self.fit, 8)

    def __call__(self, model, image, seed=0, needs=(), fitted=None):
        small = (
            image.crop((fitted or self.fitted(model, image)).box)
            .convert("L")
            .resize((GRID, GRID), Image.Resampling.BOX)
        )
        tokens = torch.from_numpy(np.asarray(small).copy()).double().ravel() / 255
        rows = torch.softmax(-200 * (tokens[:, None] - tokens[None]) ** 2, 1)
        return [AttentionField(rows, (GRID, GRID))]


def run_of(*overrides, output, fit="resize", samples=None, resume=False) -> Run:
    """A recipe, changed by overrides, to be carried over its images into a folder."""
    recipe = load_recipe("diffseg", ["images={use: scenes, count: 3}", *overrides])
    pipeline = Pipeline(
        model=NoModel(),
        probe=Brightness(fit),
        aggregate=recipe.aggregate,
        group=replace(recipe.group, anchors=8),
        seed=recipe.seed,
    )
    samples = recipe.samples() if samples is None else samples
    folder = RunFolder(output)
    output.mkdir(parents=True, exist_ok=True)
    earlier = earlier_run(folder, recipe, samples) if resume else None
    return Run(recipe, samples, pipeline, folder, earlier)


@pytest.fixture
def run(tmp_path):
    """Carry a recipe, changed by overrides, over its images; the finished or stopped run."""

    def run(*overrides, output=tmp_path / "run", **more):
        return run_of(*overrides, output=output, **more)

    return run


def contents(folder):
    """Every file below a folder with its bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


APART = {"timings.json", "environment.json"}
"""Files in which equal runs may differ, for they hold times and what was there at the time."""


def assert_equal_runs(one, other):
    """Two runs have the same files, and but for times the same bytes."""
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    different = {name for name in first if first[name] != second[name]}
    assert {name for name in different if name.rpartition("/")[2] not in APART} == set()


@pytest.fixture
def attnprobe(tmp_path, monkeypatch, capsys):
    """Run the command line in an empty folder; exit status, output, errors but for the first word.

    That a run says at once what it reads is a matter of tests/test_startup.py.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTNPROBE_CACHE", str(tmp_path / "cache"))

    def attnprobe(*arguments):
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        err = re.sub(r"\Areading .* …\n", "", captured.err)
        return end.value.code or 0, captured.out, err

    return attnprobe
