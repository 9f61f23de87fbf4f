"""Accuracy and intersection over union, from whole counts of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Scores:
    """Accuracy and intersection over union, with the counts they come from.

    Args:
        acc: share of the valid pixels that the matched segments get right; NaN without any.
        miou: mean of `iou` over the classes that have one; NaN without any.
        iou: (classes,) tp / (tp + fp + fn); NaN where that is 0 / 0.
        tp: (classes,) pixels right; fp: wrongly given to the class; fn: missed.
        valid: pixels whose truth is not void.
    """

    acc: float
    miou: float
    iou: np.ndarray
    tp: np.ndarray
    fp: np.ndarray
    fn: np.ndarray
    valid: int

    @classmethod
    def from_counts(cls, counts: np.ndarray, valid: int) -> Scores:
        """Scores from counts (3, classes): true positives, false positives, false negatives."""
        tp, fp, fn = counts
        union = counts.sum(0)
        iou = np.full(union.shape, np.nan)
        np.divide(tp, union, out=iou, where=union > 0)
        return cls(
            acc=float(tp.sum() / valid) if valid else float("nan"),
            miou=float(np.nanmean(iou)) if union.any() else float("nan"),
            iou=iou,
            tp=tp,
            fp=fp,
            fn=fn,
            valid=valid,
        )

    @property
    def counts(self) -> np.ndarray:
        """(3, classes): true positives, false positives, false negatives."""
        return np.stack([self.tp, self.fp, self.fn])
