from dataclasses import replace

import numpy as np
from PIL import Image

from attnprobe.data.scenes import Scenes
from attnprobe.run.memory import read_once


def test_what_there_is_room_for_is_read_once_and_the_rest_each_time():
    read = []
    truth = np.zeros((10, 10), np.int32)

    def picture(name):
        read.append(name)
        return Image.new("RGB", (10, 10))

    (sample,) = Scenes(count=1)()
    samples = [
        replace(sample, name=n, read=lambda n=n: picture(n), truth=t)
        for n, t in zip("abc", (lambda: truth, lambda: None, lambda: None), strict=True)
    ]
    # 300 bytes of each picture, and 400 of the truth: there is no room for the third picture.
    samples = read_once(samples, most=1000)
    for _ in range(3):
        for sample in samples:
            assert sample.read().size == (10, 10)
            assert (sample.truth() is truth) == (sample.name == "a")
    assert read == [*"abc", "c", "c"]
