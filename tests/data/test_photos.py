import numpy as np
from sklearn.datasets import load_sample_image

from attnprobe.registry import find


def test_the_two_photographs():
    samples = find("sources", "photos")()()
    assert [sample.name for sample in samples] == ["china", "flower"]
    for sample in samples:
        image = sample.read()
        assert (image.mode, image.size) == ("RGB", (640, 427))
        assert np.array_equal(np.asarray(image), load_sample_image(f"{sample.name}.jpg"))
        assert sample.truth() is None
