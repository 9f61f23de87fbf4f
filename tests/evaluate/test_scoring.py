from dataclasses import dataclass

import numpy as np
import pytest

from attnprobe.data.scenes import Scenes
from attnprobe.errors import AttnProbeError
from attnprobe.evaluate import (
    PROTOCOLS,
    HungarianMetric,
    MajorityMetric,
    Protocol,
    Scorer,
    common_classes,
    image_scores,
)

PREDICTION = np.array([[3, 3, 0, 1, 1, -1]])
TRUTH = np.array([[7, 7, 7, 2, 2, -1]])


@dataclass(frozen=True)
class Listed:
    names: tuple[str, ...]

    @property
    def classes(self):
        return self


def test_an_image_s_own_labels_are_its_classes():
    scores = Scorer().image(PREDICTION, TRUTH)
    assert scores.counts.tolist() == image_scores(PREDICTION, TRUTH).counts.tolist()
    assert scores.counts.tolist() == [[2, 2], [0, 0], [0, 1]]
    majority = Scorer(Protocol("m", "majority")).image(PREDICTION, TRUTH)
    assert majority.counts.tolist() == [[2, 3], [0, 0], [0, 0]]


def test_with_classes_every_image_has_a_row_for_each():
    scorer = Scorer(names=tuple("abcdefgh"))
    score = HungarianMetric(8)
    score.update(PREDICTION, TRUTH)
    scores = scorer.image(PREDICTION, TRUTH)
    assert scores.counts.tolist() == score.compute().counts.tolist()
    assert scores.counts.shape == (3, 8)
    many = Scorer(Protocol("m", "majority"), tuple("abcdefgh"))
    score = MajorityMetric(8)
    score.update(PREDICTION, TRUTH)
    assert many.image(PREDICTION, TRUTH).counts.tolist() == score.compute().counts.tolist()


def test_pooled_over_classes_or_over_all_objects():
    rng = np.random.default_rng(0)
    images = [(rng.integers(0, 6, (5, 7)), rng.integers(-1, 4, (5, 7))) for _ in range(6)]
    scorer, score = Scorer(names=tuple("abcd")), HungarianMetric(4)
    for image in images:
        score.update(*image)
    pooled = scorer.pooled([scorer.image(*image) for image in images])
    assert pooled.counts.tolist() == score.compute().counts.tolist()
    assert (pooled.acc, pooled.miou) == (score.compute().acc, score.compute().miou)
    single = [image_scores(*image) for image in images]
    objects = Scorer().pooled(single)
    assert objects.miou == pytest.approx(np.mean(np.concatenate([s.iou for s in single])))
    assert objects.valid == pooled.valid
    assert scorer.pooled([]) is None


def test_values_by_name_where_a_name_stands_twice():
    scorer = Scorer(names=("food", "sky", "food"))
    assert scorer.by_name([1, 2, 3]) == {"food (0)": 1, "sky": 2, "food (2)": 3}
    assert Scorer(names=("sea",)).by_name([1]) == {"sea": 1}


@pytest.mark.parametrize("protocol", [PROTOCOLS["diffcut-voc"], Protocol("p", "per-dataset")])
def test_a_match_that_needs_classes(protocol):
    with pytest.raises(AttnProbeError, match="no fixed list of classes"):
        Scorer(protocol)
    assert str(Scorer(protocol, ("a", "b"))) == f"{protocol}, over 2 classes"


def test_classes_that_sources_have_in_common():
    assert common_classes([Scenes(), Scenes(count=2)]) is None
    assert common_classes([Listed(("a", "b")), Listed(("a", "b"))]) == ("a", "b")
    for other in (Scenes(), Listed(("a", "c"))):
        with pytest.raises(AttnProbeError, match=r"the same classes\. Got 2 in Listed and"):
            common_classes([Listed(("a", "b")), other])
