import pytest

from attnprobe import registry
from attnprobe.errors import RecipeError
from attnprobe.recipe import load_recipe

RECIPE = """\
name: trial
model: {preset: tiny}
images: {use: scenes, count: 3}
probe: {size: 128, timesteps: [300], layers: {kind: self}}
aggregate: {use: multiscale}
group: {use: diffseg, anchors: 16, thresholds: [0.9, 0.8]}
refine: []
seed: 7
"""

SECTIONS = ["name", "model", "images", "probe", "aggregate", "group", "refine"]
SECTIONS += ["evaluate", "seed"]


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    """What a test registers is gone after it."""
    for kind in registry.KINDS:
        registry.entries(kind)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture
def write(tmp_path):
    """Write a recipe's text or bytes; its path."""

    def write(content=RECIPE, name="trial.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def faults(write):
    """The lines that loading the text ends in, without the file's own folder."""

    def faults(content, *overrides, name="trial.yaml"):
        path = write(content, name)
        with pytest.raises(RecipeError) as caught:
            load_recipe(path, overrides)
        return str(caught.value).replace(f"{path.parent}/", "").splitlines()

    return faults


@pytest.fixture
def place():
    """Where a word first stands in the text, as "trial.yaml:line:column"."""

    def place(content, word, name="trial.yaml"):
        before = content[: content.index(word)]
        return f"{name}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"

    return place
