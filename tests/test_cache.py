import multiprocessing
import os
import resource
import signal
import subprocess
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttentionField, AttnProbeError, Probe
from attnprobe.aggregate import Multiscale
from attnprobe.cache import ABANDONED, FieldCache, default_root
from attnprobe.fields import WordMaps
from attnprobe.group import DiffSeg
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


def flipped(content, place):
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"rubbish",
        lambda content: content[:-7],
        lambda content: content + b"x",
        lambda content: flipped(content, -3),  # a number among the rows, which still sum to 1
        lambda content: flipped(content, 3),
        lambda content: content.replace(b"made", b"mode"),
        lambda content: content.replace(b"AttentionField", b"Segmentation!!"),
    ],
)
def test_a_damaged_file_is_removed_and_computed_anew(cache, damage):
    cache.put("a", a_field(1))
    (path,) = cache.root.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert cache.get("a") is None
    assert list(cache.root.iterdir()) == []
    assert torch.equal(cache.field("a", lambda: a_field(1)).rows, a_field(1).rows)
    assert cache.get("a") is not None


def test_an_entry_under_another_s_name_is_not_its(cache):
    cache.put("a", a_field(1))
    os.rename(cache._path("a"), cache._path("b"))
    assert cache.get("b") is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_no_entry(cache, make):
    cache.root.mkdir()
    make(cache._path("a"))
    assert torch.equal(cache.field("a", lambda: a_field(1)).rows, a_field(1).rows)


def test_all_of_a_field_is_kept(cache):
    features = torch.rand(6, 6, 5)
    cache.put("a", replace(a_field(1), features=features))
    assert torch.equal(cache.get("a").features, features)
    words = WordMaps(torch.rand(2, 6, 6), ("cat", "sofa"), "made")
    cache.put("b", words)
    assert torch.equal(cache.get("b").maps, words.maps)
    assert (cache.get("b").words, cache.get("b").origin) == (words.words, "made")


def test_a_field_of_another_class_is_not_kept(cache):
    class Mine(AttentionField):
        pass

    cache.put("a", Mine(a_field(1).rows, (6, 6)))
    assert cache.entries() == []


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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")
def test_a_full_disk_stops_nobody_and_nothing_half_written_stays(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", tmp_path]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        cache = FieldCache(tmp_path / "cache")
        large = a_field(1, n=12)
        assert cache.field("a", lambda: large) is large
        assert cache.get("a") is None
        assert list((tmp_path / "cache").iterdir()) == []
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_a_file_that_may_not_grow_stops_nobody(tmp_path):
    child = os.fork()
    if not child:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        cache = FieldCache(tmp_path)
        kept = cache.field("a", lambda: a_field(1))
        os._exit(0 if torch.equal(kept.rows, a_field(1).rows) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_goes(tmp_path):
    cache = FieldCache(tmp_path / "cache")
    cache.root.mkdir()
    old, new = (cache.root / f".tmp-{digit * 12}.safetensors" for digit in "ab")
    for path in (old, new):
        path.write_bytes(b"half")
    long_ago = time.time() - ABANDONED - 60
    os.utime(old, (long_ago, long_ago))
    assert cache.entries() == []
    cache.put("a", a_field(1))
    assert not old.exists()
    assert new.exists()  # somebody may be at it
    assert cache.clear() == 1
    assert not cache.root.exists()


def test_clear_removes_what_is_the_cache_s_own_and_nothing_else(tmp_path):
    cache = FieldCache(tmp_path)
    cache.put("a", a_field(1))
    theirs = ["diffusion_pytorch_model.safetensors", "notes.txt", ".tmp-mine.safetensors"]
    for name in theirs:
        (tmp_path / name).write_text("precious")
    (tmp_path / f"{'0' * 64}.safetensors").write_text("an entry of version 0.1")
    (tmp_path / "linked.field.safetensors").symlink_to(tmp_path / "notes.txt")
    (tmp_path / "folder.field.safetensors").mkdir()
    assert cache.clear() == 3
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == sorted([*theirs, "folder.field.safetensors"])


def test_the_limit_counts_only_what_is_the_cache_s_own(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(10**6))
    cache = FieldCache(tmp_path, limit=3 * a_field(0).rows.nbytes)
    for key in "abcdef":
        cache.put(key, a_field(1))
    assert 1 <= len(cache.entries()) <= 3
    assert (tmp_path / "model.safetensors").exists()


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


class Counting(FieldCache):
    """A cache that counts how often a field was computed for it."""

    computed = 0

    def put(self, key, field):
        self.computed += 1
        super().put(key, field)


@pytest.fixture
def pipeline(tiny, cache):
    group = DiffSeg(anchors=4, thresholds=(0.65,) * 3)
    return Pipeline(
        model=tiny, probe=Probe(size=64), aggregate=Multiscale(), group=group, cache=cache
    )


def test_segments_are_the_same_and_the_denoiser_runs_once(pipeline, tmp_path):
    plain = replace(pipeline, cache=None).segment(picture())
    pipeline = replace(pipeline, cache=Counting(tmp_path))
    first = pipeline.segment(picture())
    other = replace(pipeline, group=DiffSeg(anchors=4, thresholds=(0.01,) * 3))
    second, third = pipeline.segment(picture()), other.segment(picture())
    assert pipeline.cache.computed == 1
    assert np.array_equal(plain.labels, first.labels)
    assert np.array_equal(plain.labels, second.labels)
    assert third.count != first.count


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
