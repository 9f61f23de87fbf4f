"""Make the documentation's pictures anew: all, or by name `strip`, `edits`, `words`, `notebooks`.

They are the strip on the home page, the drawings under interventions, words over steps and the
outputs of the notebooks, all with the model that comes with attnprobe.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import torch
from nbclient import NotebookClient
from PIL import Image

import attnprobe as ap
from attnprobe.hooks import TokenMatch
from attnprobe.view import Plot, word_over_steps

DOCS = Path(__file__).parent
NOTEBOOKS = DOCS.parent / "notebooks"

HEIGHT, GAP = 160, 6
"""Of a picture in the strip and between two, pixels."""

PROGRESS_BAR = "application/vnd.jupyter.widget-view+json"

IMAGES = "images=[{use: photos}, {use: scenes, count: 4}]"


def make_strip() -> Image.Image:
    """Photographs and scenes above, their segments below."""
    recipe = ap.load_recipe("diffseg", [IMAGES])
    pipeline = recipe.build()
    columns = []
    for sample in recipe.samples():
        picture = sample.read()
        width = round(HEIGHT * picture.width / picture.height)
        shown = picture.resize((width, HEIGHT), Image.Resampling.LANCZOS)
        segmentation = pipeline.segment(picture).resized((HEIGHT, width))
        columns.append((shown, segmentation.overlay(shown)))
    widths = [above.width for above, _ in columns]
    size = (sum(widths) + GAP * (len(widths) - 1), 2 * HEIGHT + GAP)
    strip = Image.new("RGBA", size)
    left = 0
    for above, below in columns:
        strip.paste(above, (left, 0))
        strip.paste(below, (left, HEIGHT + GAP))
        left += above.width + GAP
    return strip


DISC = "a red plain disc on a green plain ground"
STAR = "a red plain star on a green plain ground"
STRIPED = "a red striped disc on a green plain ground"


def make_edits() -> dict[str, list[Image.Image]]:
    """Drawings without and under each intervention that the page on them shows, by file's name."""
    pipe = ap.ModelSpec(preset="tiny").load().pipe
    cross = ap.Layers(kind="cross")

    def draw(prompt: str, change: Callable[[ap.AttentionHooks], Any] | None = None) -> Image.Image:
        hooks = ap.AttentionHooks(pipe.unet)
        if change is not None:
            change(hooks)
        with hooks:
            return pipe(
                prompt,
                num_inference_steps=12,
                guidance_scale=4.0,
                generator=torch.manual_seed(2),
            ).images[0]

    with ap.capture(pipe.unet, cross, ap.PerHead(), over_steps="each") as seen:
        disc = draw(DISC)
    swap = TokenMatch.replacement(pipe, DISC, STAR)
    add = TokenMatch.refinement(pipe, DISC, STRIPED)
    red = ap.TokenMaps.of(pipe, DISC, "red")
    return {
        "ablate": [disc, draw(DISC, lambda hooks: hooks.ablate(0, cross))],
        "scale": [disc, draw(DISC, lambda hooks: hooks.scale(red, 3.0))],
        "replacement": [disc, draw(STAR), draw(STAR, lambda hooks: hooks.patch(seen, swap))],
        "refinement": [disc, draw(STRIPED), draw(STRIPED, lambda hooks: hooks.patch(seen, add))],
        "logits": [
            disc,
            draw(DISC, lambda hooks: hooks.edit(lambda logits, _: 2 * logits, cross, on="logits")),
        ],
    }


def words_over_steps() -> Plot:
    """Two words from step to step of the drawing that the interventions change."""
    pipe = ap.ModelSpec(preset="tiny").load().pipe
    keep = ap.TokenMaps.of(pipe, DISC, ["disc", "ground"])
    with ap.capture(pipe.unet, keep=keep, over_steps="each") as seen:
        generator = torch.manual_seed(2)
        drawn = pipe(DISC, num_inference_steps=12, guidance_scale=4.0, generator=generator)
    return word_over_steps(seen, drawn.images[0])


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Pictures of one size in a row."""
    width, height = pictures[0].size
    row = Image.new("RGBA", (len(pictures) * (width + GAP) - GAP, height))
    for place, picture in enumerate(pictures):
        row.paste(picture, (place * (width + GAP), 0))
    return row


def run_notebook(path: Path) -> None:
    """Run a notebook and store what it shows, without what libraries say while they load."""
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = NotebookClient(notebook, kernel_name="python3", coalesce_streams=True)
        client.execute(cwd=folder)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran, which is never the same
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if not _passing(out)]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, path)


def _passing(output: Any) -> bool:
    """Whether it is a message or a progress bar."""
    return output.get("name") == "stderr" or PROGRESS_BAR in output.get("data", {})


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["strip", "edits", "words", "notebooks"]
    if "strip" in wanted:
        make_strip().save(DOCS / "images" / "diffseg.png", optimize=True)
    if "edits" in wanted:
        for name, pictures in make_edits().items():
            side_by_side(pictures).save(DOCS / "images" / f"edit-{name}.png", optimize=True)
    if "words" in wanted:
        (DOCS / "images" / "words-over-steps.png").write_bytes(words_over_steps()._repr_png_())
    if "notebooks" in wanted:
        for path in sorted(NOTEBOOKS.glob("*.ipynb")):
            run_notebook(path)
