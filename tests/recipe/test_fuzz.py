"""Whatever is done to a recipe, loading it gives a recipe or a RecipeError."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attnprobe.errors import RecipeError
from attnprobe.recipe import Recipe, load_points
from attnprobe.recipe.annotated import annotated_yaml
from attnprobe.recipe.reader import to_yaml
from tests.recipe.conftest import RECIPE, SECTIONS

PIECES = [
    "", " ", "\n", "\t", ":", ": ", "- ", "[", "]", "{", "}", ",", "#", "&a ", "*a", "!!int ", "!",
    "|", ">", "'", '"', "%", "---", "...", "?", "<<: ", "~", "null", "true", "0x", ".nan", "-.inf",
    "1e999", "9" * 5000, "2024-13-45", "\x00", "\ufeff", "\u2028", "é", "\U0001f600", '"\\ud800"',
    "use: ", "name: ", "extends: trial.yaml\n", "model: {preset: [tiny]}\n", "images: 3\n",
    "sweep: {grid: {seed: [1, 2]}}\n", "sweep:\n  zip:\n    group.anchors: [1, 2]\n", "- [",
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
        points = load_points(path, overrides)
        assert all(isinstance(point.recipe, Recipe) for point in points)
        path.write_text(annotated_yaml(path, overrides), encoding="utf-8")
        assert [point.label for point in load_points(path)] == [point.label for point in points]


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
    [*SECTIONS, "extends", "sweep", "use", "preset", "repo", "size", "timesteps", "layers"]
)
dotted = st.lists(keys | st.sampled_from(["0", "1", "²"]), min_size=1, max_size=3).map(".".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | keys | st.sampled_from(PIECES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=8,
)


@given(kind=st.sampled_from(["grid", "zip"]), axes=st.dictionaries(dotted, values, max_size=3))
@settings(deadline=None, max_examples=200)
def test_any_sweep(path, kind, axes):
    with contextlib.suppress(UnicodeEncodeError):
        load(path, (RECIPE + to_yaml({"sweep": {kind: axes}})).encode())


@given(path_=st.lists(keys | st.sampled_from(["0", "1", "-1", "٣"]), max_size=4), value=values)
@example(path_=["images", "²"], value=1)
@settings(deadline=None, max_examples=200)
def test_any_override(path, path_, value):
    with contextlib.suppress(UnicodeEncodeError):
        load(path, RECIPE.encode(), f"{'.'.join(path_)}={to_yaml(value)}")
