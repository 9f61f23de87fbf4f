"""Whatever is done to a recipe, loading it gives a recipe or a RecipeError."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attnprobe.errors import RecipeError
from attnprobe.recipe import Recipe, load_recipe
from tests.recipe.conftest import RECIPE, SECTIONS

PIECES = [
    "", " ", "\n", "\t", ":", ": ", "- ", "[", "]", "{", "}", ",", "#", "&a ", "*a", "!!int ", "!",
    "|", ">", "'", '"', "%", "---", "...", "?", "<<: ", "~", "null", "true", "0x", ".nan", "-.inf",
    "1e999", "9" * 5000, "2024-13-45", "\x00", "\ufeff", "\u2028", "é", "\U0001f600", '"\\ud800"',
    "use: ", "name: ", "extends: trial.yaml\n", "model: {preset: [tiny]}\n", "images: 3\n",
]  # fmt: skip

edits = st.lists(
    st.tuples(st.integers(0, len(RECIPE)), st.integers(0, 40), st.sampled_from(PIECES) | st.text()),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "trial.yaml"


def load(path: Path, content: bytes, *overrides: str) -> None:
    path.write_bytes(content)
    with contextlib.suppress(RecipeError):
        recipe = load_recipe(path, overrides)
        assert isinstance(recipe, Recipe)
        recipe.save(path)
        assert load_recipe(path).name == recipe.name


@given(edits=edits)
@settings(deadline=None, max_examples=400)
def test_an_edited_recipe(path, edits):
    text = RECIPE
    for at, length, piece in edits:
        text = text[:at] + piece + text[at + length :]
    load(path, text.encode("utf-8", "surrogatepass"))


@given(content=st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_any_bytes(path, content):
    load(path, content)


keys = st.sampled_from(
    [*SECTIONS, "extends", "use", "preset", "repo", "size", "timesteps", "layers", "thresholds"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | keys | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@given(path_=st.lists(keys | st.sampled_from(["0", "1", "-1", "٣"]), max_size=4), value=values)
@example(path_=["images", "²"], value=1)
@settings(deadline=None, max_examples=200)
def test_any_override(path, path_, value):
    from attnprobe.recipe.reader import to_yaml

    with contextlib.suppress(UnicodeEncodeError):
        load(path, RECIPE.encode(), f"{'.'.join(path_)}={to_yaml(value)}")
