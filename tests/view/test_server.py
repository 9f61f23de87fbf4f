"""`attnprobe view`: its pages in a browser, and what it refuses."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.sync_api import expect
from pyarrow import parquet

from attnprobe.cli import main
from attnprobe.errors import RunError
from attnprobe.pictures.labels import load_labels
from attnprobe.run.kept_maps import load_maps
from attnprobe.view.report_run import ShownRun, miou
from attnprobe.view.server.app import FILES, Gallery, make_app
from attnprobe.view.server.guard import HEADERS
from tests.view.runs import (
    EVIL,
    make_run,
    overflow,
    pixels,
    served,
    serving,
    wait_for_pictures,
)

ROOT = Path(__file__).parents[2]
SECRET = "nobody may read this"


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """Two runs of the same images with different thresholds, and a secret beside them."""
    place = tmp_path_factory.mktemp("server")
    (place / "secret.txt").write_text(SECRET)
    changed = "group.thresholds=[1.0,1.0,1.0]"
    return [
        make_run(tiny, place / "first", "probe.size=64"),
        make_run(tiny, place / "second", "probe.size=64", changed),
    ]


@pytest.fixture(scope="module")
def one(runs):
    with served(runs[0]) as address:
        yield address


@pytest.fixture(scope="module")
def both(runs):
    with served(*runs) as address:
        yield address


def names(page):
    return page.locator(".card:not([hidden]) .name").all_inner_texts()


# The pages


def test_the_gallery_has_the_worst_first_and_is_filtered(one, runs, page):
    outcomes = ShownRun.load(runs[0]).outcomes
    scores = [miou(outcome) for outcome in outcomes]
    assert scores[:-1] == sorted(scores[:-1])
    assert scores[-1] is None
    page.goto(one)
    assert names(page) == [outcome.image for outcome in outcomes]
    wait_for_pictures(page, ".card img")
    page.get_by_role("searchbox").fill("0001")
    assert names(page) == [o.image for o in outcomes if "0001" in o.image]
    assert page.locator("#count").inner_text() == "1 of 4 images"
    page.get_by_role("searchbox").fill("")
    page.get_by_label("mIoU from").fill(f"{scores[1]:.6f}")
    assert len(names(page)) in (1, 2)
    assert outcomes[0].image not in names(page)
    page.get_by_label("mIoU from").fill("")
    page.get_by_label("Order").select_option("-score")
    assert names(page) == [o.image for o in [*outcomes[-2::-1], outcomes[-1]]]


def test_pointing_changes_the_map_and_the_slider_regroups_in_python(one, runs, page):
    page.goto(f"{one}/images/0")
    page.wait_for_selector("[data-state=ready]")
    before = pixels(page)
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    expect(page.locator("output").first).to_have_text(re.compile("^Row 0,"))
    assert pixels(page) != before
    pointed = pixels(page)
    slider = page.get_by_label("Threshold")
    with page.expect_response(re.compile("labels")) as answer:
        slider.fill("1.2")
    count = len(answer.value.json()["colours"])
    run = ShownRun.load(runs[0])
    assert count == run.regrouped(run.outcomes[0].image, 1.2).count
    said = f"{count} segment{'s' * (count != 1)}"
    expect(page.locator(".controls summary")).to_have_text(said)
    assert count != run.outcomes[0].segments
    assert pixels(page) != pointed


def test_the_keyboard_leads_from_the_gallery_to_a_map(one, page):
    page.goto(one)
    for _ in range(5):  # name, from, to, order, the first card
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-state=ready]")
    assert page.url == f"{one}/images/0"
    reached = []
    for _ in range(10):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.tagName"))
        if reached[-1] == "CANVAS":
            page.keyboard.press("ArrowUp")
            expect(page.locator("output").first).to_have_text(re.compile("^Row"))
    assert {"A", "CANVAS", "SELECT", "INPUT", "SUMMARY"} <= set(reached)


def test_an_evil_name_harms_nothing(one, page):
    alerts = []
    page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    page.goto(one)
    card = page.locator(".card").filter(has_text=EVIL)
    assert card.count() == 1
    assert page.get_by_text("<b>broken", exact=True).count() == 1
    assert page.locator("img[src=x], b").count() == 0
    card.click()
    page.wait_for_selector("[data-state=ready]")
    assert page.locator("h1").inner_text() == EVIL
    assert page.locator("img[src=x]").count() == 0
    assert alerts == []


def test_two_runs_stand_side_by_side(both, runs, page):
    first, second = map(ShownRun.load, runs)
    scores = {outcome.image: miou(outcome) for outcome in second.outcomes}
    differences = [scores[o.image] - miou(o) for o in first.outcomes if miou(o) is not None]
    assert any(differences)
    page.goto(both)
    shown = page.locator(".card .numbers span").all_inner_texts()
    assert [text.replace("−", "-") for text in shown] == [f"{d:+.3f}" for d in differences]
    page.get_by_label("Order").select_option("difference")
    shown = page.locator(".card .numbers span").all_inner_texts()
    assert [text.replace("−", "-") for text in shown] == [f"{d:+.3f}" for d in sorted(differences)]
    page.locator(".card").first.click()
    expect(page.locator("[data-state=ready]")).to_have_count(2)
    assert page.locator("h2").all_inner_texts() == [str(run) for run in runs]
    boxes = [canvas.bounding_box() for canvas in page.locator("canvas").all()]
    assert boxes[0]["y"] == boxes[1]["y"]


@pytest.mark.parametrize("place", ["/", "/images/0"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_window(both, page, place, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(both + place)
    if place != "/":
        expect(page.locator("[data-state=ready]")).to_have_count(2)
    assert overflow(page) <= 0


def test_an_image_without_maps_is_shown_without_an_explorer(runs, tmp_path, page):
    old = tmp_path / "old"
    shutil.copytree(runs[0], old)
    shutil.rmtree(old / "maps")
    with served(old) as address:
        page.goto(f"{address}/images/0")
        assert page.get_by_text("No maps were kept of this image").is_visible()
        wait_for_pictures(page, "section img")
        assert httpx.get(f"{address}/images/0/0/payload").status_code == 404


def test_the_payload_has_the_run_s_own_segments_and_maps(one, runs):
    run = ShownRun.load(runs[0])
    for number, outcome in enumerate(run.outcomes):
        payload = httpx.get(f"{one}/images/{number}/0/payload").json()
        kept = load_maps(run.folder.maps(outcome.image))
        assert payload["title"] == outcome.image
        assert payload["layers"][0]["grid"] == list(kept.field.grid)
        labels = load_labels(run.folder.labels(outcome.image))
        assert payload["labels"]["size"] == list(labels.shape)
        areas = np.sort(np.bincount(labels.ravel()))[::-1] / labels.size
        assert np.allclose(payload["labels"]["shares"], areas[areas > 0], atol=1e-4)


# What it refuses


@pytest.mark.parametrize("threshold", ["", "x", "0", "-1", "nan", "inf"])
def test_a_threshold_that_is_none_is_told(one, threshold):
    answer = httpx.get(f"{one}/images/0/0/labels", params={"threshold": threshold})
    assert answer.status_code == 400
    assert answer.text == f"threshold must be a number above 0. Got {threshold!r} instead."


@pytest.mark.parametrize(
    "place",
    ["/images/4", "/images/99999999999999999999", "/images/-1", "/images/0/1/overlay",
     "/images/0/7/payload", "/files/app.py", "/files/", "/recipe.yaml", "/report.html"],
)  # fmt: skip
def test_what_is_not_there_is_not_found(one, place):
    assert httpx.get(one + place).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1", 200), ("localhost", 200), ("LOCALHOST:9999", 200), ("[::1]:80", 200),
     ("evil.com", 421), ("127.0.0.1.evil.com", 421), ("localhost.evil.com:8765", 421),
     ("192.168.0.1", 421), ("", 421), ("localhost@evil.com", 421)],
)  # fmt: skip
def test_the_host_asked_for_must_be_this_machine(one, host, status):
    answer = httpx.get(one, headers={"Host": host})
    assert answer.status_code == status
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_where_others_are_served_addresses_are_allowed_and_strange_names_still_not(runs):
    from starlette.testclient import TestClient

    app = make_app([ShownRun.load(runs[0])], ["0.0.0.0"], addresses=True)
    for host, status in (("192.168.0.7:80", 200), ("[fe80::1]", 200), ("evil.com", 421)):
        assert TestClient(app).get("/", headers={"Host": host}).status_code == status


def ask(address, path):
    """Ask for a path as it is written, which no client would; the whole answer."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET " + path + b" HTTP/1.0\r\nHost: localhost\r\n\r\n")
        return b"".join(iter(lambda: connection.recv(65536), b""))


PARTS = st.sampled_from(
    ["..", ".", "%2e%2e", "%2E.", "%252e%252e", "..%2f", "..%5c", "\\..", "%00", "//", "secret.txt",
     "etc", "passwd", "files", "images", "0", "overlay", "labels", "payload", "recipe.yaml",
     "environment.json", "%2fetc%2fpasswd", "file:", "~", "first", "second", "report.html"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PARTS, min_size=1, max_size=8), slash=st.sampled_from(["/", "%2f", "\\"]))
def test_no_path_leads_out_of_what_is_served(one, parts, slash):
    head, _, body = ask(one, ("/" + slash.join(parts)).encode()).partition(b"\r\n\r\n")
    assert head.split()[1] in (b"200", b"404", b"400", b"307")
    if head.split()[1] == b"200":
        assert re.search(rb"content-type: (text/html|image/jpeg|application/json)", head)
    assert SECRET.encode() not in body
    assert b"root:" not in body


def test_every_part_of_a_path_alone_and_its_absolute_places(one, runs):
    secret = runs[0].parent / "secret.txt"
    for place in (
        secret,
        Path("/etc/passwd"),
        runs[0] / "recipe.yaml",
        *(p for p, _ in FILES.values()),
    ):
        for path in (f"/{place}", f"/files/{place}", f"/files/..{place}", f"/images/0/0/{place}"):
            assert b" 404 " in ask(one, path.encode()).partition(b"\r\n")[0]


@pytest.fixture
def tampered(runs, tmp_path):
    """A copy of a run, to be changed."""
    shutil.copytree(runs[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["overlays", "maps", "labels"])
@pytest.mark.parametrize("link", ["file", "folder"])
def test_links_that_lead_out_of_the_run_are_not_followed(tampered, runs, kind, link):
    place = tampered / kind
    name = ShownRun.load(tampered).outcomes[0].image
    if link == "folder":
        shutil.rmtree(place)
        place.symlink_to(runs[0] / kind)
    else:
        (file,) = [path for path in place.iterdir() if path.stem == name]
        file.unlink()
        file.symlink_to(runs[0] / kind / file.name)
    with served(tampered) as address:
        part = "overlay" if kind == "overlays" else "payload"
        answer = httpx.get(f"{address}/images/0/0/{part}")
    assert answer.status_code == 404
    assert answer.text.endswith("leads out of the run's folder")


def test_names_that_lead_out_of_the_run_are_not_followed(tampered, runs):
    outside = tampered.parent / "outside.png"
    shutil.copy(next((runs[0] / "overlays").iterdir()), outside)
    table = parquet.read_table(tampered / "scores.parquet")
    for name in ("../../outside", str(outside.with_suffix(""))):
        column = pa.array([name, *table["image"].to_pylist()[1:]])
        changed = table.set_column(table.column_names.index("image"), "image", column)
        parquet.write_table(changed, tampered / "scores.parquet")
        gallery = Gallery([ShownRun.load(tampered)])
        number = [entry.name for entry in gallery.entries].index(name)
        with served(tampered) as address:
            answer = httpx.get(f"{address}/images/{number}/0/overlay")
        assert answer.status_code == 404
        assert "leads out of the run's folder" in answer.text


def test_runs_without_an_image_in_common_are_told(runs, tiny, tmp_path):
    other = make_run(
        tiny, tmp_path / "run", "probe.size=64", images="{use: scenes, start: 9, count: 1}"
    )
    with pytest.raises(RunError, match="no image is done in"):
        make_app([ShownRun.load(runs[0]), ShownRun.load(other)])


# The command


def told(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["view", *map(str, arguments)])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_what_prevents_it_is_a_sentence(runs, one, tmp_path, capsys):
    port = one.rpartition(":")[2]
    said = told(capsys, runs[0], "--port", port)
    assert said == f"error: port {port} is in use; name another with --port\n"
    assert told(capsys, tmp_path) == f"error: {tmp_path}: no run, for no recipe.yaml is in it\n"
    assert "Got 3 instead" in told(capsys, *runs, runs[0])
    assert "can't listen" in told(capsys, runs[0], "--host", "192.0.2.1", "--port", "0")


def test_it_serves_this_machine_alone_and_ends_with_ctrl_c(runs):
    command = [sys.executable, "-m", "attnprobe", "view", *map(str, runs), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    line = process.stdout.readline()
    address, port = re.match(r"(http://127\.0\.0\.1:(\d+))/  \(Ctrl-C ends it\)\n", line).groups()
    assert httpx.get(address).status_code == 200
    with pytest.raises(OSError):  # noqa: PT011
        socket.create_connection(("127.0.0.2", int(port)), timeout=2)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0


# The headers


def raw(address, content):
    """What is answered to bytes that need be no request."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(content)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer.decode("latin-1")


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421),
        (b"GET /images/0/0/labels?threshold=x HTTP/1.1\r\nHost: localhost\r\n"
         b"Connection: close\r\n\r\n", 400),
        (b"no request at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
         b"Connection: Upgrade, close\r\nSec-WebSocket-Key: x\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_every_answer_has_all_headers(one, content, status):
    head = raw(one, content).partition("\r\n\r\n")[0]
    assert head.startswith(f"HTTP/1.1 {status} ")
    said = {line.partition(": ")[0].lower(): line.partition(": ")[2] for line in head.split("\r\n")}
    assert {name.lower(): said.get(name.lower()) for name in HEADERS} == {
        name.lower(): value for name, value in HEADERS.items()
    }


def test_an_error_nobody_foresaw_has_all_headers(tampered):
    run = ShownRun.load(tampered)
    app = make_app([run])
    (tampered / "labels").rename(tampered / "elsewhere")
    object.__setattr__(run, "folder", None)  # a fault that no check expects
    with serving(app) as address:
        answer = httpx.get(f"{address}/images/0")
    assert answer.status_code == 500
    assert answer.headers.items() >= {k.lower(): v for k, v in HEADERS.items()}.items()
