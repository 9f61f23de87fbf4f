"""A run's report: one page that needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from attnprobe.errors import AttnProbeError
from attnprobe.files import read_text, write_whole
from attnprobe.pictures.legend import LegendLine
from attnprobe.run.folder import RECIPE, REPORT
from attnprobe.run.outcome import Outcome
from attnprobe.view import report_plot
from attnprobe.view.explorer import explorer_assets, explorer_html
from attnprobe.view.report_plot import count_histogram, score_histogram
from attnprobe.view.report_run import LEVELS, SLIDER, ShownRun, miou, numbers_of
from attnprobe.view.terminal.runs import fixed

EXPLORED = 24
"""Images with an explorer; of more, a third each: the worst, the best, and evenly between."""

EXTREMES = 4
"""Worst and best images that are shown first."""

_OVERLAY_SIDE, _THUMBNAIL_SIDE = 480, 200
"""Pixels of the longer side of overlays, and of those of images without an explorer."""

_FOLDER = Path(__file__).parent


class Cell(NamedTuple):
    """A number in the table: as it is read and as it is sorted."""

    shown: str
    exact: str


@dataclass(frozen=True)
class Shown:
    """An image of the page.

    Args:
        id: its anchor.
        name: as the run has it.
        values: its cells in the table.
        said: its numbers in words.
        overlay: data address, or empty if the file is gone.
        thumbnail: a smaller one, of an image among the worst or best.
        explorer: HTML, or empty.
        names: what its segments are called, the largest first.
        words: each word and its map over the picture, a data address.
    """

    id: str
    name: str
    values: tuple[Cell, ...]
    said: str
    overlay: str
    thumbnail: str
    explorer: Markup
    names: list[LegendLine]
    words: list[tuple[str, str]]


def write_report(run: str | Path, path: str | Path | None = None) -> Path:
    """Write a run's report, by default as report.html in its folder; where it lies.

    Equal runs get equal reports.

    Raises:
        RunError: there is no run, or it can't be read.
        AttnProbeError: the file can't be written.
    """
    path = Path(run) / REPORT if path is None else Path(path)
    page = report_html(ShownRun.load(Path(run)))
    with write_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def report_html(run: ShownRun) -> str:
    """A run's report as HTML."""
    outcomes = run.outcomes
    chosen = explored([outcome.image for outcome in outcomes if run.has_maps(outcome.image)])
    ends = _ends(run)
    extremes = {outcome.image for end in ends for outcome in end}
    images = [_shown(run, o, i, chosen, extremes) for i, o in enumerate(outcomes, start=1)]
    shown = {image.name: image for image in images}
    style = Markup(f"<style>{(_FOLDER / 'report.css').read_text('utf-8')}</style>")
    script = f'<script type="module">{(_FOLDER / "report.js").read_text("utf-8")}</script>'
    scripts = Markup(explorer_assets() + script)
    return template("attnprobe.view", "report.html").render(
        name=run.name,
        facts=_facts(run),
        columns=columns(run),
        images=images,
        ends=[
            (title, [shown[outcome.image] for outcome in end])
            for title, end in zip(("Lowest mIoU", "Highest mIoU"), ends, strict=True)
        ],
        plot=_plot(run) if outcomes else None,
        places=report_plot.PLACES,
        order="Worst mIoU first." if run.scored else "In the run's order: there is no truth.",
        explained=_explained(sum(bool(image.explorer) for image in images), len(images)),
        note=SLIDER if run.threshold is not None else run.lost,
        failures=run.results.failed,
        recipe=read_text(run.folder.path / RECIPE),
        environment=list(_flat(run.folder.environment())),
        style=style,
        scripts=scripts,
        policy=content_policy(style + scripts),
    )


def explored(names: Sequence[str]) -> set[str]:
    """Which of the images, the worst first, get an explorer."""
    if len(names) <= EXPLORED:
        return set(names)
    third = EXPLORED // 3
    between = names[third:-third]
    evenly = [between[(2 * i + 1) * len(between) // (2 * third)] for i in range(third)]
    return {*names[:third], *evenly, *names[-third:]}


def columns(run: ShownRun) -> list[str]:
    """The names of an image's numbers."""
    return ["segments", "ACC", "mIoU"] if run.scored else ["segments"]


def cells(run: ShownRun, outcome: Outcome) -> tuple[Cell, ...]:
    """An image's numbers, a cell a column."""
    count = Cell(str(outcome.segments), str(outcome.segments))
    if not run.scored:
        return (count,)
    row = outcome.row()
    scores = [row["acc"], row["miou"]]
    return (count, *(Cell(fixed(s, 3), "" if s is None else str(s)) for s in scores))


def _facts(run: ShownRun) -> list[tuple[str, str]]:
    """What is said of the run before all else."""
    summary = run.results.summary()
    found = [("images", f"{summary['done']} of {summary['images']}")]
    if summary["failed"]:
        found.append(("failed", str(summary["failed"])))
    mean = summary["mean"]
    if run.scored:
        found += [("mean mIoU", fixed(mean["miou"], 3)), ("mean ACC", fixed(mean["acc"], 3))]
    return [*found, ("mean segments", fixed(mean["segments"], 1))]


def content_policy(assets: str) -> str:
    """What a browser may do with a page: these styles and scripts by their hashes, no network.

    Args:
        assets: the page's ``style`` and ``script`` elements.
    """

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", assets, re.DOTALL)
        digests = (hashlib.sha256(text.encode()).digest() for text in found)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; img-src data:; style-src {hashes('style')}; "
        f"script-src {hashes('script')}; base-uri 'none'; form-action 'none'"
    )


def template(package: str, name: str) -> Template:
    """A page's template, in which all text is escaped."""
    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(f"{name}.jinja")


def _plot(run: ShownRun) -> report_plot.Histogram:
    scores = [score for score in map(miou, run.outcomes) if score is not None]
    if scores:
        return score_histogram(scores)
    return count_histogram([outcome.segments or 0 for outcome in run.outcomes])


def _ends(run: ShownRun) -> tuple[list[Outcome], list[Outcome]]:
    """The worst and the best images; none where there are too few to tell them apart."""
    scored = [outcome for outcome in run.outcomes if miou(outcome) is not None]
    if len(scored) < 2 * EXTREMES:
        return [], []
    return scored[:EXTREMES], scored[: -EXTREMES - 1 : -1]


def _shown(
    run: ShownRun, outcome: Outcome, number: int, chosen: set[str], extremes: set[str]
) -> Shown:
    name = outcome.image
    return Shown(
        id=f"image-{number}",
        name=name,
        values=cells(run, outcome),
        said=numbers_of(outcome),
        overlay=_address(run, name, _OVERLAY_SIDE if name in chosen else _THUMBNAIL_SIDE),
        thumbnail=_address(run, name, _THUMBNAIL_SIDE) if name in extremes else "",
        explorer=_explorer(run, name) if name in chosen else Markup(),
        names=_names(run, name),
        words=_words(run, name) if number <= EXPLORED else [],
    )


def _names(run: ShownRun, image: str) -> list[LegendLine]:
    """What is known of the segments' names; none if the file can't be read."""
    try:
        return [line for line in run.names(image) if line.name is not None]
    except AttnProbeError:
        return []


def _words(run: ShownRun, image: str) -> list[tuple[str, str]]:
    """The words' maps; none if the file can't be read."""
    try:
        return [(word, _data(jpeg)) for word, jpeg in run.word_maps(image, _THUMBNAIL_SIDE)]
    except AttnProbeError:
        return []


def _explorer(run: ShownRun, image: str) -> Markup:
    """An image's explorer; empty if one of its files is gone or can't be read."""
    levels = [] if run.threshold is None else [round(run.threshold * part, 3) for part in LEVELS]
    try:
        return Markup(explorer_html(run.payload(image, levels), assets=False))
    except AttnProbeError:
        return Markup()


def _address(run: ShownRun, image: str, side: int) -> str:
    """An overlay as a data address; empty if it isn't there any more."""
    try:
        picture = run.overlay(image, side)
    except AttnProbeError:
        return ""
    return _data(picture)


def _data(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _explained(chosen: int, count: int) -> str:
    if not chosen:
        return "No maps were kept, so there is nothing to explore."
    if chosen == count:
        return "Open one to explore its attention."
    return (
        f"Of the {count}, {chosen} can be opened to explore their attention: the worst, the best "
        "and others evenly between. The command attnprobe view has it for all of which maps were "
        "kept."
    )


def _flat(environment: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """A row a thing, what belongs together in one."""
    for key, value in environment.items():
        if isinstance(value, dict):
            yield key, ", ".join(f"{n} {v}" for n, v in value.items() if v is not None)
        elif value is not None:
            yield key, str(value)
