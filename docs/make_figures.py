"""Make the documentation's pictures anew: ``python docs/make_figures.py``.

They are the strip on the home page and the outputs of the notebooks, both with the model that
comes with attnprobe.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

import attnprobe as ap

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
    make_strip().save(DOCS / "images" / "diffseg.png", optimize=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        run_notebook(path)
