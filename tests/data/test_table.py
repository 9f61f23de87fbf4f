import csv
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnprobe.data.table as table
from attnprobe.data.table import (
    Numbers,
    load_table,
    numbers_in_ranges,
    plain_labels,
    said_as_ranges,
)
from attnprobe.errors import ImageError

NAMES = {path.stem for path in (Path(table.__file__).parent / "tables").glob("*.csv")}

#: The published table of COCO-Stuff's 27 classes: number, name, fine ids.
COARSE = """\
0 electronic: 71–76
1 appliance: 77–82
2 food: 51–60
3 furniture: 61–70
4 indoor: 83–90
5 kitchen: 43–50
6 accessory: 25–32
7 animal: 15–24
8 outdoor: 9–14
9 person: 0
10 sports: 33–42
11 vehicle: 1–8
12 ceiling: 101 102
13 floor: 100 113–117
14 food: 120 121 152 169
15 furniture: 97 106 107 109 111 122 129 132 155 160 164
16 rawmaterial: 99 131 138 142
17 textile: 91 92 103 104 108 130 136 140 151 166 167
18 wall: 170–176
19 window: 179 180
20 building: 94 95 127 150 157 165
21 ground: 110 124 125 135 139 143 144 146 148 153 158
22 plant: 93 96 118 123 128 133 141 162 168
23 sky: 105 156
24 solid: 126 134 149 159 161 181
25 structural: 98 112 137 145 163
26 water: 119 147 154 177 178
"""


def test_coco_stuff_27_is_the_published_table():
    classes, numbers = load_table("coco-stuff-27")
    expected = {255: -1}
    for line in COARSE.splitlines():
        head, fine = line.split(": ")
        label, name = head.split()
        assert classes.names[int(label)] == name
        for part in fine.split():
            first, _, last = part.partition("–")
            for number in range(int(first), int(last or first) + 1):
                assert number not in expected
                expected[number] = int(label)
    assert len(classes) == 27
    assert sorted(expected) == [*range(182), 255]
    every = np.array([sorted(expected)])
    assert numbers.labels(every)[0].tolist() == [expected[n] for n in sorted(expected)]
    for number in (*range(182, 255), 256, -1):
        with pytest.raises(ImageError):
            numbers.labels(np.array([[number]]))


def test_cityscapes_as_its_own_scripts_number_it():
    train_ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    stored = np.array([[*range(34), 255]])
    labels = load_table("cityscapes-19")[1].labels(stored)[0].tolist()
    assert labels == [train_ids.index(i) if i in train_ids else -1 for i in stored[0]]
    labels = load_table("cityscapes-27")[1].labels(stored)[0].tolist()
    assert labels == [-1] * 7 + list(range(27)) + [-1]
    names, colours = load_table("cityscapes-19")[0].names, load_table("cityscapes-19")[0].colours
    wide = load_table("cityscapes-27")[0]
    for name, colour, number in zip(names, colours, train_ids, strict=True):
        assert wide.names[number - 7] == name
        assert wide.colours[number - 7].tolist() == colour.tolist()


def test_voc_s_colours_are_the_bits_of_the_numbers():
    for label, colour in enumerate(load_table("pascal-voc")[0].colours.tolist()):
        assert colour == [
            sum((label >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
            for channel in range(3)
        ]


def test_coco_object_and_coco_stuff_171_agree_on_things():
    stuff, stuff_numbers = load_table("coco-stuff-171")
    objects, object_numbers = load_table("coco-object", background=False)
    assert objects.names == stuff.names[:80]
    used = np.array([[n for n in range(182) if stuff_numbers.lookup[n] >= 0]])
    assert used.size == 171
    things = stuff_numbers.labels(used)
    assert object_numbers.labels(used).tolist() == np.where(things < 80, things, -1).tolist()
    coarse = load_table("coco-stuff-27")[1].labels(used)
    assert ((coarse < 12) == (things < 80)).all()


def test_context_goes_by_name():
    classes, numbers = load_table("pascal-context", background=False)
    assert list(classes.names) == sorted(classes.names)
    labels = numbers.labels(np.arange(460)[None])[0]
    assert labels[labels >= 0].tolist() == list(range(59))


def test_ade20k_is_shifted_by_one():
    assert load_table("ade20k")[1].labels(np.arange(151)[None])[0].tolist() == [*range(-1, 150)]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_table(name):
    text = (Path(table.__file__).parent / "tables" / f"{name}.csv").read_text(encoding="utf-8")
    assert text.startswith("# ")
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    stored = [number for row in rows for number in numbers_in_ranges(row["numbers"])]
    assert len(stored) == len(set(stored))
    assert all(row["name"] == row["name"].strip() != "" for row in rows)
    classes, numbers = load_table(name)
    assert sorted({*numbers.labels(np.array([stored]))[0].tolist(), -1}) == [
        *range(-1, len(classes))
    ]
    assert name == "coco-stuff-27" or len(set(classes.names)) == len(classes)
    if name == "coco-stuff-27":
        assert classes.colours is None
    else:
        assert classes.colours.dtype == np.uint8
        assert not classes.colours.flags.writeable


def test_the_tables_are_those_of_the_sources():
    assert {name.rpartition("-")[0] or name for name in NAMES} == {
        "coco-stuff", "coco", "cityscapes", "pascal", "ade20k", "camvid"
    }  # fmt: skip
    assert len(NAMES) == 9


@settings(deadline=None)
@given(st.sets(st.integers(0, 600), min_size=1))
def test_ranges_there_and_back(numbers):
    said = said_as_ranges(np.array(sorted(numbers)))
    assert list(numbers_in_ranges(said)) == sorted(numbers)
    parts = [part.split("-") for part in said.split()]
    assert all(int(b[0]) - int(a[-1]) > 1 for a, b in pairwise(parts))


@settings(deadline=None)
@given(
    st.lists(st.integers(-2, 5), min_size=1, max_size=12),
    st.lists(st.integers(-3, 15), min_size=1, max_size=20),
)
def test_numbers_against_one_by_one(lookup, stored):
    lookup = [*lookup, 0]
    numbers = Numbers(np.array(lookup, np.int32))
    expected = [lookup[n] if 0 <= n < len(lookup) else -2 for n in stored]
    if -2 not in expected:
        assert numbers.labels(np.array([stored])).tolist() == [expected]
        return
    with pytest.raises(ImageError) as caught:
        numbers.labels(np.array([stored]))
    wrong = [n for n, label in zip(stored, expected, strict=True) if label == -2]
    assert str(caught.value).endswith(
        f"Got {wrong[0]} instead, at {len(wrong)} of {len(stored)} pixels."
    )


@settings(deadline=None)
@given(st.integers(1, 300), st.lists(st.integers(0, 400), min_size=1), st.booleans())
def test_plain_labels(count, stored, void):
    """65535 is void in a file of 16 bits, and 255 of it is a number as any other."""
    array = np.array([stored + [65535] * void], np.uint16)
    expected = stored + [-1] * void
    assert plain_labels(None)(array).tolist() == [expected]
    if max(expected) < count:
        assert plain_labels(count)(array).tolist() == [expected]
    else:
        with pytest.raises(ImageError, match="labels must be among 0"):
            plain_labels(count)(array)


@settings(deadline=None)
@given(st.integers(1, 300), st.lists(st.integers(0, 255), min_size=1))
def test_plain_labels_of_8_bits(count, stored):
    array = np.array([stored], np.uint8)
    expected = [-1 if number == 255 else number for number in stored]
    assert plain_labels(None)(array).tolist() == [expected]
    if max(expected) < count:
        assert plain_labels(count)(array).tolist() == [expected]
    else:
        with pytest.raises(ImageError, match="labels must be among 0"):
            plain_labels(count)(array)
