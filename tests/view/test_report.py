"""The report of a run, made, and opened from disk in a browser."""

import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect

from attnprobe.cli import main
from attnprobe.errors import RunError
from attnprobe.view import report_plot
from attnprobe.view.report import content_policy, explored, template, write_report
from attnprobe.view.report_plot import count_histogram, score_histogram
from attnprobe.view.report_run import ShownRun, miou
from tests.view.runs import EVIL, make_run, overflow, pixels


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    return make_run(tiny, tmp_path_factory.mktemp("report") / "run", "probe.size=64")


@pytest.fixture
def opened(run, page):
    """The report, open in a browser, and what it asked for."""
    asked = []
    page.on("request", lambda request: asked.append(request.url.partition(":")[0]))
    page.goto((run / "report.html").as_uri())
    yield page
    assert set(asked) <= {"file", "data", "blob"}
    assert asked.count("file") == 1


def open_first(page):
    """Open the first card and wait for its explorer."""
    page.locator("details.card > summary").first.click()
    page.wait_for_selector("details[open] [data-state=ready]")


# Making it


def test_a_run_ends_with_its_report_and_it_can_be_made_again(run, tmp_path, capsys):
    made = (run / "report.html").read_bytes()
    write_report(run, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == made
    with pytest.raises(SystemExit) as end:
        main(["report", str(run), "-o", str(tmp_path / "third.html")])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"{tmp_path / 'third.html'}\n"
    assert (tmp_path / "third.html").read_bytes() == made


def test_equal_runs_have_equal_reports(run, tiny):
    other = make_run(tiny, run.with_name("other"), "probe.size=64")
    assert (run / "report.html").read_bytes() == (other / "report.html").read_bytes()


def test_it_is_under_a_megabyte_an_image(run):
    shown = ShownRun.load(run)
    assert len(shown.outcomes) == 4
    assert (run / "report.html").stat().st_size / 4 < 1_000_000


def test_a_run_without_maps_or_overlays_has_a_report_that_says_so(run, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(run, old)
    shutil.rmtree(old / "maps")
    next((old / "overlays").iterdir()).unlink()
    page = write_report(old).read_text()
    assert "No maps were kept, so there is nothing to explore." in page
    assert "<details" not in page
    assert page.count("<figure") == 4
    assert page.count('alt="Segments of') == 3


@pytest.mark.parametrize("kind", ["labels", "maps"])
def test_an_image_whose_file_is_broken_has_no_explorer(run, tmp_path, kind):
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    next((broken / kind).iterdir()).write_text("rubbish")
    page = write_report(broken).read_text()
    assert page.count('<details class="card"') == 3
    assert page.count('<figure class="card"') == 1


@pytest.mark.parametrize("made", [(), ("sweep.parquet",)])
def test_what_is_no_run_is_a_sentence(tmp_path, made):
    for name in made:
        from pyarrow import parquet, table

        parquet.write_table(table({"label": ["01"]}), tmp_path / name)
    with pytest.raises(RunError, match="holds a sweep; name one" if made else "no run, for no"):
        write_report(tmp_path)


@given(count=st.integers(0, 400))
def test_explorers_go_to_the_worst_the_best_and_evenly_between(count):
    names = [str(i) for i in range(count)]
    chosen = sorted(map(int, explored(names)))
    assert len(chosen) == min(24, count)
    if count > 24:
        assert chosen[:8] == list(range(8))
        assert chosen[-8:] == list(range(count - 8, count))
        gaps = np.diff(chosen[7:17])
        assert gaps.max() - gaps[1:-1].min() <= gaps.max() / 2 + 2


def test_of_many_images_most_are_thumbnails_and_the_page_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr("attnprobe.view.report.EXPLORED", 3)
    page = write_report(run, tmp_path / "few.html").read_text()
    assert page.count('<details class="card"') == 3
    assert page.count('<figure class="card"') == 1
    assert "Of the 4, 3 can be opened to explore their attention" in page


def test_what_it_may_do_is_bound_by_hashes(run):
    page = (run / "report.html").read_text()
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert policy.count("sha256-") == 2 + 2  # two styles and two modules
    assert content_policy("<style>a</style>") != content_policy("<style>b</style>")


# The plot


def drawn(plot):
    svg = template("attnprobe.view", "report_plot.svg").module.draw(plot, report_plot.PLACES)
    return ElementTree.fromstring(svg.strip())


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_bars_are_as_high_as_numpy_counts(scores):
    svg = drawn(score_histogram(scores))
    expected = np.histogram(scores, np.linspace(0, 1, 21))[0]
    bars = svg.findall("rect")
    assert [int(bar.find("title").text.split()[0]) for bar in bars] == [c for c in expected if c]
    heights = np.array([float(bar.get("height")) for bar in bars])
    counts = expected[expected > 0]
    assert np.abs(heights / heights.max() - counts / counts.max()).max() < 0.01
    assert all(0 <= float(line.get("x1")) <= report_plot.WIDTH for line in svg.findall("line"))


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=50))
def test_counts_lie_in_bins_of_whole_numbers(counts):
    plot = count_histogram(counts)
    assert plot.counts.sum() == len(counts)
    assert 1 <= len(plot.counts) <= 20
    assert (np.diff(plot.edges) == np.diff(plot.edges)[0]).all()
    assert drawn(plot) is not None


# In the browser


def test_pointing_changes_the_map_and_the_slider_the_segments(opened):
    open_first(opened)
    before = pixels(opened)
    box = opened.locator("canvas").bounding_box()
    opened.mouse.move(box["x"] + 10, box["y"] + 10)
    expect(opened.locator("output").first).to_have_text(re.compile("^Row 0,"))
    assert pixels(opened) != before
    segments = opened.locator("details[open] .controls summary")
    slider = opened.get_by_label("Threshold")
    said = segments.inner_text()
    for _ in range(5):
        slider.press("ArrowLeft")
    expect(segments).not_to_have_text(said)
    assert opened.locator("details[open]").get_by_text("pooled to at most 32×32").is_visible()


def test_the_keyboard_reaches_everything(opened):
    def focused():
        return opened.evaluate(
            "(e => e.tagName + (e.closest('tr')?.rowIndex ?? '') + (e.type ?? ''))"
            "(document.activeElement)"
        )

    reached = set()
    for _ in range(60):
        opened.keyboard.press("Tab")
        reached.add(focused())
        if focused() == "SUMMARY" and not opened.locator("details.card[open]").count():
            opened.keyboard.press("Enter")
            opened.wait_for_selector("[data-state=ready]")
        if focused() == "CANVAS":
            opened.keyboard.press("ArrowUp")
            expect(opened.locator("output")).to_have_text(re.compile("^Row"))
    wanted = {"BUTTON0button", "A1", "SUMMARY", "CANVAS", "SELECTselect-one", "INPUTcheckbox"}
    assert wanted | {"INPUTrange", "DIV"} <= reached


def test_a_link_in_the_table_opens_its_image(opened):
    link = opened.locator("tbody a").nth(1)
    name = link.inner_text()
    link.click()
    card = opened.locator("details.card[open]")
    card.wait_for()
    assert card.locator("summary .name").inner_text() == name


def test_the_table_is_sorted_by_what_is_pressed(opened, run):
    scores = [miou(outcome) for outcome in ShownRun.load(run).outcomes]

    def column(number):
        return opened.locator(f"tbody tr td:nth-child({number})").all_inner_texts()

    expected = [f"{score:.3f}" for score in scores if score is not None]
    assert column(4) == [*expected, "–"]
    heading = opened.locator("th").nth(3)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    assert column(4) == [*expected, "–"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert column(4) == [*expected[::-1], "–"]
    opened.locator("th button").first.click()
    assert column(1) == sorted(column(1))


def test_an_evil_name_harms_nothing(opened, run):
    alerts = []
    opened.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    for card in opened.locator("details.card > summary").all():
        card.click()
        opened.wait_for_timeout(150)
    assert opened.locator("tbody").get_by_text(EVIL, exact=True).count() == 1
    assert opened.locator("img[src=x], b").count() == 0
    assert opened.get_by_text("<b>broken", exact=True).count() == 1
    assert alerts == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_no_wider_than_the_window_and_follows_the_scheme(opened, width, scheme):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.emulate_media(color_scheme=scheme)
    open_first(opened)
    assert overflow(opened) <= 0
    light = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(255, 255, 255)") == (scheme == "light")
