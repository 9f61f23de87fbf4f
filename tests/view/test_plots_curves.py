import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from attnprobe.errors import AttnProbeError
from attnprobe.fields import AttentionField
from attnprobe.group.diffseg import DiffSeg
from attnprobe.view import COLUMN, PAGE, threshold_curve
from tests.view.figures import check_legible

TAUS = (0.05, 0.2, 0.8, 3.0)


@pytest.fixture
def scenes(voronoi):
    """Fields of tokens that look at their own cell, and the cells."""
    fields, truths = [], []
    for seed in range(3):
        labels = voronoi(10, 12, 4, seed)
        rng = np.random.default_rng(seed)
        logits = 3.0 * (labels.ravel()[:, None] == labels.ravel()) + rng.normal(0, 0.4, (120, 120))
        rows = np.exp(logits)
        fields.append(AttentionField(rows / rows.sum(1, keepdims=True), (10, 12)))
        truths.append(np.kron(labels, np.ones((2, 2), int)))
    return fields, truths


def miou(labels, truth):
    """Mean over the true classes of matched intersection over union, by hand."""
    classes, segments = np.unique(truth), range(max(labels.max() + 1, len(np.unique(truth))))
    inter = np.array([[np.sum((truth == c) & (labels == s)) for s in segments] for c in classes])
    union = np.array([[np.sum((truth == c) | (labels == s)) for s in segments] for c in classes])
    row, column = linear_sum_assignment(inter, maximize=True)
    return np.mean(inter[row, column] / union[row, column])


def test_it_draws_the_means_over_the_fields(scenes):
    fields, truths = scenes
    group = DiffSeg(anchors=6, thresholds=(1.0, 1.0))
    plot = threshold_curve(fields, TAUS[::-1], truths, group=group)
    counts, scores = [], []
    for tau in TAUS:
        found = [DiffSeg(anchors=6, thresholds=(tau, tau))(field) for field in fields]
        counts.append(np.mean([len(np.unique(seg.labels)) for seg in found]))
        scores.append(
            np.mean(
                [miou(s.resized(t.shape).labels, t) for s, t in zip(found, truths, strict=True)]
            )
        )
    above, below = plot.axes
    assert np.array_equal(above.lines[0].get_xdata(), TAUS)
    assert np.allclose(above.lines[0].get_ydata(), counts)
    assert np.allclose(below.lines[0].get_ydata(), scores)
    assert len(set(counts)) > 2
    assert (above.get_ylabel(), below.get_ylabel()) == ("segments", "mIoU")
    check_legible(plot)


def test_the_interval_holds_the_mean_and_lies_within_the_values(scenes):
    fields, truths = scenes
    plot = threshold_curve(fields, TAUS, truths)
    for axis in plot.axes:
        (band,) = axis.collections
        means = axis.lines[0].get_ydata()
        points = band.get_paths()[0].vertices
        for tau, mean in zip(TAUS, means, strict=True):
            ends = points[np.isclose(points[:, 0], tau), 1]
            assert ends.min() <= mean <= ends.max()


@pytest.mark.parametrize("width", [COLUMN, PAGE])
def test_one_field_has_no_interval(scenes, width):
    fields, truths = scenes
    alone = threshold_curve(fields[0], TAUS, width=width)
    assert len(alone.axes) == 1
    assert not alone.axes[0].collections
    check_legible(alone)
    scored = threshold_curve(fields[0], TAUS, truths[0], width=width)
    assert len(scored.axes) == 2
    check_legible(scored)


def test_what_is_missing_is_told(scenes):
    fields, truths = scenes
    with pytest.raises(AttnProbeError, match="at least one field"):
        threshold_curve([], TAUS)
    with pytest.raises(AttnProbeError, match="one threshold"):
        threshold_curve(fields, [])
    with pytest.raises(AttnProbeError, match=r"one truth for each of 3 fields\. Got 2"):
        threshold_curve(fields, TAUS, truths[:2])
    with pytest.raises(AttnProbeError, match="thresholds"):
        threshold_curve(fields, [0.0])
