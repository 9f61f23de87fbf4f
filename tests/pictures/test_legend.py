"""Names beside their colours, and in the picture where they have most room."""

import numpy as np
from PIL import Image

from attnprobe import Segmentation
from attnprobe.pictures.legend import legend, write_names
from attnprobe.pictures.overlay import overlay

LABELS = np.zeros((60, 90), int)
LABELS[:, 60:] = 4
LABELS[:20, :10] = 9


def test_the_lines_are_by_area_with_the_overlay_s_colours():
    lines = legend(LABELS, {4: "dog", 9: "cat", 77: "nowhere"})
    assert [(line.number, line.name) for line in lines] == [(0, None), (4, "dog"), (9, "cat")]
    assert [line.share for line in lines] == [3400 / 5400, 1800 / 5400, 200 / 5400]
    opaque = np.asarray(overlay(Image.new("RGB", (90, 60)), LABELS, alpha=1))
    inside = [opaque[40, 30], opaque[30, 80], opaque[5, 3]]
    assert [line.colour for line in lines] == [f"#{bytes(each).hex()}" for each in inside]


def test_names_stand_in_their_segments():
    picture = Image.new("RGB", (90, 60), "red")
    written = np.asarray(write_names(picture, LABELS, {4: "dog"}))
    changed = (written != np.asarray(picture)).any(2)
    assert changed.any()
    assert (LABELS[changed] == 4).mean() > 0.9
    assert (written[changed] > 200).all(1).any()
    assert np.asarray(picture).max() == 255  # the one given stays as it was


def test_a_name_wider_than_its_segment_stays_in_the_picture():
    written = write_names(Image.new("RGB", (90, 60)), LABELS, {9: "a long name"})
    changed = np.asarray(written).any(2)
    assert changed[:, :80].any()
    assert written.size == (90, 60)


def test_an_overlay_has_names_and_one_without_is_as_before():
    picture = Image.new("RGB", (90, 60), "grey")
    bare, named = Segmentation(LABELS), Segmentation(LABELS, names={0: "sky"})
    assert np.array_equal(bare.overlay(picture), overlay(picture, LABELS))
    assert not np.array_equal(named.overlay(picture), overlay(picture, LABELS))
