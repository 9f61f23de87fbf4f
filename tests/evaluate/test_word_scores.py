"""Scores of a word's map: against scikit-learn, and by trying every threshold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from attnprobe import AttnProbeError
from attnprobe.evaluate.word_scores import word_scores


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.tuples(st.integers(1, 9), st.integers(2, 9)),
    levels=st.sampled_from([1, 2, 4, 1000]),
)
def test_they_are_scikit_learn_s(seed, size, levels):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, size) / 7
    mask = rng.random(size) < rng.random()
    mask.flat[seed % mask.size] = True
    found = word_scores(values, mask)
    true, flat = mask.ravel(), values.ravel()
    ious = {level: jaccard_score(true, flat >= level) for level in np.unique(flat)}
    assert found.best_iou == pytest.approx(max(ious.values()), rel=1e-12)
    half = flat.min() + (flat.max() - flat.min()) / 2
    assert found.iou == pytest.approx(jaccard_score(true, flat >= half), rel=1e-12)
    assert found.hit == true[flat.argmax()]
    assert found.ap == pytest.approx(average_precision_score(true, flat), rel=1e-9)
    if true.all():
        assert math.isnan(found.auc)
    else:
        assert found.auc == pytest.approx(roc_auc_score(true, flat), rel=1e-9)


def test_a_word_of_nothing_has_no_auc_and_no_precision():
    found = word_scores(np.eye(3), np.zeros((3, 3), bool))
    assert (found.iou, found.best_iou, found.hit) == (0, 0, False)
    assert math.isnan(found.auc)
    assert math.isnan(found.ap)


@pytest.mark.parametrize("values", [np.zeros((2, 3)), np.full((3, 3), np.nan), np.zeros(9)])
def test_what_doesn_t_fit_is_refused(values):
    with pytest.raises(AttnProbeError, match=r"word_scores: values must be finite and \(H, W\)"):
        word_scores(values, np.zeros((3, 3), bool))
