from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import PROTOCOLS, Protocol
from attnprobe.evaluate.protocol import ProtocolName, nearest
from attnprobe.models.fit import fit_image


def test_named_protocols():
    assert set(PROTOCOLS) == set(get_args(ProtocolName))
    released = PROTOCOLS["released"]
    assert (released.match, released.crop, released.size) == ("per-image", "centre-square", 512)
    assert str(released) == "released: match per-image, centre square, 512×512"
    assert str(PROTOCOLS["diffcut-voc"]) == (
        "diffcut-voc: match foreground (background 0), centre square, 128×128"
    )
    assert [Protocol(**protocol.to_dict()) for protocol in PROTOCOLS.values()] == [
        *PROTOCOLS.values()
    ]


@given(st.integers(1, 900), st.integers(1, 900))
def test_the_square_scored_is_the_one_a_model_is_shown(height, width):
    image = height, width
    assert PROTOCOLS["released"].box(image) == fit_image(image, 64, "crop", 8).box
    assert PROTOCOLS["whole"].box(image) == (0, 0, width, height)


@pytest.mark.parametrize("size", [512, 128])
@pytest.mark.parametrize("shape", [(1, 1), (427, 427), (512, 512), (333, 640), (1024, 1024)])
def test_labels_are_resized_as_torch_does(shape, size):
    labels = np.random.default_rng(0).integers(-1, 27, shape)
    given = torch.from_numpy(labels)[None, None].double()
    theirs = F.interpolate(given, (size, size), mode="nearest-exact")[0, 0]
    protocol = Protocol("p", size=size)
    assert np.array_equal(protocol.resized(labels), theirs.numpy())
    assert PROTOCOLS["whole"].resized(labels) is labels


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_nearest_takes_the_pixel_under_the_centre(height, width, size):
    labels = np.arange(height * width).reshape(height, width)
    found = nearest(labels, (size, 2 * size))
    for y, x in np.ndindex(size, 2 * size):
        row, column = Fraction(2 * y + 1, 2) * height / size, Fraction(2 * x + 1, 4) * width / size
        assert found[y, x] == labels[int(row), int(column)]


@pytest.mark.parametrize(
    "settings",
    [
        {"match": "foreground"},
        {"match": "per-image", "background": 0},
        {"match": "hungarian"},
        {"size": 0},
        {"crop": "left"},
    ],
)
def test_bad_protocols(settings):
    with pytest.raises(AttnProbeError):
        Protocol("mine", **settings)
