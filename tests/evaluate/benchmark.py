"""Berkeley's benchmark once more, from its definitions, with no code in common with ours.

Slow and plain: dictionaries and sets, and a matching by SciPy's dense solver. Lines are given.
"""

import math
from collections import Counter

import numpy as np
from scipy.optimize import linear_sum_assignment


def regions(labels):
    """The set of pixels of each region."""
    found = {}
    for at in np.ndindex(labels.shape):
        found.setdefault(int(labels[at]), set()).add(at)
    return found


def covering(segments, truths):
    """Σ |R| max O(R, R') over people's regions, and the pixels: cntR and sumR."""
    ours, covered, pixels = regions(segments), 0.0, 0
    for truth in truths:
        for region in regions(truth).values():
            best = max(len(region & other) / len(region | other) for other in ours.values())
            covered += len(region) * best
            pixels += len(region)
    return covered, pixels


def rand_index(segments, truth):
    """Of all pairs of pixels, the share on which both say the same."""
    a, b = segments.ravel(), truth.ravel()
    same = np.equal.outer(a, a) == np.equal.outer(b, b)
    n = len(a)
    return (same.sum() - n) / (n * n - n)


def variation(segments, truth):
    """H(S) + H(G) − 2 I(S, G), in bits."""
    n = segments.size
    joint = Counter(zip(segments.flat, truth.flat, strict=True))
    ours, theirs = Counter(segments.flat), Counter(truth.flat)

    def entropy(counts):
        return -sum(c / n * math.log2(c / n) for c in counts.values())

    mutual = sum(
        c / n * math.log2(c / n / (ours[s] / n * theirs[g] / n)) for (s, g), c in joint.items()
    )
    return entropy(ours) + entropy(theirs) - 2 * mutual


def pairs(one, other, reach):
    """How many pixels of two line maps can be paired, one to one."""
    ours, theirs = np.argwhere(one), np.argwhere(other)
    if not (len(ours) and len(theirs)):
        return 0
    near = ((ours[:, None] - theirs[None]) ** 2).sum(2) <= reach**2
    rows, columns = linear_sum_assignment(near, maximize=True)
    return int(near[rows, columns].sum())


def f_measure(recalled, drawn, right, found):
    recall = recalled / drawn if drawn else 0.0
    precision = right / found if found else 0.0
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0
