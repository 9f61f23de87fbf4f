"""The explorer in a real browser, from a file on disk."""

import json
import re
import time

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect

from attnprobe.fields import Segmentation, WordMaps
from attnprobe.pictures.palette import segment_colours
from attnprobe.view.explorer import (
    SCRIPT,
    STYLE,
    Maps,
    explorer_assets,
    explorer_html,
    explorer_payload,
    labels_payload,
)

GRID = (6, 8)
SIZE = (384, 512)
CANVAS = (576, 768)
NASTY = "<img src=x onerror=alert(1)>.png"

MAGMA = np.array(
    [
        (0, 0, 4),
        (29, 17, 71),
        (81, 18, 124),
        (131, 38, 129),
        (183, 55, 121),
        (231, 82, 99),
        (252, 137, 97),
        (254, 196, 136),
        (252, 253, 191),
    ],
    float,
)
SCALE = np.stack(
    [np.interp(np.linspace(0, 8, 256), np.arange(9), MAGMA[:, c]) for c in range(3)], 1
).round()


def random_maps(name="first", heads=1, steps=1, grid=GRID, seed=0):
    n = grid[0] * grid[1]
    rng = np.random.default_rng(seed)
    rows = rng.random((heads, steps, n, n)) ** 3
    rows /= rows.sum(-1, keepdims=True)
    names = tuple(f"step {i}" for i in range(steps))
    return Maps(name, grid, torch.from_numpy(rows).float(), names)


def picture():
    noise = np.random.default_rng(1).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(SIZE[::-1], Image.Resampling.BICUBIC)


@pytest.fixture
def photo():
    return picture()


@pytest.fixture
def show(page, photo, tmp_path):
    """Open a page on disk with an explorer in it, and wait until it is drawn."""

    def show(*layers, **more):
        payload = explorer_payload(photo, layers or [random_maps()], **more)
        return open_page(page, tmp_path, explorer_html(payload))

    return show


def open_page(page, folder, body, ready=True):
    head = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Test</title>'
        '<meta name="viewport" content="width=device-width">'
    )
    file = folder / "page.html"
    file.write_text(head + body, encoding="utf-8")
    page.goto(file.as_uri())
    if ready:
        page.wait_for_selector("[data-state=ready]")
    return page


def colours_at(page, places):
    """The canvas's colours (N, 3) at some places (y, x), once what was asked for is drawn."""
    data = page.evaluate(
        """async (places) => {
            for (const _ of [1, 2]) await new Promise((done) => requestAnimationFrame(done));
            const { width, height } = document.querySelector("canvas");
            const context = document.querySelector("canvas").getContext("2d");
            const { data } = context.getImageData(0, 0, width, height);
            const at = ([y, x]) => 4 * (y * width + x);
            return places.map((place) => [...data.slice(at(place), at(place) + 3)]);
        }""",
        [list(map(int, place)) for place in places],
    )
    return np.array(data, float)


def centres(grid):
    """Pixels (y, x) in the middle of each cell."""
    return [
        ((y + 0.5) * CANVAS[0] / grid[0], (x + 0.5) * CANVAS[1] / grid[1])
        for y in range(grid[0])
        for x in range(grid[1])
    ]


def shown_map(page):
    """The map that is drawn, as fractions of where the scale ends, read off its colours."""
    distances = np.abs(colours_at(page, centres(GRID))[:, None] - SCALE).sum(-1)
    assert distances.min(1).max() <= 3, "a colour that is not on the scale"
    return distances.argmin(1).reshape(GRID) / 255


def as_shown(rows):
    """What is to be seen of a map: from 0 to its 99th percentile."""
    top = np.sort(rows)[int(np.ceil(0.99 * rows.size)) - 1]
    return np.minimum(1, rows / top).reshape(GRID)


def only_attention(page):
    page.get_by_label("Segments", exact=True).uncheck()
    page.get_by_label("Opacity").fill("1")


def move_to(page, y, x, grid=GRID):
    box = page.locator("canvas").bounding_box()
    page.mouse.move(
        box["x"] + (x + 0.5) * box["width"] / grid[1],
        box["y"] + (y + 0.5) * box["height"] / grid[0],
    )


def readout(page):
    colours_at(page, [])
    return page.locator(".readout").inner_text()


def assert_comes_to_show(page, expected, seconds=10):
    """The map that is drawn is the expected one, soon: what was chosen is unpacked first."""
    end = time.monotonic() + seconds
    while np.abs(shown_map(page) - expected).max() > 2 / 255:
        assert time.monotonic() < end, "the map is another one still"


def test_hovering_shows_the_place_s_map(show):
    maps = random_maps()
    page = show(maps)
    only_attention(page)
    for y, x in [(0, 0), (2, 5), (5, 7)]:
        move_to(page, y, x)
        row = maps.rows[0, 0, y * GRID[1] + x].numpy()
        assert np.abs(shown_map(page) - as_shown(row)).max() <= 2 / 255
        peak = row.argmax()
        assert readout(page) == (
            f"Row {y}, column {x} of 6×8. Its attention in first peaks at row {peak // 8}, "
            f"column {peak % 8} with {float(f'{100 * row.max():.2g}'):g} %."
        )


def test_dragging_shows_the_mean_over_a_region(show):
    maps = random_maps()
    page = show(maps)
    only_attention(page)
    move_to(page, 3, 6)
    page.mouse.down()
    move_to(page, 1, 2)
    page.mouse.up()
    mean = maps.rows[0, 0].reshape(*GRID, -1)[1:4, 2:7].mean((0, 1)).numpy()
    assert np.abs(shown_map(page) - as_shown(mean)).max() <= 2 / 255
    assert readout(page).startswith("Rows 1 to 3, columns 2 to 6 of 6×8 (mean).")
    move_to(page, 5, 0)
    assert readout(page).startswith("Rows 1 to 3"), "what was chosen stays"


def test_a_click_pins_and_a_second_one_lets_go(show):
    page = show()
    move_to(page, 2, 2)
    page.mouse.down()
    page.mouse.up()
    move_to(page, 4, 4)
    assert readout(page).startswith("Row 2, column 2")
    page.mouse.down()
    page.mouse.up()
    move_to(page, 5, 5)
    assert readout(page).startswith("Row 4, column 4")
    move_to(page, 4, 4)
    page.mouse.down()
    page.mouse.up()
    move_to(page, 5, 5)
    assert readout(page).startswith("Row 5, column 5")


def test_layers_heads_and_steps(show):
    first = random_maps("first", heads=3, steps=2)
    second = random_maps("second", grid=(3, 4), seed=5)
    page = show(first, second)
    only_attention(page)
    move_to(page, 1, 1)
    query = 1 * GRID[1] + 1
    rows = first.rows[:, :, query].numpy()
    for head, step, expected in [
        ("mean of 3 heads", "mean of 2 steps", rows.mean((0, 1))),
        ("head 2", "mean of 2 steps", rows[2].mean(0)),
        ("head 2", "step 1", rows[2, 1]),
        ("mean of 3 heads", "step 0", rows[:, 0].mean(0)),
    ]:
        page.get_by_label("Head").select_option(head)
        page.get_by_label("Step").select_option(step)
        assert_comes_to_show(page, as_shown(expected))
    page.get_by_label("Layer").select_option("second · 3×4")
    expect(page.get_by_label("Layer")).to_be_focused()
    expect(page.get_by_label("Head")).to_have_count(0)
    told = re.compile("^Row 0, column 0 of 3×4. Its attention in second peaks")
    expect(page.locator(".readout")).to_have_text(told)


def test_a_pooled_layer_says_so(show):
    page = show(random_maps(), side=4)
    assert page.get_by_label("Layer").inner_text() == "first · 6×8, shown at 3×5"


def test_words(show):
    words = WordMaps(torch.rand(2, *GRID, generator=torch.Generator().manual_seed(3)), ("cat", "a"))
    page = show(words=words)
    only_attention(page)
    page.get_by_label("Word").select_option("cat")
    expected = as_shown(words["cat"].numpy().ravel())
    assert_comes_to_show(page, expected)
    move_to(page, 1, 2)
    value = float(f"{100 * words['cat'][1, 2]:.2g}")
    assert f"Its attention to “cat” is {value:g} %; “cat” peaks at row" in readout(page)
    page.locator("canvas").press("Escape")
    assert np.abs(shown_map(page) - expected).max() <= 2 / 255
    assert readout(page).startswith("“cat” peaks")


def segment_colours_drawn(page, labels):
    """The drawn colour of each segment, in the middle of its first cell."""
    page.get_by_label("Attention", exact=True).uncheck()
    page.get_by_label("Opacity").fill("1")
    page.locator("canvas").press("Escape")
    _, first = np.unique(labels, return_index=True)
    return colours_at(page, [centres(labels.shape)[i] for i in first])


@pytest.mark.parametrize("count", [2, 30])
def test_segments_are_told_apart_by_their_colours(show, count):
    labels = np.arange(48).reshape(GRID) % count
    page = show(segmentation=Segmentation(labels))
    _, areas = np.unique(labels, return_counts=True)
    rank = np.empty(count, int)
    rank[np.argsort(-areas, kind="stable")] = np.arange(count)
    drawn = segment_colours_drawn(page, labels)
    assert np.array_equal(drawn, segment_colours(rank))
    assert len(np.unique(drawn, axis=0)) == count
    assert page.locator("summary").inner_text() == f"{count} segments"
    assert page.locator("li").count() == count


def test_segments_can_be_hidden(show):
    page = show(segmentation=Segmentation(np.arange(48).reshape(GRID)))
    border = [(CANVAS[0] / GRID[0], CANVAS[1] / 2 + 20)]
    assert colours_at(page, border).tolist() == [[255, 255, 255]]
    page.get_by_label("Segments", exact=True).uncheck()
    assert colours_at(page, border).tolist() != [[255, 255, 255]]
    assert "segment" not in readout(page)


def test_the_slider_goes_through_the_levels(show):
    levels = [(0.25, np.arange(48).reshape(GRID)), (0.5, np.arange(48).reshape(GRID) % 3)]
    levels.append((1.0, np.zeros(GRID, int)))
    page = show(levels=levels, threshold=0.5)
    slider = page.get_by_label("Threshold")
    for index, (threshold, labels) in enumerate(levels):
        slider.fill(str(index))
        expect(slider).to_have_attribute("aria-valuetext", f"{threshold:.2f}")
        count = labels.max() + 1
        expect(page.locator("summary")).to_have_text(re.compile(f"^{count} segment"))
        assert len(np.unique(segment_colours_drawn(page, labels), axis=0)) == count


def test_the_slider_starts_at_the_threshold(show):
    levels = [(t, np.zeros(GRID, int)) for t in (0.2, 0.4, 0.6, 0.8)]
    page = show(levels=levels, threshold=0.61)
    assert page.get_by_label("Threshold").input_value() == "2"


def test_without_levels_there_is_no_slider(show):
    page = show()
    expect(page.get_by_label("Opacity")).to_have_count(1)
    expect(page.get_by_label("Threshold")).to_have_count(0)


def mount(page, folder, payload, options="{}"):
    """Mount by hand, as a server's page does; the handle is `window.handle`."""
    script = f"window.handle = mountExplorer(document.querySelector('div'), {json.dumps(payload)}"
    return open_page(
        page,
        folder,
        f"<style>{STYLE.read_text('utf-8')}</style><div></div>"
        f'<script type="module">{SCRIPT.read_text("utf-8")}\n{script}, {options});</script>',
    )


def test_regrouping_live_keeps_only_the_newest_wish(page, photo, tmp_path):
    answers = {
        str(n): labels_payload(Segmentation(np.arange(48).reshape(GRID) % n)) for n in range(1, 9)
    }
    regroup = f"""{{ regroup: async (threshold) => {{
        (window.asked ??= []).push(threshold);
        await (window.wait ??= new Promise((done) => {{ window.go = done; }}));
        if (threshold > 1) throw new Error("too high");
        return ({json.dumps(answers)})[Math.round(8 * threshold)];
    }} }}"""
    payload = explorer_payload(photo, [random_maps()], threshold=0.5)
    page = mount(page, tmp_path, payload, regroup)
    slider = page.get_by_label("Threshold")
    for value in ("0.25", "0.5", "0.75", "1"):
        slider.fill(value)
    page.evaluate("window.go()")  # the first answer comes after all four wishes
    expect(page.locator("summary")).to_have_text("8 segments")
    assert page.evaluate("window.asked") == [0.25, 1]
    slider.fill("1.25")
    expect(page.locator(".readout")).to_have_text("too high")
    slider.fill("0.5")
    expect(page.locator("summary")).to_have_text("4 segments")


def test_update_and_destroy(page, photo, tmp_path):
    page = mount(page, tmp_path, explorer_payload(photo, [random_maps()]))
    labels = labels_payload(Segmentation(np.arange(48).reshape(GRID) % 5))
    page.evaluate("(labels) => window.handle.update({ labels, title: 'other' })", labels)
    expect(page.locator("summary")).to_have_text("5 segments")
    expect(page.locator("figcaption")).to_have_text("other")
    page.evaluate("window.handle.update({ title: 'gone' }), window.handle.destroy()")
    page.wait_for_timeout(200)
    assert page.evaluate("document.querySelector('div').outerHTML.includes('canvas')") is False
    assert page.evaluate("document.querySelector('div').className") == ""


def test_several_explorers_share_one_module_and_wait_until_they_are_seen(page, photo, tmp_path):
    payloads = [explorer_payload(photo, [random_maps()], title=f"number {i}") for i in range(4)]
    body = "".join(
        f'<div style="min-height: 1500px">{explorer_html(payload, assets=False)}</div>'
        for payload in payloads
    )
    page = open_page(page, tmp_path, explorer_assets() + body + explorer_assets())
    assert page.locator("canvas").count() == 1
    for number in range(4):
        page.locator(".attnprobe-explorer").nth(number).scroll_into_view_if_needed()
        expect(page.locator("figcaption", has_text=f"number {number}")).to_be_visible()
    expect(page.locator("canvas")).to_have_count(4)


def test_every_control_is_reached_by_tab_and_shows_it(show):
    words = WordMaps(torch.rand(1, *GRID), ("cat",))
    labels = np.arange(48).reshape(GRID) % 3
    layers = [random_maps(heads=2, steps=2)]
    page = show(*layers, words=words, levels=[(0.1, labels), (0.2, labels)])
    reached = []
    for _ in range(9):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => {
                    const at = document.activeElement;
                    const outline = getComputedStyle(at).outlineStyle;
                    return [at.ariaLabel ?? at.labels?.[0].textContent ?? at.textContent, outline];
                }"""
            )
        )
    names = ["Attention in", "Layer", "Head", "Step", "Word", "Attention", "Segments", "Opacity"]
    names.append("Threshold")
    assert all(said.startswith(name) for (said, _), name in zip(reached, names, strict=True))
    assert {outline for _, outline in reached} == {"solid"}
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_arrow_keys_move_extend_and_clear(show):
    maps = random_maps()
    page = show(maps)
    only_attention(page)
    canvas = page.locator("canvas")
    canvas.focus()
    assert readout(page).startswith("Row 3, column 4 of 6×8."), "the middle at first"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert readout(page).startswith("Row 2, column 2 of 6×8.")
    row = maps.rows[0, 0, 2 * GRID[1] + 2].numpy()
    assert np.abs(shown_map(page) - as_shown(row)).max() <= 2 / 255
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    assert readout(page).startswith("Rows 2 to 3, columns 2 to 3 of 6×8 (mean).")
    mean = maps.rows[0, 0].reshape(*GRID, -1)[2:4, 2:4].mean((0, 1)).numpy()
    assert np.abs(shown_map(page) - as_shown(mean)).max() <= 2 / 255
    page.keyboard.press("ArrowRight")
    assert readout(page).startswith("Row 3, column 4 of 6×8.")
    for _ in range(10):
        page.keyboard.press("ArrowDown")
    assert readout(page).startswith("Row 5, column 4 of 6×8."), "the edge holds"
    page.keyboard.press("Escape")
    assert readout(page) == "Nothing is chosen."


def test_what_a_screen_reader_is_told(show, voronoi):
    labels = Segmentation(voronoi(*SIZE, 3), names={0: "sky", 1: "sea", 2: "land"})
    page = show(segmentation=labels, title="beach.jpg")
    canvas = page.get_by_role("application", name="Attention in beach.jpg")
    expect(canvas).to_have_accessible_description(re.compile("^Point at the picture.*arrow keys"))
    told = page.get_by_role("status")
    expect(told).to_have_text(re.compile(r"segment (sky|sea|land)\. Its attention in first peaks"))
    for role, name in [
        ("combobox", "Layer"),
        ("checkbox", "Attention"),
        ("checkbox", "Segments"),
        ("slider", "Opacity"),
    ]:
        expect(page.get_by_role(role, name=name, exact=True)).to_have_count(1)


def test_names_are_only_ever_text(show):
    labels = Segmentation(np.arange(48).reshape(GRID) % 2, names={0: NASTY, 1: "<b>b</b>"})
    words = WordMaps(torch.rand(1, *GRID), (NASTY,))
    page = show(random_maps(NASTY), segmentation=labels, words=words, title=NASTY)
    page.on("dialog", lambda dialog: page.errors.append("a script ran"))
    expect(page.locator("figcaption")).to_have_text(NASTY)
    page.get_by_label("Word").select_option(NASTY)
    expect(page.locator(".readout")).to_contain_text(f"“{NASTY}”")
    assert page.locator("img, b, [onerror]").count() == 0
    page.wait_for_timeout(100)


def luminance(colour):
    value = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_legible_in_light_and_dark(show, page, scheme):
    page.emulate_media(color_scheme=scheme)
    page = show(segmentation=Segmentation(np.arange(48).reshape(GRID)), title="a picture")

    def styled(selector, name):
        return page.locator(selector).first.evaluate("(e, n) => getComputedStyle(e)[n]", name)

    paper = luminance(styled(".attnprobe-explorer", "backgroundColor"))
    assert (paper < 0.5) == (scheme == "dark")
    for selector in ("figcaption", ".readout", ".scale span", "small", ".hint", "summary"):
        ink = luminance(styled(selector, "color"))
        contrast = (max(paper, ink) + 0.05) / (min(paper, ink) + 0.05)
        assert contrast >= 4.5, selector


def test_nothing_moves_by_itself(show, page):
    page.emulate_media(reduced_motion="reduce")
    page = show()
    moving = page.evaluate(
        """() => [...document.querySelectorAll("*")].filter((element) => {
            const style = getComputedStyle(element);
            return style.animationName !== "none" || style.transitionDuration !== "0s";
        }).length"""
    )
    assert moving == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overlaps_or_sticks_out(show, page, voronoi, width):
    page.set_viewport_size({"width": width, "height": 900})
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    labels = voronoi(*SIZE, 30)
    page = show(
        random_maps(name, heads=2, steps=2),
        segmentation=Segmentation(labels, names={3: "a rather long name of a segment"}),
        levels=[(0.1, labels), (0.2, labels)],
        words=WordMaps(torch.rand(1, *GRID), ("cat",)),
        title="IMG_20260000_a_very_long_file_name_without_any_spaces_at_all_20260000.jpg",
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    parts = "canvas, figcaption, .scale, .readout, label, li, .hint"
    boxes = page.locator(parts).evaluate_all(
        "(parts) => parts.map((part) => part.getBoundingClientRect().toJSON())"
    )
    for i, one in enumerate(boxes):
        assert one["x"] >= 0
        assert one["x"] + one["width"] <= width
        for other in boxes[:i]:
            apart = [
                one[start] + one[length] <= other[start] + 0.5
                or other[start] + other[length] <= one[start] + 0.5
                for start, length in (("x", "width"), ("y", "height"))
            ]
            assert any(apart), (one, other)
