"""The explorer as a widget: what it is given, what it answers, and how it does in JupyterLab."""

import importlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import expect
from sklearn.datasets import load_sample_image

import attnprobe as ap
from attnprobe.errors import AttnProbeError, CaptureError, RunError
from attnprobe.fields import AttentionField, WordMaps
from attnprobe.group.diffseg import DiffSeg
from attnprobe.recipe import load_recipe
from attnprobe.run.folder import ENVIRONMENT, RECIPE
from attnprobe.view.explorer import Maps, labels_payload
from attnprobe.view.widget import Explorer, explore
from tests.hooks.small import run as denoise
from tests.view.test_explorer import rows_of
from tests.view.test_layer_maps import random_rows

PHOTO = Image.fromarray(load_sample_image("china.jpg")).resize((320, 213))


@pytest.fixture
def answers(monkeypatch):
    """What widgets send to the browser."""
    sent = []
    monkeypatch.setattr(Explorer, "send", lambda self, content: sent.append(content))
    return sent


def ask(widget, threshold, number=7):
    """The slider's message, as the browser sends it."""
    widget._handle_custom_msg({"id": number, "threshold": threshold}, [])


def brightness_field():
    """A field in which each token looks at those of its brightness."""
    small = PHOTO.convert("L").resize((12, 8), Image.Resampling.BOX)
    tokens = torch.from_numpy(np.asarray(small) / 255).ravel()
    rows = torch.softmax(-50 * (tokens[:, None] - tokens[None]) ** 2, 1)
    return AttentionField(rows, (8, 12))


def test_a_field_is_grouped_and_regrouped_at_the_picture_s_size(answers):
    field, group = brightness_field(), DiffSeg(anchors=8, thresholds=(0.5, 0.4, 0.4))
    words = WordMaps(torch.rand(1, 8, 12), ("sky",))
    widget = explore(field, PHOTO, group, words)
    assert widget.live
    assert widget.payload["threshold"] == 0.5
    assert widget.payload["words"]["words"] == ["sky"]
    (layer,) = widget.payload["layers"]
    assert np.abs(rows_of(layer)[0, 0] - field.rows.numpy()).max() <= 1 / 255
    assert widget.payload["labels"] == labels_payload(group(field).resized((213, 320)))
    ask(widget, 0.2)
    finer = DiffSeg(anchors=8, thresholds=(0.2, 0.2, 0.2))(field).resized((213, 320))
    assert answers == [{"id": 7, "labels": labels_payload(finer)}]
    assert finer.count > len(widget.payload["labels"]["names"])


def test_a_threshold_that_cannot_be_is_answered_with_a_sentence(answers):
    ask(explore(brightness_field(), PHOTO), -1.0)
    ((number, error),) = [(answer["id"], answer["error"]) for answer in answers]
    assert number == 7
    assert "thresholds" in error


def test_a_capture_shows_heads_and_steps(unet, answers):
    keep = ap.PerHead()
    with ap.capture(unet, ap.Layers(kind="self"), keep, over_steps="each") as captured:
        denoise(unet)
        captured.new_step()
        denoise(unet)
    widget = explore(captured, PHOTO)
    assert not widget.live
    assert [layer["name"] for layer in widget.payload["layers"]] == list(captured.records)
    for layer in widget.payload["layers"]:
        assert (layer["heads"], layer["steps"]) == ([0, 1], ["step 0", "step 1"])
    ask(widget, 0.5)
    assert answers == []


def test_of_guidance_the_prompt_s_half_is_shown(tiny):
    with ap.capture(tiny.denoiser, ap.Layers(kind="self")) as captured:
        tiny.draw("a red disc", 1, 3.0, 0)
    assert captured.records.branches == ("uncond", "cond")
    (layer, *_) = explore(captured.records, PHOTO).payload["layers"]
    expected = Maps.of_field(captured.fields(item=1)[0]).pooled(tuple(layer["grid"]))
    assert np.abs(rows_of(layer) - expected.rows.numpy()).max() <= expected.rows.max() / 255


def test_many_maps_are_pooled_until_they_fit():
    field = AttentionField(random_rows(30 * 40), (30, 40))
    assert explore(field, PHOTO).payload["layers"][0]["grid"] == [30, 40]
    field = AttentionField(random_rows(56 * 80), (56, 80))
    (layer,) = explore(field, PHOTO, DiffSeg(anchors=1)).payload["layers"]
    height, width = layer["grid"]
    assert 0.9 * 2**24 < (height * width) ** 2 <= 2**24


def test_a_capture_without_maps(unet):
    with ap.capture(unet, ap.Layers(kind="cross")) as captured:
        denoise(unet)
    with pytest.raises(CaptureError, match="no self- or joint-attention"):
        explore(captured, PHOTO)


def begun(folder, *overrides, recipe="diffseg"):
    """A run's folder with the recipe of one that has begun."""
    folder.mkdir()
    load_recipe(recipe, list(overrides)).save(folder / RECIPE)
    (folder / ENVIRONMENT).write_text("{}")
    return folder


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a", "b"):
        PHOTO.save(tmp_path / "photos" / f"{name}.png")
    return f"images={{use: folder, path: {tmp_path / 'photos'}}}"


def test_a_run_s_image(tmp_path, photos, answers):
    folder = begun(tmp_path / "run", photos)
    widget = explore(folder, "b")
    pipeline = load_recipe(folder / RECIPE).build()
    assert widget.payload["title"] == "b"
    names = [layer["name"] for layer in widget.payload["layers"]]
    assert names == ["aggregated", *(field.origin for field in pipeline.fields(PHOTO))]
    assert widget.payload["labels"] == labels_payload(pipeline.segment(PHOTO))
    assert widget.payload["threshold"] == pipeline.group.thresholds[0]
    ask(widget, 0.3)
    finer = replace(pipeline, group=replace(pipeline.group, thresholds=(0.3, 0.3, 0.3)))
    assert answers == [{"id": 7, "labels": labels_payload(finer.segment(PHOTO))}]


def test_a_cropped_run_shows_what_the_model_saw(tmp_path, photos):
    folder = begun(tmp_path / "run", photos, "probe.fit=crop", "group={use: kmeans, clusters: 3}")
    widget = explore(folder)
    assert widget.payload["title"] == "a"
    assert widget.payload["size"] == [213, 213]
    assert widget.payload["labels"]["size"] == [213, 213]
    assert not widget.live, "K-Means has no threshold"


def test_a_drawn_picture_is_drawn_again(tmp_path):
    images = "images={use: prompts, prompts: [a red plain disc on a blue plain ground], steps: 2}"
    widget = explore(begun(tmp_path / "run", images, recipe="generate-and-segment"))
    assert [layer["name"] for layer in widget.payload["layers"]] == ["aggregated"]
    assert widget.live


def test_words_of_a_run_can_be_chosen(tmp_path, photos):
    words = ("aggregate={use: cross}", "group={use: argmax}", "probe.prompt=a red disc")
    widget = explore(begun(tmp_path / "run", photos, *words))
    assert widget.payload["words"]["words"] == ["a", "red", "disc"]
    assert set(widget.payload["labels"]["names"]) <= {"a", "red", "disc"}
    names = [layer["name"] for layer in widget.payload["layers"]]
    assert all(".attn1 at " in name for name in names), "places' own maps are beside them"
    assert len(names) == 3 * 2  # layers, sizes
    assert not widget.live


def test_what_is_no_run_or_not_in_it(tmp_path, photos):
    with pytest.raises(RunError, match="no run"):
        explore(tmp_path / "elsewhere")
    folder = begun(tmp_path / "run", photos)
    with pytest.raises(RunError, match=r"no image 'bb'; did you mean b\?"):
        explore(folder, "bb")


def test_without_anywidget_a_sentence_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "attnprobe.view.widget")
    with pytest.raises(AttnProbeError, match=re.escape("pip install 'attnprobe[notebook]'")):
        importlib.import_module("attnprobe.view.widget")


CELL = """
import numpy as np, torch
from PIL import Image
from attnprobe.fields import AttentionField
from attnprobe.group.diffseg import DiffSeg
from attnprobe.view.widget import explore

tokens = torch.linspace(0, 1, 144)
rows = torch.softmax(-50 * (tokens[:, None] - tokens[None]) ** 2, 1)
picture = Image.new("RGB", (120, 120), "grey")
explore(AttentionField(rows, (12, 12)), picture, DiffSeg(anchors=8, thresholds=(0.5,) * 3))
"""


@pytest.fixture
def jupyterlab(tmp_path):
    """The address of a JupyterLab whose folder holds notebook.ipynb."""
    work = tmp_path / "work"
    work.mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL)], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, work / "notebook.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    environment = {**os.environ, **{name: str(tmp_path / name) for name in own}}
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": work,
        "ServerApp.allow_root": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": "",
    }
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *(f"--{k}={v}" for k, v in options.items())],
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield wait_for(f"http://127.0.0.1:{port}", server, tmp_path / "log")
    finally:
        server.terminate()
        server.wait(30)


def wait_for(address, server, log, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/api/status", timeout=1).close()
            return address
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{log.read_text()}")


def test_in_jupyterlab(jupyterlab, page):
    page.goto(f"{jupyterlab}/lab/tree/notebook.ipynb")
    # A cell that is run before there is a kernel makes JupyterLab ask for one.
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=120_000)
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.press("Shift+Enter")
    page.wait_for_selector(".attnprobe-explorer[data-state=ready]", timeout=120_000)
    canvas, readout = page.locator(".attnprobe-explorer canvas"), page.locator(".readout")
    canvas.hover(position={"x": 3, "y": 3})
    expect(readout).to_have_text(re.compile(r"^Row 0, column 0 of 12×12"))
    canvas.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    expect(readout).to_have_text(re.compile(r"^Rows 1 to 1, columns 0 to 1 of 12×12"))
    expect(canvas).to_be_focused()
    group = page.get_by_label("Threshold")
    counts = []
    for threshold in ("0.05", "1"):
        before = page.locator(".attnprobe-explorer summary").inner_text()
        group.fill(threshold)
        expect(page.locator(".attnprobe-explorer summary")).not_to_have_text(before)
        counts.append(int(page.locator(".attnprobe-explorer summary").inner_text().split()[0]))
    assert counts[0] > counts[1] >= 1
