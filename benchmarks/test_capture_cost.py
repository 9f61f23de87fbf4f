"""What a capture costs: ``pytest benchmarks/test_capture_cost.py -n 0 --benchmark-enable -s``.

Stable Diffusion 1.4's UNet with random weights, 512×512, float32: plain passes and passes with the
head means of all 16 self-attention layers, in turn, so that a noisy machine troubles both alike.
The median of the pairs' ratios counts.
"""

import statistics
import time

import pytest
import torch
from diffusers import UNet2DConditionModel

import attnprobe as ap
from tests.hooks.sd14 import CONFIG

PAIRS = 7


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(**CONFIG).eval()


def test_head_means_of_all_self_attention(unet, benchmark):
    latent, words = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
    layers = ap.Layers(kind="self")

    @torch.no_grad()
    def plain():
        unet(latent, 300, words)

    def captured():
        with ap.capture(unet, layers, ap.HeadMean()) as capture:
            plain()
        assert len(capture.layers) == 16

    pairs = []

    def pair():
        start = time.perf_counter()
        plain()
        middle = time.perf_counter()
        captured()
        pairs.append((middle - start, time.perf_counter() - middle))

    benchmark.pedantic(pair, rounds=PAIRS, warmup_rounds=1)
    pairs = pairs[1:]
    ratio = statistics.median(after / before for before, after in pairs)
    seconds = [statistics.median(column) for column in zip(*pairs, strict=True)]
    benchmark.extra_info.update(plain=seconds[0], captured=seconds[1], ratio=ratio)
    print(f"\nplain {seconds[0]:.2f} s, captured {seconds[1]:.2f} s, median ratio {ratio:.3f}")
    print("ratios " + " ".join(f"{after / before:.3f}" for before, after in pairs))
