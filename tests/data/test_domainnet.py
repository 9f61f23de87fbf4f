import pytest
from PIL import Image

from attnprobe.data.domainnet import STYLES, DomainNet
from attnprobe.errors import ComponentError, ImageError
from attnprobe.testing import check_source


@pytest.fixture
def root(tmp_path):
    """Six styles; three categories with three, one and two pictures."""
    for style in STYLES:
        for category, count in (("ant", 3), ("bee", 1), ("zebra", 2)):
            (tmp_path / style / category).mkdir(parents=True)
            for number in range(1, count + 1):
                end = "png" if style == "quickdraw" else "jpg"
                path = tmp_path / style / category / f"{style}_{category}_{number}.{end}"
                Image.new("RGB", (4, 3)).save(path)
        (tmp_path / style / "notes.txt").touch()
    return tmp_path


def test_style_by_style_and_category_by_category(root):
    samples = DomainNet(root)()
    turns = ["ant_1", "bee_1", "zebra_1", "ant_2", "zebra_2", "ant_3"]
    assert [sample.name for sample in samples] == [
        f"{style}--{turn.partition('_')[0]}--{style}_{turn}" for style in STYLES for turn in turns
    ]
    assert all(sample.read().size == (4, 3) for sample in samples)
    assert all(sample.truth() is None for sample in samples)
    assert getattr(DomainNet(root), "classes", None) is None


def test_the_contract_of_sources(root):
    check_source(DomainNet(str(root)))


def test_some_styles_and_a_part_of_each(root):
    samples = DomainNet(root, styles=["sketch", "real"], count=2, start=1)()
    assert [sample.name for sample in samples] == [
        "sketch--bee--sketch_bee_1",
        "sketch--zebra--sketch_zebra_1",
        "real--bee--real_bee_1",
        "real--zebra--real_zebra_1",
    ]
    assert [s.name for s in DomainNet(root, "real", count=1)()] == ["real--ant--real_ant_1"]
    with pytest.raises(ImageError, match=r"clipart: start must be below .* 6\. Got 6"):
        DomainNet(root, start=6)()
    for styles in ("oil", (), ["real", "oil"]):
        with pytest.raises(ComponentError, match=r"DomainNet\.styles"):
            DomainNet(root, styles)


def test_a_style_that_is_missing(root):
    (root / "real").rename(root / "reel")
    with pytest.raises(ImageError) as caught:
        DomainNet(root)()
    assert str(caught.value) == (
        f"{root}/real: not there, where the pictures should be; "
        "had from http://ai.bu.edu/M3SDA/, real.zip"
    )
    assert len(DomainNet(root, "sketch")()) == 6
    for path in (root / "sketch").rglob("*.jpg"):
        path.unlink()
    inventory = DomainNet(root).inventory()
    assert [(style, count) for style, count, _ in inventory.counts] == [
        (style, 6) for style in STYLES if style not in ("real", "sketch")
    ]
    assert [lack.describe().partition(":")[0] for lack in inventory.lacks] == [
        f"{root}/real",
        f"{root}/sketch",
    ]
