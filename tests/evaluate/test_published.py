"""The published figures, against the papers' tables as typed here."""

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnprobe import registry
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import PROTOCOLS
from attnprobe.evaluate.published import FILE, Conditions, published, read
from tests.damage import examples

COCO_STUFF = """
IIC 21.8/6.7 · MDC 32.3/9.8 · PiCIE 48.1/13.8 · PiCIE+H 50.0/14.4 · STEGO 56.9/28.2 ·
ACSeg –/28.1 · MaskCLIP 32.2/19.6 · ReCo 46.1/26.3 · K-Means-C 58.9/33.7 · K-Means-S 62.6/34.7 ·
DiffSeg (320) 72.5/43.0 · DiffSeg (512) 72.5/43.6
"""
"""ACC / mIoU."""

SIX = ("coco-stuff-27", "cityscapes-27", "pascal-voc", "pascal-context", "coco-object", "ade20k")

LATER = """
MaskCut (k = 5)                | 41.7  18.7
AutoSC                         | 46.9  25.3
DiffCut (SSD-1B)               | 46.1  28.4  62.0  54.1  32.0  42.4
DiffCut (SSD-1B, PAMR)         | 49.1  30.6  65.2  56.5  34.1  44.3
DiffCut (SD1.4, PAMR)          | 45.2
DiffSeg (SD1.5, re-run)        | 44.2  16.8  49.8  48.8  23.2  37.7
Seg4Diff (SD3)                 | 49.7  24.2  54.9  52.6  38.5  44.9
Seg4Diff (SD3.5)               | 47.1  24.2  52.3  52.9  36.8  41.5
AutoSC (SSD-1B, PAMR, re-run)  | 49.39 25.72 77.57 57.27 61.56 40.10
DiffCut (SSD-1B, PAMR, re-run) | 49.18 30.77 71.68 58.17 61.65 44.40
Falcon (SSD-1B, PAMR)          | 50.37 33.69 78.40 57.15 61.80 45.17
"""
"""mIoU on the six, as far as it is given."""


def typed(table):
    rows = re.findall(r"([^·\n/]+) ([\d.]+|–)/([\d.]+)", table)
    return {
        name.strip(): (None if one == "–" else float(one), float(other))
        for name, one, other in rows
    }


def test_the_tables_are_as_published():
    rows = [line.split("|") for line in LATER.strip().splitlines()]
    given = {(name, SIX[0]): figures for name, figures in typed(COCO_STUFF).items()}
    for name, figures in rows:
        pairs = zip(SIX, figures.split(), strict=False)
        given |= {(name.strip(), dataset): (None, float(miou)) for dataset, miou in pairs}
    assert {(f.method, f.dataset): (f.acc, f.miou) for f in published().figures} == given


def test_the_figures_of_falcon_are_as_far_over_diffcut_as_its_abstract_says():
    """+13.2 on VOC, +27.7 on COCO-Object and +3.1 on Cityscapes, over what DiffCut reports."""
    for dataset, more in {"pascal-voc": 13.2, "coco-object": 27.7, "cityscapes-27": 3.1}.items():
        falcon = published().figure("Falcon (SSD-1B, PAMR)", dataset).miou
        diffcut = published().figure("DiffCut (SSD-1B, PAMR)", dataset).miou
        assert round(falcon - diffcut, 1) == more


def test_datasets_are_sources_of_recipes_and_have_as_many_images_as_are_scored():
    known = {entry.name for entry in registry.entries("sources")}
    datasets = published().datasets
    assert set(datasets) <= known
    assert {name: about.images for name, about in datasets.items()} == {
        "coco-stuff-27": 2175,
        "cityscapes-27": 500,
        "coco-object": 2175,
        "pascal-voc": 1449,
        "pascal-context": 5105,
        "ade20k": 2000,
        "bsds500": 200,
    }


def test_protocols_that_can_be_run_are_the_same_ones():
    for name in ("released", "diffcut", "diffcut-voc"):
        ours, theirs = PROTOCOLS[name], published().protocols[name]
        assert theirs == Conditions(ours.match, ours.size, ours.crop == "centre-square")


def test_every_figure_says_where_it_stands():
    assert all(re.search(r"(19|20)\d\d", figure.source) for figure in published().figures)
    assert all(re.search(r"(19|20)\d\d", figure.source) for figure in published().people)


def test_a_figure_is_found_or_the_nearest_is_told():
    assert published().figure("DiffSeg (512)", "coco-stuff-27").miou == 43.6
    with pytest.raises(AttnProbeError, match=r"no published figure of 'STEGA' .* mean STEGO\?"):
        published().figure("STEGA", "coco-stuff-27")


@given(st.builds(Conditions, st.none() | st.just("per-image"), st.none() | st.integers(0, 512),
                 st.none() | st.booleans()))  # fmt: skip
def test_different_conditions_are_said_differently(conditions):
    said = conditions.describe()
    assert said.count("not stated") == [
        conditions.match, conditions.size, conditions.crop
    ].count(None)  # fmt: skip
    assert (str(conditions.size) in said) == bool(conditions.size)


GOOD = """
datasets: {d: {title: D, images: 3}}
protocols: {p: {match: per-image}}
figures: [{method: m, dataset: d, protocol: p, miou: 1.5, source: s}]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("miou: 1.5", "miou: 100.5", "figures.0.miou: Input should be less than or equal to 100"),
        ("miou: 1.5, ", "", "figures.0.miou: Field required"),
        ("miou: 1.5", "miou: '1.5'", "figures.0.miou: Input should be a valid number"),
        ("miou: 1.5", "miou: 1.5, iou: 2", "figures.0.iou: Unexpected keyword argument"),
        ("method: m", "method: ''", "figures.0.method: String should have at least 1"),
        ("dataset: d", "dataset: e", "figures.0 (m): unknown dataset 'e'"),
        ("protocol: p", "protocol: q", "figures.0 (m): unknown protocol 'q'"),
        ("images: 3", "images: 0", "datasets.d.images: Input should be greater than 0"),
        ("match: per-image", "crop: 1", "protocols.p.crop: Input should be a valid boolean"),
        ("figures: [", "figures: [{method: m, dataset: d, protocol: p, miou: 2, source: t}, ",
         "figures.1 (m): given twice for d"),
        ("source: s", "source: s, source: t", "can't be read: while constructing a mapping"),
        ("]", "", "can't be read: while parsing a flow sequence"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_told_with_its_place(tmp_path, old, new, said):
    path = tmp_path / "figures.yaml"
    path.write_text(GOOD)
    assert read(path).figures[0].miou == 1.5
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(AttnProbeError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize("text", ["[1, 2]: x", "{a: 1}: x", "datasets: 2026-01-01", "x: !!set {a}"])
def test_what_has_no_form_in_json_is_refused(tmp_path, text):
    path = tmp_path / "figures.yaml"
    path.write_text(text)
    with pytest.raises(AttnProbeError, match=r"figures\.yaml"):
        read(path)


@given(st.data())
@settings(max_examples=examples(12), deadline=None)
def test_no_change_of_the_file_ends_in_another_error(tmp_path_factory, data):
    text = FILE.read_text(encoding="utf-8")
    place = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 40))
    path = tmp_path_factory.mktemp("figures") / "figures.yaml"
    path.write_text(text[:place] + data.draw(st.text(max_size=5)) + text[place + cut :], "utf-8")
    with contextlib.suppress(AttnProbeError):
        found = read(path)
        assert all(figure.protocol in found.protocols for figure in found.figures)
