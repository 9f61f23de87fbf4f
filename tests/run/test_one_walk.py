"""An image's walk through a run: what is worked out of it is worked out once."""

import pytest
from PIL import Image

from attnprobe import pipeline, probe
from attnprobe.recipe import load_points
from attnprobe.run import run_points


@pytest.mark.parametrize("fit", ["resize", "crop"])
def test_what_a_model_sees_is_worked_out_once_an_image_and_cut_out_once(tmp_path, monkeypatch, fit):
    fitted, cut = [], []
    fit_image, crop = probe.fit_image, Image.Image.crop

    def counted_fit(*given):
        fitted.append(given)
        return fit_image(*given)

    def counted_crop(picture, box=None):
        cut.append(box)
        return crop(picture, box)

    monkeypatch.setattr(probe, "fit_image", counted_fit)
    monkeypatch.setattr(pipeline.Image.Image, "crop", counted_crop)
    changes = [f"probe.fit={fit}", "images={use: scenes, count: 2}", "refine=[{use: guided}]"]
    (found,) = run_points(load_points("diffseg", changes), tmp_path / "run", cached=False)
    assert len(found.done) == 2
    assert len(fitted) == 2 * 2  # pictures, sizes that the model looks at
    # What is segmented, and a band of it for the refiner and for the overlay.
    assert len(cut) == 3 * 2
