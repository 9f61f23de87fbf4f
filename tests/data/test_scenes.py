import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from attnprobe import AttnProbeError
from attnprobe.data.scenes import SMALLEST, Scenes, make_scene
from attnprobe.data.textures import Dice, fractal_noise

STYLES = ("as-is", "sketch", "paint", "photo")


DIGEST = "d2ef585aa0ed225f7eb3fc507e8e2c621ea16b0eb9880eea6142750a872b60e2"


def digest_of_scenes() -> str:
    digest = hashlib.sha256()
    for style in STYLES:
        for number in range(8):
            scene = make_scene("test", number, style)
            digest.update(scene.image.tobytes())
            digest.update(scene.labels.astype("<i4").tobytes())
            digest.update(scene.caption.encode())
    return digest.hexdigest()


def test_scenes_are_the_same_bits_on_every_machine():
    assert digest_of_scenes() == DIGEST


def test_scenes_are_the_same_bits_on_a_plainer_processor():
    """NumPy told to leave out what this processor has beyond the plainest it is built for."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    extra = [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]
    program = "from tests.data.test_scenes import digest_of_scenes; print(digest_of_scenes())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": " ".join(extra)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == DIGEST


@pytest.mark.parametrize("number", range(60))
def test_masks_of_photo_like_scenes_are_whole_and_named(number):
    scene = make_scene("validation", number, "photo")
    counts = np.bincount(scene.labels.ravel())
    assert len(counts) == len(scene.names) >= 2
    assert counts.min() >= SMALLEST
    assert scene.image.shape == (128, 128, 3)
    assert scene.image.dtype == np.uint8
    for name in set(scene.names) - {"sky"}:
        assert scene.caption.count(f" {name}") >= scene.names.count(name)


def test_photo_like_scenes_have_a_natural_spectrum():
    """Power falls about as f^-2.7, as in crops of photographs of this size."""
    power = np.zeros(64)
    for number in range(60):
        grey = make_scene("validation", number, "photo").image.mean(2)
        window = np.outer(*[np.hanning(128)] * 2)
        spectrum = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        power += spectrum[:64, 0] + spectrum[0, :64]
    bands = np.arange(2, 33)
    slope = np.polyfit(np.log(bands), np.log(power[2:33]), 1)[0]
    assert -3.3 < slope < -2.4


@pytest.mark.parametrize("number", range(40))
def test_masks_are_whole_and_objects_are_seen(number):
    scene = make_scene("validation", number)
    counts = np.bincount(scene.labels.ravel())
    assert 3 <= len(counts) <= 7
    assert counts.min() >= SMALLEST
    assert len(scene.names) == len(counts)
    assert scene.image.shape == (128, 128, 3)
    assert scene.image.dtype == np.uint8


def test_splits_never_meet():
    pictures = {
        make_scene(split, number).image.tobytes()
        for split in ("train", "validation", "test")
        for number in range(30)
    }
    assert len(pictures) == 90


@pytest.mark.parametrize("style", ["as-is", "sketch", "paint"])
def test_a_style_changes_only_the_picture(style):
    plain, styled = make_scene("test", 3), make_scene("test", 3, style)
    assert np.array_equal(plain.labels, styled.labels)
    assert styled.names == plain.names
    assert np.array_equal(plain.image, styled.image) == (style == "as-is")


def test_captions_name_every_object():
    scene = make_scene("test", 0)
    for name in scene.names:
        assert f" {name}" in scene.caption


def test_objects_share_colours():
    """Colour alone does not tell objects apart: in most scenes two have one name for theirs."""
    shared = 0
    for number in range(50):
        things = make_scene("test", number).caption.split(" on ")[0]
        colours = [thing.split()[1] for thing in things.replace(" and ", ", ").split(", ")]
        shared += len(set(colours)) < len(colours)
    assert shared > 25


def test_dice_directions_are_unit_and_all_around():
    dice = Dice(1)
    directions = np.array([dice.direction() for _ in range(4000)])
    np.testing.assert_allclose((directions**2).sum(1), 1, rtol=1e-12)
    angles = np.arctan2(directions[:, 1], directions[:, 0])
    counts, _ = np.histogram(angles, 16, (-np.pi, np.pi))
    assert counts.min() > 190
    assert counts.max() < 320


def test_dice_choices():
    dice = Dice(5)
    assert {dice.below(3) for _ in range(100)} == {0, 1, 2}
    assert sorted(dice.some_of("abcd", 4)) == list("abcd")
    assert 0.2 < np.mean([dice.chance(0.3) for _ in range(2000)]) < 0.4


def test_fractal_noise_has_a_falling_spectrum():
    spectra = []
    for seed in range(8):
        noise = fractal_noise(Dice(seed), 128)
        spectra.append(np.abs(np.fft.fft2(noise - noise.mean()))[:, 0])
    spectrum = np.mean(spectra, 0)
    bands = [spectrum[f : 2 * f].mean() for f in (4, 8, 16, 32)]
    assert bands == sorted(bands, reverse=True)


def test_the_source_lists_samples_with_truth():
    samples = Scenes(count=3, start=5, style="paint")()
    assert [s.name for s in samples] == [f"scene-test-{n:04d}-paint" for n in (5, 6, 7)]
    scene = make_scene("test", 6, "paint")
    assert np.array_equal(np.asarray(samples[1].read()), scene.image)
    assert np.array_equal(samples[1].truth(), scene.labels)


@pytest.mark.parametrize("given", [{"count": 0}, {"start": -1}, {"split": "all"}, {"style": "oil"}])
def test_bad_parameters(given):
    with pytest.raises(AttnProbeError, match=f"Scenes.{next(iter(given))}"):
        Scenes(**given)
