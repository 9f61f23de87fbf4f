"""ODS and OIS as the benchmark's own program puts images together."""

import dataclasses
import math

import numpy as np
import pytest

from attnprobe.errors import AttnProbeError
from attnprobe.evaluate.people import People, people_scores
from attnprobe.evaluate.settings import MEASURES, best_settings, dataset_score
from tests.evaluate import benchmark
from tests.evaluate.test_people import blocks


def scored(seed=0, settings=3, images=5):
    rng = np.random.default_rng(seed)
    truths = [[blocks(rng, (30, 40), 7) for _ in range(2 + i % 3)] for i in range(images)]
    predictions = {
        f"s{s}": [blocks(rng, (30, 40), 4 + 3 * s) for _ in truths] for s in range(settings)
    }
    found = {
        name: [people_scores(p, t, 0.03) for p, t in zip(of, truths, strict=True)]
        for name, of in predictions.items()
    }
    return predictions, truths, found


@pytest.mark.parametrize("seed", range(4))
def test_regions_as_collect_eval_reg_has_them(seed):
    predictions, truths, found = scored(seed)
    cnt = {
        name: [benchmark.covering(p, t) for p, t in zip(of, truths, strict=True)]
        for name, of in predictions.items()
    }
    best = best_settings(found)
    total = {n: sum(c for c, _ in of) / sum(s for _, s in of) for n, of in cnt.items()}
    assert best["covering"].ods == pytest.approx(max(total.values()), abs=1e-9)
    assert best["covering"].setting == max(total, key=total.get)
    chosen = [
        max(image, key=lambda pair: pair[0] / pair[1]) for image in zip(*cnt.values(), strict=True)
    ]
    ois = sum(c for c, _ in chosen) / sum(s for _, s in chosen)
    assert best["covering"].ois == pytest.approx(ois, abs=1e-9)
    for measure, of, least in (
        ("pri", benchmark.rand_index, False),
        ("vi", benchmark.variation, True),
    ):
        values = np.array([
            [np.mean([of(p, t) for t in people]) for p, people in zip(each, truths, strict=True)]
            for each in predictions.values()
        ])  # fmt: skip
        sign = -1 if least else 1
        assert best[measure].ods == pytest.approx(sign * max(sign * values.mean(1)), abs=1e-9)
        assert best[measure].ois == pytest.approx(sign * (sign * values).max(0).mean(), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_boundaries_as_collect_eval_bdry_has_them(seed):
    _, _, found = scored(seed)
    counts = np.array([
        [(i.recalled, i.drawn, i.right, i.found) for i in of] for of in found.values()
    ])  # fmt: skip
    best = best_settings(found)["boundary_f"]
    together = [benchmark.f_measure(*each) for each in counts.sum(1)]
    assert best.ods == pytest.approx(max(together), abs=1e-9)
    assert best.setting == list(found)[int(np.argmax(together))]
    single = np.array([[benchmark.f_measure(*i) for i in of] for of in counts])
    chosen = counts[single.argmax(0), np.arange(counts.shape[1])].sum(0)
    assert best.ois == pytest.approx(benchmark.f_measure(*chosen), abs=1e-9)


def test_one_setting_is_its_own_best():
    _, _, found = scored()
    (name, images), *_ = found.items()
    for measure, best in best_settings({name: images}).items():
        assert best.ods == best.ois == dataset_score(measure, images)
        assert best.setting == name


def test_ois_is_never_worse_where_images_are_averaged():
    _, _, found = scored(9)
    best = best_settings(found)
    assert list(best) == list(MEASURES)
    assert best["covering"].ois >= best["covering"].ods
    assert best["pri"].ois >= best["pri"].ods
    assert best["vi"].ois <= best["vi"].ods


def test_images_without_a_valid_pixel_count_nowhere():
    _, _, found = scored()
    empty = People(0.0, 0, math.nan, math.nan, 0, 0, 0, 0)
    for measure, best in best_settings({n: [*of, empty] for n, of in found.items()}).items():
        assert dataclasses.astuple(best) == dataclasses.astuple(best_settings(found)[measure])


@pytest.mark.parametrize("settings", [{}, {"a": []}, {"a": [1], "b": [1, 2]}])
def test_settings_must_have_the_same_images(settings):
    with pytest.raises(AttnProbeError, match="settings must have the same images"):
        best_settings(settings)
