"""The pages and data of one or two runs, addressed by number: no name ever becomes a path."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from attnprobe.errors import AttnProbeError, RunError
from attnprobe.run.outcome import Outcome
from attnprobe.view.explorer import SCRIPT, STYLE, labels_payload
from attnprobe.view.report import template
from attnprobe.view.report_run import SLIDER, ShownRun, miou, numbers_of
from attnprobe.view.server.guard import Guard

_VIEW = Path(__file__).parents[1]

FILES = {
    "explorer.js": (SCRIPT, "text/javascript"),
    "explorer.css": (STYLE, "text/css"),
    "page.css": (_VIEW / "report.css", "text/css"),
    "gallery.js": (_VIEW / "server" / "gallery.js", "text/javascript"),
    "image.js": (_VIEW / "server" / "image.js", "text/javascript"),
}
"""The only files that are sent as they are."""

LOCAL = ("localhost", "127.0.0.1", "::1")
"""What this machine is called by itself."""

_OVERLAY_SIDE = 480
"""Pixels of the longer side of an overlay in the gallery."""


@dataclass(frozen=True)
class Entry:
    """An image of the gallery.

    Args:
        name: as the runs have it.
        outcomes: what came of it in each run.
    """

    name: str
    outcomes: tuple[Outcome, ...]

    @property
    def scores(self) -> list[float | None]:
        """mIoU in each run."""
        return [miou(outcome) for outcome in self.outcomes]

    @property
    def score(self) -> float | None:
        """By which it is sorted and filtered: mIoU in the first run."""
        return self.scores[0]

    @property
    def difference(self) -> float | None:
        """mIoU in the second run less that in the first; None without either."""
        if len(self.outcomes) < 2 or None in self.scores:
            return None
        first, second = self.scores
        return second - first  # type: ignore[operator]


class Gallery:
    """What the server shows: the images that all its runs have done, the worst first.

    Args:
        runs: one run, or two to be compared.

    Raises:
        RunError: they have no image in common.
    """

    def __init__(self, runs: Sequence[ShownRun]) -> None:
        self.runs = runs
        found = [{outcome.image: outcome for outcome in run.outcomes} for run in runs]
        self.entries = [
            Entry(name, tuple(outcomes[name] for outcomes in found))
            for name in found[0]
            if all(name in outcomes for outcomes in found)
        ]
        if not self.entries:
            raise RunError(f"no image is done in {' and '.join(self.titles)}")

    @property
    def titles(self) -> list[str]:
        """The runs' folders."""
        return [str(run.folder.path) for run in self.runs]

    def gallery(self, request: Request) -> Response:
        """The page of all images."""
        return _page("gallery", titles=self.titles, entries=self.entries, runs=self.runs)

    def image(self, request: Request) -> Response:
        """The page of an image: an explorer for each run."""
        number, entry = self._entry(request)
        sides = [
            {
                "title": title,
                "outcome": outcome,
                "explorable": run.has_maps(entry.name),
                "live": run.threshold is not None,
            }
            for run, title, outcome in zip(self.runs, self.titles, entry.outcomes, strict=True)
        ]
        last = len(self.entries) - 1
        return _page("image", entry=entry, number=number, last=last, sides=sides, note=SLIDER)

    def overlay(self, request: Request) -> Response:
        """An image's overlay in one run, made small."""
        _, entry = self._entry(request)
        picture = _found(lambda: self._run(request).overlay(entry.name, _OVERLAY_SIDE))
        return Response(picture, media_type="image/jpeg")

    def payload(self, request: Request) -> Response:
        """What the explorer shows of an image in one run."""
        _, entry = self._entry(request)
        return JSONResponse(_found(lambda: self._run(request).payload(entry.name)))

    def labels(self, request: Request) -> Response:
        """An image's segments in one run with the threshold that the query asks for."""
        _, entry = self._entry(request)
        threshold = _threshold(request.query_params.get("threshold", ""))
        found = _found(lambda: self._run(request).regrouped(entry.name, threshold))
        return JSONResponse(labels_payload(found))

    def _entry(self, request: Request) -> tuple[int, Entry]:
        number = request.path_params["image"]
        if number >= len(self.entries):
            raise HTTPException(404, "There is no such image.")
        return number, self.entries[number]

    def _run(self, request: Request) -> ShownRun:
        number = request.path_params["run"]
        if number >= len(self.runs):
            raise HTTPException(404, "There is no such run.")
        return self.runs[number]


def make_app(
    runs: Sequence[ShownRun], names: Collection[str] = LOCAL, addresses: bool = False
) -> Guard:
    """The server's application, the guard outermost, so that its errors are guarded too.

    Args:
        runs: one run, or two to be compared.
        names: hosts that may be asked for.
        addresses: whether any numeric address may be.

    Raises:
        RunError: the runs have no image in common.
    """
    gallery = Gallery(runs)
    app = Starlette(
        routes=[
            Route("/", gallery.gallery),
            Route("/images/{image:int}", gallery.image),
            Route("/images/{image:int}/{run:int}/overlay", gallery.overlay),
            Route("/images/{image:int}/{run:int}/payload", gallery.payload),
            Route("/images/{image:int}/{run:int}/labels", gallery.labels),
            Route("/files/{name}", _file),
        ]
    )
    return Guard(app, names, addresses)


def _file(request: Request) -> Response:
    if request.path_params["name"] not in FILES:
        raise HTTPException(404, "There is no such file.")
    path, kind = FILES[request.path_params["name"]]
    return Response(path.read_text("utf-8"), media_type=kind)


def _found(get: Callable[[], Any]) -> Any:
    """What is asked for; what the run's folder can't give is 404 and a sentence."""
    try:
        return get()
    except AttnProbeError as error:
        raise HTTPException(404, str(error)) from None


def _threshold(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise HTTPException(400, f"threshold must be a number above 0. Got {text!r} instead.")
    return value


def _page(name: str, **values: Any) -> Response:
    page = template("attnprobe.view.server", f"{name}.html")
    return HTMLResponse(page.render(numbers_of=numbers_of, **values))
