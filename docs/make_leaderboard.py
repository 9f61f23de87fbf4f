"""Write the table and the bars of docs/leaderboard.md: ``python docs/make_leaderboard.py FOLDER``.

The folder is that of ``attnprobe run leaderboard-scenes``. Scores are read from it; the seconds
are measured here, on fields that are at hand, for the run's own times have the model in them.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from attnprobe import registry
from attnprobe.data.scenes import Scenes
from attnprobe.evaluate import mean_interval
from attnprobe.evaluate.leaderboard import LeaderboardEntry, leaderboard_tables
from attnprobe.pipeline import Pipeline
from attnprobe.recipe import Recipe, load_recipe
from attnprobe.run.folder import RECIPE, RunFolder
from attnprobe.run.measured import measured
from attnprobe.run.results import Results
from attnprobe.run.sweep import runs_of
from attnprobe.view.terminal.leaderboard import plot_leaderboard

PAGE = Path(__file__).with_name("leaderboard.md")
PICTURE = PAGE.parent / "images" / "leaderboard.png"
BEGIN, END = "<!-- the table begins -->\n", "<!-- the table ends -->\n"
STYLES = {"as is": "", "sketch": "-sketch", "paint": "-paint"}
"""Styles and how the names of their pictures end."""
TIMED = 8
"""Scenes on which groupers are timed."""


def main(folder: Path) -> None:
    """Fill the page's table from a sweep's folder."""
    runs = [
        (load_recipe(run.path / RECIPE), Results.load(run)) for run in runs_of(RunFolder(folder))
    ]
    looked, base = looked_at(runs[0][0])
    rows = [row(recipe, results, looked, base) for recipe, results in runs]
    rows.sort(key=lambda cells: -cells["all"])
    entries = [entry(run) for run in runs_of(RunFolder(folder))]
    plot_leaderboard(leaderboard_tables(entries), PICTURE)
    pictures = len(runs[0][1].done)
    titles = ["method", "told", *STYLES, "all", "ACC", "segments", "seconds"]
    lines = [f"| {' | '.join(titles)} |", "|---|---|" + "---:|" * (len(titles) - 2)]
    lines += [f"| {' | '.join(cell(cells[title]) for title in titles)} |" for cells in rows]
    margin = statistics.median(cells["margin"] for cells in rows)
    note = (
        f"Mean mIoU and ACC in percent over {pictures} pictures. Another draw of as many would "
        f"move a mean over all by about ±{margin:.1f}, the rows' median 95 % bootstrap interval."
    )
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join([*lines, "", note, ""])
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def entry(run: RunFolder) -> LeaderboardEntry:
    """A point as a bar, by the name of its method."""
    return replace(measured(run), method=method(load_recipe(run.path / RECIPE)))


def row(recipe: Recipe, results: Results, looked: list[Any], base: Pipeline) -> dict[str, Any]:
    """A method's cells by the titles of their columns."""
    found = [outcome for outcome in results.done if outcome.scores is not None]
    mious = np.array([100 * outcome.scores.miou for outcome in found])
    ends = np.array([next(e for e in sorted(STYLES.values(), key=len)[::-1] if o.image.endswith(e))
                     for o in found])  # fmt: skip
    low, high = mean_interval(mious)
    return {
        "method": method(recipe),
        "told": "number" if getattr(recipe.group, "clusters", None) == "truth" else "",
        **{style: mious[ends == end].mean() for style, end in STYLES.items()},
        "all": mious.mean(),
        "margin": (high - low) / 2,
        "ACC": 100 * np.mean([outcome.scores.acc for outcome in found]),
        "segments": np.mean([outcome.segments for outcome in found]),
        "seconds": f"{seconds(recipe, looked, base):.2f}",
    }


def method(recipe: Recipe) -> str:
    """A grouper by its name, what decides the number of segments, and refiners."""
    group = recipe.group
    name = getattr(group, "estimator", None) or _name("groupers", group)
    clusters = getattr(group, "clusters", None) or next(
        (v for k, v in getattr(group, "params", {}).items() if k in ("n_clusters", "n_components")),
        None,
    )
    number = {"truth": "true number", None: ""}.get(clusters, str(clusters))
    refiners = "".join(f" + {_name('refiners', refiner)}" for refiner in recipe.refine)
    return f"{name}{number and f', {number}'}{refiners}"


def looked_at(recipe: Recipe) -> tuple[list[Any], Pipeline]:
    """Pictures, fields and truths of a few scenes, and the pipeline that made them."""
    base = recipe.build()
    samples = Scenes(count=TIMED)()
    return [(base.attention(sample.read()), sample.truth()) for sample in samples], base


def seconds(recipe: Recipe, looked: list[Any], base: Pipeline) -> float:
    """Median time to group and refine a picture whose field is at hand."""
    pipeline = replace(base, group=recipe.group, refine=recipe.refine)
    times = []
    for attention, truth in looked:
        start = time.perf_counter()
        pipeline.cut(attention, truth)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def cell(value: Any) -> str:
    """A cell."""
    return value if isinstance(value, str) else f"{value:.1f}"


def _name(kind: str, component: Any) -> str:
    return next(e.name for e in registry.entries(kind) if e.component is type(component))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
