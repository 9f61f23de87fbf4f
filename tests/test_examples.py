"""The examples in docstrings, run: of public names, each of which has one, and of all others."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image

import attnprobe as ap
from attnprobe import registry

PACKAGE = Path(ap.__file__).parent
WITH_EXAMPLES = [
    module.name
    for module in pkgutil.walk_packages([str(PACKAGE)], "attnprobe.")
    if not module.ispkg
    and ">>> " in (PACKAGE.parent / f"{module.name.replace('.', '/')}.py").read_text("utf-8")
]


@pytest.mark.parametrize("name", ap.__all__)
def test_a_public_name_has_an_example(name):
    assert ">>> " in (getattr(ap, name).__doc__ or "")


@pytest.fixture(scope="module")
def pipe():
    pipe = ap.ModelSpec(preset="tiny").load().pipe
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_give_what_they_show(module, pipe, tmp_path, monkeypatch):
    """With ap, np, torch, `pipe` (the embedded model's) and a photo.jpg at hand.

    What they register is forgotten.
    """
    for kind in registry.KINDS:
        registry.entries(kind)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(load_sample_image("china.jpg")).resize((320, 213)).save("photo.jpg")
    known = {"ap": ap, "np": np, "torch": torch, "pipe": pipe}
    result = doctest.testmod(importlib.import_module(module), extraglobs=known)
    assert result.attempted
    assert result.failed == 0
