"""Segmentations that are right already, or can't be better, for every refiner."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttentionField, Segmentation
from attnprobe.registry import entries, find
from tests.refine.fields import block_field, picture_of

NAMES = [entry.name for entry in entries("refiners") if entry.package == "attnprobe"]


def refined(name, labels, field, image):
    segmentation = Segmentation(labels)
    rng = np.random.default_rng(0)
    return find("refiners", name)()(segmentation, field, rng=rng, image=image)


def assert_same(found, owner):
    """Segments are those of the owner's cells of 8×8 pixels, but for half a cell at the borders."""
    large = np.kron(owner, np.ones((8, 8), int))
    labels = found.resized(large.shape).labels
    inside = np.ones(large.shape, bool)
    for x in np.flatnonzero(np.diff(large[0])):
        inside[:, x - 3 : x + 5] = False
    assert adjusted_rand_score(large[inside], labels[inside]) == 1


def with_features(owner):
    field = block_field(owner)
    features = torch.eye(int(owner.max()) + 1)[torch.from_numpy(owner)]
    return AttentionField(field.rows, field.grid, features=features)


@pytest.mark.parametrize("grid", [(12, 12), (8, 15)])
@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_stays(name, grid):
    owner = np.repeat(np.arange(grid[1])[None] * 3 // grid[1], grid[0], axis=0)
    picture = picture_of(np.kron(owner, np.ones((8, 8), int)))
    found = refined(name, owner, with_features(owner), picture)
    assert found.count == 3
    assert_same(found, owner)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (37, 41)])
@pytest.mark.parametrize("name", NAMES)
def test_one_segment_stays_one(name, size):
    owner = np.zeros((5, 4), int)
    picture = picture_of(np.zeros(size, int))
    assert refined(name, owner, with_features(owner), picture).count == 1


@pytest.mark.parametrize("name", NAMES)
def test_one_token_stays_one(name):
    owner = np.zeros((1, 1), int)
    for size in ((1, 1), (9, 7)):
        picture = picture_of(np.zeros(size, int))
        assert refined(name, owner, with_features(owner), picture).count == 1


@pytest.mark.parametrize("name", sorted({*NAMES} - {"kmeans", "upscale"}))
def test_a_picture_of_one_colour_moves_no_straight_border(name):
    """Two refiners draw segments anew from attention or features, which are all alike here."""
    owner = np.repeat([[0, 1]] * 8, 4, axis=1)
    found = refined(name, owner, with_features(0 * owner), Image.new("RGB", (64, 64), "grey"))
    assert_same(found, owner)


@pytest.mark.parametrize("name", ["kmeans", "upscale"])
def test_where_all_tokens_are_alike_one_segment_is_left(name):
    owner = np.repeat([[0, 1]] * 8, 4, axis=1)
    assert refined(name, owner, with_features(0 * owner), None).count == 1
