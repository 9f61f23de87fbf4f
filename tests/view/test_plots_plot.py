import io
import re
import sys
import zlib

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.fields import WordMaps
from attnprobe.view import COLUMN, PAGE, Plot, word_maps


@pytest.fixture
def plot():
    maps = np.random.default_rng(0).random((3, 8, 8))
    return word_maps(WordMaps(maps, ("cat", "sofa", "lamp")), width=COLUMN)


def test_it_is_a_matplotlib_figure_of_a_paper_s_width(plot):
    assert isinstance(plot, Figure)
    assert plot.get_figwidth() == COLUMN == 3.25
    assert PAGE == 6.75


def test_no_pyplot_is_needed(plot):
    assert "matplotlib.pyplot" not in sys.modules or not plot.number


def test_a_notebook_shows_a_png(plot):
    picture = Image.open(io.BytesIO(plot._repr_png_()))
    assert picture.width == int(COLUMN * 150)
    assert picture.height == pytest.approx(plot.get_figheight() * 150, abs=1)


def test_a_pdf_holds_text_in_an_embedded_font(plot, tmp_path):
    plot.save(tmp_path / "x.pdf")
    data = (tmp_path / "x.pdf").read_bytes()
    assert data.startswith(b"%PDF-1.")
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    content = b"".join(map(inflated, streams))
    said = [
        b"".join(re.findall(rb"\x00(.)", block))  # two bytes a letter, kerning between
        for block in re.findall(rb"BT\n(.*?)ET", content, re.DOTALL)
    ]
    assert {b"cat", b"sofa", b"lamp"} <= {*said}
    width = float(re.search(rb"/MediaBox \[ 0 0 ([\d.]+)", data)[1])
    assert width == COLUMN * 72


def inflated(stream):
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


def test_an_svg_holds_text(plot, tmp_path):
    plot.save(tmp_path / "x.svg")
    assert re.search(r"<text[^>]*>sofa</text>", (tmp_path / "x.svg").read_text())


@pytest.mark.parametrize("suffix", [".pdf", ".png"])
def test_equal_plots_are_equal_files(plot, tmp_path, suffix):
    plot.save(tmp_path / f"1{suffix}")
    plot.save(tmp_path / f"2{suffix}")
    assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()


def test_saved_pictures_have_300_pixels_an_inch(plot, tmp_path):
    plot.save(tmp_path / "x.PNG")
    assert Image.open(tmp_path / "x.PNG").width == 975


def test_the_user_s_own_settings_change_nothing():
    maps = WordMaps(np.eye(4)[None], ("cat",))
    plain = word_maps(maps)._repr_png_()
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "image.cmap": "gray"}):
        assert word_maps(maps)._repr_png_() == plain
        assert matplotlib.rcParams["font.size"] == 20


@pytest.mark.parametrize("name", ["x.docx", "x", "x.mp4"])
def test_an_unknown_suffix_is_told(plot, tmp_path, name):
    with pytest.raises(AttnProbeError, match=r"suffix must be one of .*\.pdf.* Got (\.\w+|none)"):
        plot.save(tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_a_missing_folder_is_told(plot, tmp_path):
    with pytest.raises(AttnProbeError, match="can't be written"):
        plot.save(tmp_path / "missing" / "x.pdf")


@pytest.mark.parametrize("width", [0, -1, 0.5, 41, float("nan")])
def test_a_width_out_of_range_is_told(width):
    with pytest.raises(AttnProbeError, match="width must be from 1 to 40 inches"):
        Plot(width)
