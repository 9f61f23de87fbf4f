import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Multiscale
from attnprobe.resample import nearest_cells


def random_field(grid: tuple[int, int], seed: int = 0) -> AttentionField:
    n = grid[0] * grid[1]
    logits = torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
    return AttentionField(logits.softmax(1), grid)


def plain(fields, weights):
    """The rule with explicit loops, in float64."""
    finest = max((f.grid for f in fields), key=lambda g: g[0] * g[1])
    height, width = finest
    total = np.zeros((height * width, height * width))
    for field, weight in zip(fields, weights, strict=True):
        h, w = field.grid
        maps = F.interpolate(field.rows.double().view(-1, 1, h, w), size=finest, mode="bilinear")
        maps = maps.flatten(1).numpy()
        maps /= maps.sum(1, keepdims=True)
        for y in range(height):
            for x in range(width):
                nearest = int((y + 0.5) * h / height) * w + int((x + 0.5) * w / width)
                total[y * width + x] += weight * maps[nearest]
    return total


@pytest.mark.parametrize(
    "grids",
    [[(8, 8), (4, 4), (2, 2)], [(6, 10), (3, 5)], [(7, 9), (4, 5), (2, 3)], [(1, 12), (1, 6)]],
)
def test_released_weights_on_any_grids(grids):
    fields = [random_field(grid, seed) for seed, grid in enumerate(grids)]
    sides = np.array([np.sqrt(h * w) for h, w in grids])
    field = Multiscale()(fields)
    assert field.grid == grids[0]
    np.testing.assert_allclose(field.rows, plain(fields, sides / sides.sum()), rtol=1e-5)
    np.testing.assert_allclose(field.rows.sum(1), 1, rtol=1e-5)


def test_layers_of_one_grid_are_averaged():
    first, second, coarse = random_field((4, 4), 1), random_field((4, 4), 2), random_field((2, 2))
    field = Multiscale()([coarse, first, second])
    mean = AttentionField((first.rows + second.rows) / 2, (4, 4))
    torch.testing.assert_close(field.rows, Multiscale()([mean, coarse]).rows)


def test_paper_weights_count_layers():
    fields = [random_field((4, 4), 1), random_field((4, 4), 2), random_field((2, 2), 3)]
    mean = AttentionField((fields[0].rows + fields[1].rows) / 2, (4, 4))
    expected = plain([mean, fields[2]], [8 / 10, 2 / 10])
    np.testing.assert_allclose(Multiscale(weights="paper")(fields).rows, expected, rtol=1e-5)


def test_paper_weights_of_stable_diffusion():
    counts = {(64, 64): 5, (32, 32): 5, (16, 16): 5, (8, 8): 1}
    by_grid = {grid: [torch.empty(0)] * count for grid, count in counts.items()}
    assert Multiscale(weights="paper")._weights(by_grid)[64, 64] == pytest.approx(320 / 568)
    released = Multiscale()._weights(by_grid)
    assert [round(w, 4) for w in released.values()] == [0.5333, 0.2667, 0.1333, 0.0667]


def test_nearest_cells_repeat_on_whole_ratios():
    expected = np.arange(6).reshape(2, 3).repeat(4, 0).repeat(4, 1).ravel()
    assert nearest_cells((2, 3), (8, 12)).tolist() == expected.tolist()


def test_one_layer_alone_is_itself():
    field = random_field((5, 4))
    torch.testing.assert_close(Multiscale()([field]).rows, field.rows)


def test_nothing_to_aggregate():
    with pytest.raises(AttnProbeError, match="at least one attention field"):
        Multiscale()([])


def test_unknown_weights():
    with pytest.raises(AttnProbeError, match=r"Multiscale\.weights"):
        Multiscale(weights="other")
