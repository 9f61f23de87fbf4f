import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttnProbeError, Layers, Pipeline, Probe, Segmentation
from attnprobe.aggregate import Multiscale
from attnprobe.data.scenes import make_scene
from attnprobe.errors import ImageError
from attnprobe.group import DiffSeg
from attnprobe.refine import KMeansRefiner


def pipeline(tiny, probe: Probe | None = None, **changes) -> Pipeline:
    group = changes.pop("group", DiffSeg(thresholds=(0.7, 0.7, 0.7)))
    return Pipeline(tiny, probe or Probe(), Multiscale(), group, **changes)


def photo(height: int, width: int) -> Image.Image:
    array = np.zeros((height, width, 3), np.uint8)
    array[:, : width // 2] = (200, 60, 30)
    array[height // 2 :, :, 2] = 180
    return Image.fromarray(array)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (90, 137), (427, 640), (128, 128)])
def test_labels_cover_the_whole_image_at_its_own_size(tiny, size):
    assert pipeline(tiny).segment(photo(*size)).labels.shape == size


def test_grids_need_not_be_square(tiny):
    fields = pipeline(tiny).fields(photo(100, 200))
    assert {f.grid for f in fields} == {(24, 44), (12, 22), (6, 11)}


def test_crop_labels_the_centre_square_and_says_so(tiny):
    cropped = pipeline(tiny, Probe(fit="crop"))
    assert cropped.segment(photo(90, 137)).labels.shape == (90, 90)
    assert (
        cropped.attention(photo(90, 137)).fitted.cut
        == "fit: crop cut 23 px left and 24 px right of 137×90"
    )


def test_all_ten_self_attention_layers_are_probed(tiny):
    fields = pipeline(tiny).fields(make_scene("test", 0).image)
    grids = [f.grid for f in fields]
    assert len(grids) == 10
    assert {(32, 32), (16, 16), (8, 8)} == set(grids)


def test_timesteps_are_averaged(tiny):
    image = make_scene("test", 0).image
    each = [pipeline(tiny, Probe(timesteps=(t,))).fields(image) for t in (100, 400)]
    both = pipeline(tiny, Probe(timesteps=(100, 400))).fields(image)
    for a, b, mean in zip(*each, both, strict=True):
        torch.testing.assert_close((a.rows + b.rows) / 2, mean.rows)


def test_the_same_image_gives_the_same_labels(tiny):
    image = make_scene("test", 1).image
    noisy = pipeline(tiny, Probe(noise=True), seed=3)
    assert np.array_equal(noisy.segment(image).labels, noisy.segment(image).labels)


def test_a_path_an_array_and_a_picture_are_one_image(tiny, tmp_path):
    array = make_scene("test", 2).image
    Image.fromarray(array).save(tmp_path / "scene.png")
    given = [array, Image.fromarray(array), tmp_path / "scene.png", str(tmp_path / "scene.png")]
    labels = [pipeline(tiny).segment(image).labels for image in given]
    assert all(np.array_equal(labels[0], other) for other in labels[1:])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros((4, 4), np.int64), "Got int64 \\(4, 4\\) instead"),
        (np.zeros((4, 4, 5), "u1"), "Got uint8 \\(4, 4, 5\\) instead"),
        (np.zeros(4, "u1"), "Got uint8 \\(4,\\) instead"),
        (np.zeros((0, 4, 3), "u1"), "without pixels"),
        (np.full((4, 4, 3), np.nan), "must be from 0 to 255. Got nan"),
        (np.full((4, 4), -1, np.int32), "must be from 0 to 65535. Got -1"),
        ([[1, 2]], "a path, a PIL image or a NumPy array. Got list"),
        (Image.new("RGB", (0, 4)), "the image given: a picture without pixels"),
        (Image.new("F", (4, 4), 300.0), "the image given: values in mode F must be from 0 to 255"),
    ],
)
def test_what_is_no_image(tiny, given, said):
    with pytest.raises(ImageError, match=said):
        pipeline(tiny).segment(given)


def test_cross_attention_alone_gives_no_field(tiny):
    with pytest.raises(AttnProbeError, match="no self- or joint-attention layer was captured"):
        pipeline(tiny, Probe(layers=Layers(kind="cross"))).segment(photo(64, 64))


def test_a_grouper_is_told_the_part_of_the_truth_that_is_seen(tiny):
    told = {}

    def group(field, *, rng, truth):
        told["truth"] = truth
        return Segmentation(np.zeros(field.grid, int))

    truth = np.arange(90 * 137).reshape(90, 137)
    pipeline(tiny, Probe(fit="crop"), group=group).segment(photo(90, 137), truth)
    assert np.array_equal(told["truth"], truth[:, 23:113])


def test_refiners_run_in_order_on_the_field(tiny):
    image = make_scene("test", 3).image
    refined = pipeline(tiny, refine=(KMeansRefiner(),)).segment(image)
    assert refined.labels.shape == (128, 128)
    assert refined.count <= pipeline(tiny).segment(image).count


def test_kmeans_refiner_settles_where_means_do_not_move(tiny):
    field = pipeline(tiny).field(make_scene("test", 3).image)
    first = DiffSeg(thresholds=(0.7, 0.7, 0.7))(field)
    once = KMeansRefiner()(first, field)
    means = once.proposals.flatten(1)
    nearest = torch.cdist(field.rows, means).argmin(1)
    again = torch.stack([field.rows[nearest == k].mean(0) for k in range(len(means))])
    assert (again - means).abs().max() < 1e-3 * means.max()


def test_a_truth_of_another_size_is_refused(tiny):
    """A larger one would be cut to the picture's size, and its labels lie elsewhere."""
    picture = make_scene("test", 0).image
    with pytest.raises(ImageError, match="labels must have their picture's size, 128×128"):
        pipeline(tiny).segment(picture, np.zeros((256, 256), int))
