"""Segments drawn anew from features, against the paper's own order of doing it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from attnprobe import AttentionField, AttnProbeError, Segmentation
from attnprobe.refine import Upscale


def field(seed: int, grid=(6, 5), channels=8) -> AttentionField:
    features = torch.randn(*grid, channels, generator=torch.Generator().manual_seed(seed))
    n = grid[0] * grid[1]
    return AttentionField(torch.full((n, n), 1 / n), grid, features=features)


@given(st.integers(0, 1000))
def test_labels_are_those_of_enlarged_features_matched_to_means(seed):
    """DiffCut enlarges the features first and multiplies then; both orders give the same."""
    given_field = field(seed)
    labels = np.random.default_rng(seed).integers(0, 3, (6, 5))
    found = Upscale()(Segmentation(labels), given_field)
    unit = F.normalize(given_field.features.flatten(0, 1), dim=1)
    flat = torch.from_numpy(labels).flatten()
    means = torch.stack([unit[flat == k].mean(0) for k in flat.unique()])
    large = F.interpolate(unit.T.view(1, 8, 6, 5), size=(24, 20), mode="bilinear")[0]
    products = torch.einsum("kc,chw->khw", means, large)
    # Segments that no token is most like are left out before, so they are left out here.
    chosen = (means @ unit.T).argmax(0).unique()
    margins = products[chosen].topk(min(2, len(chosen)), 0).values
    sure = (margins[0] - margins[-1] > 1e-5).numpy() | (len(chosen) == 1)
    expected = products[chosen].argmax(0).numpy()
    assert sure.mean() > 0.99
    assert np.array_equal(found.resized((24, 20)).labels[sure], expected[sure])


def test_names_stay_with_their_segments():
    features = torch.zeros(2, 4, 2)
    features[:, :2, 0], features[:, 2:, 1] = 1, 1
    given_field = AttentionField(torch.full((8, 8), 1 / 8), (2, 4), features=features)
    labels = np.array([[5, 5, 7, 7], [5, 7, 7, 7]])
    found = Upscale()(Segmentation(labels, names={5: "cat", 7: "sofa"}), given_field)
    assert found.labels.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1]]
    assert found.names == {0: "cat", 1: "sofa"}


def test_a_field_without_features_is_refused():
    bare = AttentionField(torch.ones(1, 1), (1, 1), origin="multiscale")
    with pytest.raises(AttnProbeError, match="the field from multiscale has none; use the aggreg"):
        Upscale()(Segmentation(np.zeros((1, 1), int)), bare)
    with pytest.raises(AttnProbeError, match=r"features must be finite, of shape \(H, W, C\)"):
        AttentionField(torch.ones(1, 1), (1, 1), features=torch.ones(2, 2, 3))
