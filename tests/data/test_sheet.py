import numpy as np
import pytest
from PIL import Image

from attnprobe.data.base import Classes, Sample, no_truth
from attnprobe.data.sheet import save_sheet, sheet
from attnprobe.data.table import load_table
from attnprobe.errors import AttnProbeError, ImageError
from attnprobe.pictures.palette import palette

WHITE = Image.new("RGB", (400, 300), "white")


def halves(left, right):
    labels = np.full((300, 400), left, np.int32)
    labels[:, 200:] = right
    return labels


def colours(image):
    return {colour for _, colour in image.getcolors(1 << 20)}


def test_colours_are_the_dataset_s_own_over_the_picture_and_in_the_legend():
    classes, _ = load_table("cityscapes-19")
    image = sheet({"street": (WHITE, halves(0, 10))}, classes)
    assert image.width == 400 + 2 * 12
    for label in (0, 10):
        own = classes.colours[label]
        assert tuple(own) in colours(image)
        mixed = tuple((0.4 * 255 + 0.6 * own + 0.5).astype(int))
        assert (np.asarray(image) == mixed).all(-1).sum() == 200 * 300
    others = {tuple(c) for c in classes.colours[[1, 3, 6, 7, 8, 9, 11, 18]]}  # text is grey
    assert not others & colours(image)


def test_without_colours_of_their_own_classes_have_the_palette_s():
    for classes in (None, Classes(("a", "b", "c"))):
        image = sheet({"x": (WHITE, halves(0, 2))}, classes)
        assert {tuple(palette()[0]), tuple(palette()[2])} <= colours(image)
        assert tuple(palette()[1]) not in colours(image)


def test_void_is_washed_grey_and_pictures_without_truth_stay_as_they_are():
    image = sheet({"x": (WHITE, halves(-1, -1)), "y": (WHITE, None)}, None)
    first, second = (image.crop((left, 27, left + 400, 327)) for left in (12, 424))
    assert first.getcolors() == [(400 * 300, (179, 179, 179))]  # 0.4 · 255 + 0.6 · 128
    assert second.getcolors() == [(400 * 300, (255, 255, 255))]
    legend = image.crop((0, 327, *image.size))
    assert dict(map(reversed, legend.getcolors(1 << 20)))[128, 128, 128] > 100
    plain = sheet({"y": (WHITE, None)}, None)
    assert colours(plain) <= {(v, v, v) for v in range(256)}


def test_labels_stay_where_they_are_in_pictures_of_any_shape():
    for height, width in ((7, 1000), (1000, 7), (1, 1), (299, 401)):
        labels = np.zeros((height, width), np.int32)
        labels[height // 2 :] = 1
        image = sheet({"x": (Image.new("RGB", (width, height)), labels)}, None)
        tints = [tuple((0.6 * c + 0.5).astype(int)) for c in palette()[:2]]
        rows = [np.flatnonzero((np.asarray(image) == tint).all(-1).any(1)) for tint in tints]
        if height > 1:
            assert rows[0].max() < rows[1].min()
            assert abs(len(rows[0]) / (len(rows[0]) + len(rows[1])) - 0.5) < 0.2


def test_many_classes_and_a_long_name_stay_on_the_sheet():
    labels = np.arange(300 * 400).reshape(300, 400).astype(np.int32) % 150
    image = sheet({"n" * 500: (WHITE, labels)}, load_table("ade20k")[0])
    assert image.width == 424
    edge = np.asarray(image)
    assert (edge[:, -3:] == 255).all()
    assert (edge[-3:] == 255).all()
    assert {tuple(colour) for colour in load_table("ade20k")[0].colours} <= colours(image)


def sample(name, fails=False):
    def read():
        if fails:
            raise ImageError(f"{name}: broken")
        return WHITE

    return Sample(name, read, no_truth, name)


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "0"), (2, "01"), (3, "012"), (9, "048")]
)  # the first, the middle and the last
def test_which_are_shown(tmp_path, count, shown):
    samples = [sample(str(i)) for i in range(count)]
    assert save_sheet(samples, None, tmp_path / "x.png") == (list(shown), [])
    assert Image.open(tmp_path / "x.png").width == len(shown) * 412 + 12


def test_those_that_fail_are_told_and_the_others_shown(tmp_path):
    samples = [sample("a"), sample("b", fails=True), sample("c")]
    shown, faults = save_sheet(samples, None, tmp_path / "x.png")
    assert shown == ["a", "c"]
    assert [str(fault) for fault in faults] == ["b: broken"]
    shown, faults = save_sheet([sample("b", fails=True)], None, tmp_path / "y.png")
    assert shown == []
    assert len(faults) == 1
    assert not (tmp_path / "y.png").exists()
    with pytest.raises(AttnProbeError, match="can't be written"):
        save_sheet(samples, None, tmp_path / "none" / "x.png")
