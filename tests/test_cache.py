import multiprocessing
import os
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttentionField, AttnProbeError, Probe
from attnprobe.aggregate import Multiscale
from attnprobe.cache import FieldCache, default_root, field_key
from attnprobe.group import DiffSeg
from attnprobe.hooks import Layers
from attnprobe.models import Model
from attnprobe.pipeline import Pipeline


def a_field(seed: int, n: int = 6) -> AttentionField:
    rows = torch.rand(n * n, n * n, generator=torch.Generator().manual_seed(seed))
    return AttentionField(rows / rows.sum(1, keepdim=True), (n, n), origin="made")


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def cache(tmp_path):
    return FieldCache(tmp_path / "cache")


def test_what_was_put_comes_back_bit_by_bit(cache):
    assert cache.get("a") is None
    cache.put("a", a_field(1))
    kept = cache.get("a")
    assert torch.equal(kept.rows, a_field(1).rows)
    assert (kept.grid, kept.origin) == ((6, 6), "made")


def test_a_field_is_computed_once(cache):
    made = []

    def compute():
        made.append(1)
        return a_field(2)

    first, second = cache.field("b", compute), cache.field("b", compute)
    assert len(made) == 1
    assert torch.equal(first.rows, second.rows)


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_broken_file_counts_as_none_and_goes(cache, damage):
    cache.put("a", a_field(1))
    (path,) = cache.root.iterdir()
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    assert cache.get("a") is None
    assert list(cache.root.iterdir()) == []


def test_over_the_limit_the_longest_unused_go(tmp_path):
    size = a_field(0).rows.nbytes
    cache = FieldCache(tmp_path, limit=3 * size + 1500)  # and their headers
    for number, key in enumerate("abc"):
        cache.put(key, a_field(number))
        os.utime(cache._path(key), (number, number))
    assert cache.get("a") is not None  # used again
    cache.put("d", a_field(4))
    assert cache.get("b") is None
    assert all(cache.get(key) is not None for key in "acd")
    assert sum(size for _, size, _ in cache.entries()) <= cache.limit


def test_a_field_larger_than_the_limit_is_not_kept(tmp_path):
    cache = FieldCache(tmp_path, limit=100)
    cache.put("a", a_field(1))
    assert cache.entries() == []


def test_a_cache_that_cant_be_written_stops_nobody(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    cache = FieldCache(tmp_path / "file")
    assert torch.equal(cache.field("a", lambda: a_field(1)).rows, a_field(1).rows)


def work(root, number):
    cache = FieldCache(root, limit=40 * a_field(0).rows.nbytes)
    for i in range(200):
        seed = (i * 7 + number) % 60
        kept = cache.field(f"key-{seed}", lambda seed=seed: a_field(seed))
        assert torch.equal(kept.rows, a_field(seed).rows)


def test_processes_share_it_while_it_overflows(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(tmp_path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert not list(tmp_path.glob(".tmp-*"))


class Counting:
    """How often a model's denoiser runs."""

    def __init__(self, model: Model) -> None:
        self.passes = 0
        self.handle = model.denoiser.register_forward_pre_hook(self)

    def __call__(self, *args) -> None:
        self.passes += 1


@pytest.fixture
def pipeline(tiny, cache):
    group = DiffSeg(anchors=4, thresholds=(0.65,) * 3)
    return Pipeline(
        model=tiny, probe=Probe(size=64), aggregate=Multiscale(), group=group, cache=cache
    )


def test_segments_are_the_same_and_the_denoiser_runs_once(pipeline):
    count = Counting(pipeline.model)
    plain = replace(pipeline, cache=None).segment(picture())
    first = pipeline.segment(picture())
    other = replace(pipeline, group=DiffSeg(anchors=4, thresholds=(0.01,) * 3))
    second, third = pipeline.segment(picture()), other.segment(picture())
    count.handle.remove()
    assert count.passes == 2  # without the cache, and the first time with it
    assert np.array_equal(plain.labels, first.labels)
    assert np.array_equal(plain.labels, second.labels)
    assert third.count != first.count


def test_the_key_knows_all_that_makes_a_field(pipeline, tiny):
    def key(model=tiny, probe=pipeline.probe, aggregate=pipeline.aggregate, image=None, seed=0):
        return field_key(model, probe, aggregate, image or picture(), seed)

    noisy = Probe(size=64, noise=True)
    keys = [
        key(),
        key(probe=Probe(size=72)),
        key(probe=Probe(size=64, timesteps=(10,))),
        key(probe=Probe(size=64, layers=Layers(kind="self", block="up"))),
        key(aggregate=Multiscale(weights="paper")),
        key(image=picture(1)),
        key(image=picture().transpose(Image.Transpose.ROTATE_90)),
        key(probe=noisy),
        key(probe=noisy, seed=1),
    ]
    assert len(set(keys)) == len(keys)
    assert key() == key(seed=1)  # nothing is drawn
    assert key(image=picture().copy()) == keys[0]


def test_a_model_made_by_hand_is_not_cached(pipeline, tiny, cache):
    by_hand = Model(tiny.pipe, tiny.device, "mine")
    replace(pipeline, model=by_hand).segment(picture())
    assert cache.entries() == []


def test_another_file_of_the_model_is_another_key(tmp_path):
    from attnprobe.models.hub import Source

    (tmp_path / "unet.safetensors").write_bytes(b"12345678")
    before = Source(str(tmp_path), None, True).fingerprint()
    assert Source(str(tmp_path), None, True).fingerprint() == before
    time.sleep(0.01)
    (tmp_path / "unet.safetensors").write_bytes(b"12345679")
    assert Source(str(tmp_path), None, True).fingerprint() != before


def test_the_environment_says_where_and_how_much(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTNPROBE_CACHE", str(tmp_path))
    monkeypatch.setenv("ATTNPROBE_CACHE_LIMIT", "2MB")
    assert default_root() == tmp_path
    assert FieldCache().limit == 2_000_000
    monkeypatch.setenv("ATTNPROBE_CACHE_LIMIT", "much")
    with pytest.raises(AttnProbeError, match="ATTNPROBE_CACHE_LIMIT must be bytes"):
        FieldCache()
    monkeypatch.delenv("ATTNPROBE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "attnprobe"
