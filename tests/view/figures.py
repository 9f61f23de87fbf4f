"""What the tests of plots ask of a drawn figure."""

import itertools

import numpy as np
from matplotlib.axis import Axis
from matplotlib.text import Text


def pixels(plot):
    """The plot as drawn: (H, W, 3) uint8."""
    plot.canvas.draw()
    return np.asarray(plot.canvas.buffer_rgba())[..., :3].copy()


def at(plot, axis, x, y):
    """The drawn colour at a point of an axis' data."""
    return at_each(plot, [(axis, x, y)])[0]


def at_each(plot, places):
    """The drawn colours (K, 3) at points of axes' data."""
    drawn = pixels(plot)
    found = []
    for axis, x, y in places:
        across, up = axis.transData.transform((x, y))
        found.append(drawn[len(drawn) - 1 - int(up), int(across)])
    return np.array(found)


def texts(plot):
    """All text that is drawn: tick labels outside their axis' view are not."""
    outside = set()
    for axis in plot.findobj(Axis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks() + axis.get_minor_ticks():
            if not low <= tick.get_loc() <= high:
                outside |= {tick.label1, tick.label2}
    found = [text for text in plot.findobj(Text) if text.get_visible() and text.get_text()]
    return [text for text in found if text not in outside]


def check_legible(plot):
    """No text lies over another or beyond the figure, and none is below 6 points."""
    plot.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(plot)]
    assert boxes
    for text in texts(plot):
        assert text.get_fontsize() >= 6
    for said, box in boxes:
        assert box.x0 >= -1, said
        assert box.y0 >= -1, said
        assert box.x1 <= plot.bbox.width + 1, said
        assert box.y1 <= plot.bbox.height + 1, said
    for (said, box), (other, its) in itertools.combinations(boxes, 2):
        apart = box.x1 <= its.x0 or its.x1 <= box.x0 or box.y1 <= its.y0 or its.y1 <= box.y0
        assert apart, f"{said!r} lies over {other!r}"
