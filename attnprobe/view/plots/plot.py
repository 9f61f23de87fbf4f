"""A figure for a paper: Matplotlib's, at a column's or a page's width, in one style."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from attnprobe.errors import AttnProbeError
from attnprobe.files import write_whole

if TYPE_CHECKING:
    from contextlib import _GeneratorContextManager

    from matplotlib.backend_bases import RendererBase

COLUMN = 3.25
"""Inches: a column of a paper that has two."""

PAGE = 6.75
"""Inches: both columns."""

SHOWN_DPI, SAVED_DPI = 150, 300
"""Pixels an inch on a screen, and in a file of what isn't drawn in lines."""

STYLE = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.labelsize": 7,
    "xtick.labelsize": 6,
    "ytick.labelsize": 6,
    "legend.fontsize": 6,
    "axes.titlepad": 2.5,
    "axes.linewidth": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "lines.linewidth": 1.2,
    "lines.markersize": 3,
    "image.cmap": "viridis",
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
    "figure.constrained_layout.wspace": 0.01,
    "figure.constrained_layout.hspace": 0.01,
    "pdf.fonttype": 42,  # TrueType; Matplotlib's own choice is refused by journals
    "ps.fonttype": 42,
    "svg.fonttype": "none",
}


def style() -> _GeneratorContextManager[None]:
    """The plots' style, as a context or a decorator, whatever the user's own settings are."""
    return matplotlib.style.context(["default", STYLE])


class Plot(Figure):
    """A Matplotlib figure of a given width, shown by a notebook and saved in any of its formats.

    It belongs to no pyplot state: nothing need be closed, and no window opens. Fonts are embedded
    as text, so that a PDF can be searched and edited.

    Args:
        width: inches; `COLUMN` (3.25) and `PAGE` (6.75) are a paper's.
        height: inches; `trimmed` fits it to what is on the plot.
        layout: Matplotlib's layout engine; ``compressed`` where panels keep their aspect.

    Raises:
        AttnProbeError: the width isn't from 1 to 40 inches.
    """

    def __init__(
        self,
        width: float,
        height: float = 1.0,
        layout: Literal["compressed", "constrained"] = "compressed",
    ) -> None:
        if not 1 <= width <= 40:
            raise AttnProbeError(f"plot: width must be from 1 to 40 inches. Got {width} instead.")
        super().__init__(figsize=(width, height), dpi=SHOWN_DPI, layout=layout)
        self.canvas: FigureCanvasAgg = FigureCanvasAgg(self)

    def trimmed(self) -> Self:
        """The plot, as high as what is on it: panels that keep their aspect may need less."""
        self.draw_without_rendering()
        self.set_figheight(self.get_tightbbox().height + 0.04)
        return self

    def draw(self, renderer: RendererBase) -> None:
        """Draw it, in the plots' style: Matplotlib reads some settings as late as here."""
        with style():
            super().draw(renderer)

    def save(self, path: str | Path) -> None:
        """Write the figure; the suffix says how: ``.pdf``, ``.svg``, ``.png`` and so on.

        Raises:
            AttnProbeError: the suffix is none of those, or the file can't be written.
        """
        suffix = Path(path).suffix.lower()
        known = self.formats()
        if suffix not in known:
            raise AttnProbeError(
                f"{path}: a plot's suffix must be one of {', '.join(known)}. "
                f"Got {suffix or 'none'} instead."
            )
        with write_whole(path) as temporary:
            self._write(temporary, suffix)

    def formats(self) -> list[str]:
        """Suffixes that `save` knows."""
        return [f".{name}" for name in self.canvas.get_supported_filetypes()]

    def _write(self, path: Path, suffix: str) -> None:
        undated = {"CreationDate": None} if suffix == ".pdf" else None  # equal plots, equal files
        with style():  # a PDF's fonts are embedded after it is drawn
            self.savefig(path, dpi=SAVED_DPI, metadata=undated)

    def _repr_png_(self) -> bytes:
        self.canvas.draw()
        picture = Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3])
        file = io.BytesIO()
        # 256 colours look the same and are a quarter of the bytes, which a notebook keeps
        picture.quantize(256, Image.Quantize.FASTOCTREE).save(file, "PNG", optimize=True)
        return file.getvalue()
