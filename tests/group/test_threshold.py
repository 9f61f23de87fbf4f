"""A word's map to a mask, Otsu's threshold against the search over all of them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attnprobe import AttnProbeError
from attnprobe.fields import WordMaps
from attnprobe.group import Threshold
from attnprobe.group.threshold import otsu


def between(values: np.ndarray, at: float) -> float:
    """The variance between the values' parts, each value taken at its bin's centre."""
    values = (np.minimum(values * 256, 255).astype(int) + 0.5) / 256
    low, high = values[values < at], values[values >= at]
    if not (low.size and high.size):
        return 0.0
    return low.size * high.size * (low.mean() - high.mean()) ** 2


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_otsu_finds_the_largest_variance_between_parts(seed, first, second):
    random = np.random.default_rng(seed)
    values = np.concatenate([random.normal(first, 0.1, 60), random.normal(second, 0.05, 40)])
    values = values.clip(0, 1).astype(np.float32)
    best = max(between(values, k / 256) for k in range(1, 256))
    assert between(values, otsu(torch.from_numpy(values))) == pytest.approx(best, rel=1e-9)


def blob() -> WordMaps:
    y, x = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    inside = ((y - 8) ** 2 + (x - 6) ** 2 < 16).float()
    noise = 0.1 * torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    return WordMaps(torch.stack([inside + noise, 1 - inside]), ("cat", "wall"))


def test_a_blob_is_found_and_named():
    found = Threshold(word="cat")(blob())
    assert np.array_equal(found.labels == 1, (blob()["cat"] >= 1).numpy())
    assert found.names == {0: "background", 1: "cat"}
    assert np.array_equal(found.resized((16, 16)).labels, found.labels)
    assert Threshold(word="cat", at=0.97)(blob()).labels.sum() < found.labels.sum()


def test_a_flat_map_has_no_mask():
    for value in (0.0, 0.3):
        assert not Threshold()(WordMaps(torch.full((1, 3, 4), value), ("cat",))).labels.any()


def test_several_words_need_a_choice():
    with pytest.raises(AttnProbeError, match="several words, so say which; allowed: cat, wall"):
        Threshold()(blob())
    with pytest.raises(AttnProbeError, match="no map of the word 'wal'; did you mean wall"):
        Threshold(word="wal")(blob())
