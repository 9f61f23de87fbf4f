"""Each format is read back by the program that it is for, or by its definition, to the pixel."""

import json

import numpy as np
import pytest
import supervision
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from scipy.ndimage import binary_fill_holes, label

from attnprobe import Segmentation
from attnprobe.errors import AttnProbeError
from attnprobe.export.coco import coco, panoptic, run_lengths
from attnprobe.export.labelled import Categories, Labelled
from attnprobe.export.labelstudio import brush, labelstudio
from attnprobe.export.outline import outlines
from attnprobe.export.plain import arrays as npy
from attnprobe.export.plain import voc, voc_colours, yolo
from attnprobe.pictures.masks import compressed, masks_of
from attnprobe.pictures.masks import run_lengths as lengths_of

masks = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def images(count=3):
    """Labels of rectangles over each other, some cut in two, and pictures of their size."""
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        labels = np.zeros((40 + seed, 60), int)
        for number in range(1, 7):
            y, x = rng.integers(0, 30), rng.integers(0, 45)
            labels[y : y + rng.integers(3, 20), x : x + rng.integers(3, 25)] = number
        picture = Image.fromarray(rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8))
        found.append(Labelled(f"photo-{seed}", labels, picture))
    return found


def areas(labels):
    numbers, counts = np.unique(labels, return_counts=True)
    return dict(zip(numbers.tolist(), counts.tolist(), strict=True))


@given(masks)
@settings(max_examples=300, deadline=None)
def test_run_lengths_are_pycocotools_own(bits):
    wanted = coco_mask.encode(np.asfortranarray(bits.astype(np.uint8)))
    assert compressed(lengths_of(bits)) == wanted["counts"].decode()


def test_long_run_lengths_too():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        bits = np.repeat(np.repeat(rng.random((9, 7)) < 0.5, 67, 0), 91, 1)
        wanted = coco_mask.encode(np.asfortranarray(bits.astype(np.uint8)))
        assert compressed(lengths_of(bits)) == wanted["counts"].decode()


def test_pycocotools_reads_equal_masks(tmp_path, capsys):
    given = images()
    coco(given, tmp_path)
    read = COCO(tmp_path / "annotations.json")
    assert len(read.imgs) == len(given)
    for image, about in zip(given, read.imgs.values(), strict=True):
        assert (about["height"], about["width"]) == image.labels.shape
        assert np.array_equal(Image.open(tmp_path / "images" / about["file_name"]), image.picture)
        found = read.loadAnns(read.getAnnIds(about["id"]))
        assert {each["segment"]: each["area"] for each in found} == areas(image.labels)
        for each in found:
            bits = read.annToMask(each).astype(bool)
            assert np.array_equal(bits, image.labels == each["segment"])
            assert each["area"] == coco_mask.area(read.annToRLE(each)) == bits.sum()
            assert each["bbox"] == coco_mask.toBbox(read.annToRLE(each)).tolist()


def test_supervision_reads_equal_masks(tmp_path):
    given = images()
    coco(given, tmp_path)
    data = supervision.DetectionDataset.from_coco(
        str(tmp_path / "images"), str(tmp_path / "annotations.json"), force_masks=True
    )
    assert data.classes == ["segment"]
    for image, (_, _, found) in zip(given, data, strict=True):
        numbers = np.unique(image.labels)
        assert np.array_equal(found.mask, [image.labels == number for number in numbers])
        assert found.area.tolist() == list(areas(image.labels).values())


def test_panoptic_ids_are_the_segments(tmp_path):
    given = images()
    given[0].labels[given[0].labels == 3] = 70_000  # three bytes of colour
    panoptic(given, tmp_path)
    data = json.loads((tmp_path / "panoptic.json").read_text())
    for image, about in zip(given, data["annotations"], strict=True):
        colours = np.asarray(Image.open(tmp_path / "panoptic" / about["file_name"])).astype(int)
        ids = colours @ (1, 256, 65536)
        assert np.array_equal(ids, image.labels + 1)
        assert {s["id"]: s["area"] for s in about["segments_info"]} == areas(ids)


def test_masks_of_an_image_in_a_file(tmp_path):
    given = images()
    run_lengths(given, tmp_path)
    for image in given:
        data = json.loads((tmp_path / f"{image.name}.json").read_text())
        assert (data["image"]["height"], data["image"]["width"]) == image.labels.shape
        for mask in data["annotations"]:
            bits = coco_mask.decode(mask["segmentation"]).astype(bool)
            assert np.array_equal(bits, image.labels == mask["id"])


def test_arrays(tmp_path):
    given = images()
    npy(given, tmp_path)
    for image in given:
        read = np.load(tmp_path / f"{image.name}.npy")
        assert read.dtype == np.int32
        assert np.array_equal(read, image.labels)


def test_voc(tmp_path):
    given = images()
    voc(given, tmp_path)
    listed = (tmp_path / "ImageSets/Segmentation/all.txt").read_text().split()
    assert listed == [image.name for image in given]
    for image in given:
        with Image.open(tmp_path / "SegmentationClass" / f"{image.name}.png") as read:
            assert read.mode == "P"
            assert np.array_equal(read, image.labels + 1)
            assert np.array_equal(read.convert("RGB"), voc_colours()[image.labels + 1])
    wanted = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert list(map(tuple, voc_colours()[:5])) == wanted
    assert tuple(voc_colours()[255]) == (224, 224, 192)
    large = Labelled("large", np.full((2, 2), 254), Image.new("RGB", (2, 2)))
    with pytest.raises(AttnProbeError, match="large: voc has numbers up to 253"):
        voc([large], tmp_path / "more")


def unpacked(data):
    """Label Studio's own reading: thi.ng's rle-pack, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def read(size):
        nonlocal at
        at += size
        return int(bits[at - size : at], 2)

    count, size = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = []
    while len(out) < count:
        run, length = read(1), read(sizes[read(2)]) + 1
        out += [read(size)] * length if run else [read(size) for _ in range(length)]
    assert len(bits) - at < 8
    return np.array(out)


@given(masks)
@settings(max_examples=100, deadline=None)
def test_brushes_are_read_back(bits):
    found = unpacked(brush(bits)).reshape(*bits.shape, 4)
    assert np.array_equal(found, np.repeat(bits[..., None], 4, 2) * 255)


def test_brushes_of_more_than_a_run_s_length():
    bits = np.zeros((300, 400), bool)
    bits[100:] = True
    assert np.array_equal(unpacked(brush(bits)).reshape(300, 400, 4)[..., 3] > 0, bits)


def test_label_studio_s_tasks(tmp_path):
    given = images()
    labelstudio(given, tmp_path)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    config = (tmp_path / "config.xml").read_text()
    for image, task in zip(given, tasks, strict=True):
        place = task["data"]["image"].removeprefix("/data/local-files/?d=")
        assert (tmp_path / place).is_file()
        for result, mask in zip(
            task["predictions"][0]["result"], masks_of(image.labels), strict=True
        ):
            (said,) = result["value"]["brushlabels"]
            assert f'<Label value="{said}"/>' in config
            size = result["original_height"], result["original_width"]
            found = unpacked(result["value"]["rle"]).reshape(*size, 4)[..., 3] > 0
            assert np.array_equal(found, mask.bits)


@given(masks)
@settings(max_examples=300, deadline=None)
def test_outlines_are_the_parts_with_their_holes_filled(bits):
    parts, count = label(bits)
    found = outlines(bits)
    assert len(found) == count
    for polygon in found:
        assert len(polygon) >= 3
        x, y = polygon[0]
        part = parts == parts[y, x]
        assert all(part[tuple(point[::-1])] for point in polygon)
        # Along the line from one point to the next only pixels of the part are met.
        for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
            steps = max(abs(x1 - x0), abs(y1 - y0), 1)
            assert {int(abs(x1 - x0)), int(abs(y1 - y0))} <= {0, steps}
            xs, ys = (np.linspace(a, b, steps + 1) for a, b in ((x0, x1), (y0, y1)))
            assert part[ys.astype(int), xs.astype(int)].all()
        rows = {int(y) for _, y in polygon}
        assert (min(rows), max(rows)) == tuple(np.flatnonzero(part.any(1))[[0, -1]])


def test_supervision_reads_yolo_s_polygons(tmp_path):
    given = images()
    yolo(given, tmp_path)
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), True
    )
    assert data.classes == ["segment"]
    for image, (_, _, found) in zip(given, data, strict=True):
        wanted = []
        for mask in masks_of(image.labels):
            parts, count = label(mask.bits)
            wanted += [binary_fill_holes(parts == part + 1) for part in range(count)]
        assert sorted(bits.sum() for bits in found.mask) == sorted(bits.sum() for bits in wanted)
        # Drawn one over the other, the largest first, they are the parts of segments again.
        drawn = np.full(image.labels.shape, -1)
        for index, bits in enumerate(found.mask):
            drawn[bits] = index
        seen = {
            (index, number) for index, number in zip(drawn.flat, image.labels.flat, strict=True)
        }
        assert len(seen) == len(found.mask) == len({index for index, _ in seen})


def test_to_supervision():
    labels = images(1)[0].labels * 10
    found = Segmentation(labels, names={0: "sky"}).to_supervision()
    assert found.class_id.tolist() == np.unique(labels).tolist()
    assert np.array_equal(found.mask, [labels == number for number in np.unique(labels)])
    assert found.area.tolist() == list(areas(labels).values())
    assert found["class_name"][:2].tolist() == ["sky", f"segment {np.unique(labels)[1]}"]
    box = supervision.mask_to_xyxy(found.mask)
    assert np.array_equal(found.xyxy, box)


def test_a_segment_that_is_called_segment_is_no_nameless_one():
    image = Labelled("a", np.array([[0, 1, 2]]), names={1: "segment", 2: "cat"})
    categories = Categories()
    assert [categories.of(image, number) for number in (0, 1, 2, 1, 0)] == [0, 1, 2, 1, 0]
    assert categories.names == ["segment", "segment", "cat"]
