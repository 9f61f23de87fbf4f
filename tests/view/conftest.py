import numpy as np
import pytest


@pytest.fixture
def voronoi():
    """Labels (height, width) of the nearest of some random points."""

    def cells(height, width, count, seed=0):
        rng = np.random.default_rng(seed)
        points = rng.random((count, 2)) * (height, width)
        y, x = np.mgrid[:height, :width]
        distances = [(y - py) ** 2 + (x - px) ** 2 for py, px in points]
        return np.argmin(distances, axis=0).astype(np.int32)

    return cells
