import numpy as np
import pytest
import torch
import torch.nn.functional as F

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Multiscale
from attnprobe.aggregate.multiscale import _means
from attnprobe.resample import nearest_cells, upsampled_bands


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


GRIDS = [(24, 44), (12, 22), (6, 11)]
"""Of sides 32.5, 16.2 and 8.1, as a wide picture gives at size 128."""


@pytest.mark.parametrize("turned", [False, True])
def test_given_weights_mean_sides_whatever_the_shape(turned):
    grids = [grid[::-1] if turned else grid for grid in GRIDS]
    by_grid = {grid: [torch.empty(0)] for grid in grids}
    weights = Multiscale(weights={32: 2, 16: 1, 8: 1})._weights(by_grid)
    assert weights == dict(zip(grids, (0.5, 0.25, 0.25), strict=True))


def test_given_weights():
    fields = [random_field(grid, seed) for seed, grid in enumerate([(6, 10), (3, 5)])]
    field = Multiscale(weights={8: 3, 4: 1})(fields)
    np.testing.assert_allclose(field.rows, plain(fields, [0.75, 0.25]), rtol=1e-5)


def test_of_two_weights_that_could_be_meant_the_nearer_side_counts():
    by_grid = {(7, 7): [torch.empty(0)], (4, 4): [torch.empty(0)]}
    weights = Multiscale(weights={5: 1, 8: 3, 4: 5})._weights(by_grid)
    assert weights == {(7, 7): 3 / 8, (4, 4): 5 / 8}


def test_only_the_chosen_grids_are_used():
    fields = [random_field(grid, seed) for seed, grid in enumerate([(8, 8), (4, 4), (2, 2)])]
    chosen = Multiscale(grids=(4, 2))(fields)
    assert chosen.grid == (4, 4)
    torch.testing.assert_close(chosen.rows, Multiscale()(fields[1:]).rows)


def test_every_grid_is_meant_by_one_of_its_powers_of_two():
    for height in range(1, 40):
        for width in range(1, 40):
            means = [side for side in (1, 2, 4, 8, 16, 32, 64) if _means(side, (height, width))]
            assert len(means) == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"grids": (64, 4)}, r"grids: no layer has a grid of side 64; the layers' are 8×8, 4×4\."),
        ({"weights": {8: 1}}, r"weights: no weight is given for the layers of grid 4×4, side 4\."),
    ],
)
def test_sides_that_are_not_there(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        Multiscale(**parameters)([random_field((8, 8)), random_field((4, 4))])


def test_nearest_cells_repeat_on_whole_ratios():
    expected = np.arange(6).reshape(2, 3).repeat(4, 0).repeat(4, 1).ravel()
    assert nearest_cells((2, 3), (8, 12)).tolist() == expected.tolist()


def test_one_layer_alone_is_itself():
    field = random_field((5, 4))
    torch.testing.assert_close(Multiscale()([field]).rows, field.rows)


def test_nothing_to_aggregate():
    with pytest.raises(AttnProbeError, match="at least one attention field"):
        Multiscale()([])


@pytest.mark.parametrize("weights", ["other", {}, {0: 1}, {8: 0}, {8: -1.0}])
def test_unknown_weights(weights):
    with pytest.raises(AttnProbeError, match=r"Multiscale\.weights"):
        Multiscale(weights=weights)


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (40, 13), (2, 3)])
@pytest.mark.parametrize("elements", [1, 100, 1 << 20])
def test_bands_are_one_interpolation(size, elements):
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(maps[None], size=size, mode="bilinear")[0]
    parts = list(upsampled_bands(maps, size, elements))
    assert [row for rows, _ in parts for row in range(rows.start, rows.stop)] == [*range(size[0])]
    torch.testing.assert_close(torch.cat([part for _, part in parts], 1), whole)
