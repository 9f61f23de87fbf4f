"""Captures on disk: the same numbers and the same fields, whole files, read only where asked."""

import resource
import subprocess
import sys
import textwrap
from itertools import chain

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.aggregate.multiscale import Multiscale
from attnprobe.group.diffseg import DiffSeg
from attnprobe.hooks import (
    Entropy,
    Features,
    HeadMax,
    HeadMean,
    Keep,
    PerHead,
    Pooled,
    Recorder,
    Records,
    Rows,
    TokenMaps,
    TopK,
    load_capture,
)
from tests.conftest import small_unet
from tests.hooks.zoo import CASES

RECORDERS = [
    (HeadMean(), "self"),
    (HeadMax(), None),
    (PerHead((1, 0)), "self"),
    (Rows(((0, 1), (2, 3)), grid=(4, 6)), "self"),
    (Pooled((4, 5)), "self"),
    (TokenMaps({"cat": (1,), "a red sofa": (2, 3, 4)}), "cross"),
    (Entropy(), None),
    (TopK(3), None),
    (Features(), None),
    (Keep("probs"), "cross"),
    (Keep("q", "k", "probs", "out"), None),
]


def captured(keep, kind=None, steps=(900, 500), **settings):
    unet, generator = small_unet(), torch.Generator().manual_seed(1)
    with torch.no_grad(), ap.capture(unet, ap.Layers(kind=kind), keep, **settings) as capture:
        for step in steps:
            latents = torch.randn(2, 4, 8, 12, generator=generator)
            unet(latents, step, torch.randn(2, 7, 24, generator=generator))
    return capture


def assert_same(read: Records, live: Records) -> None:
    assert repr(read.keep) == repr(live.keep)
    assert (read.over_steps, read.model) == (live.over_steps, live.model)
    assert read.layers == live.layers
    assert [*read] == [*live]
    assert read.nbytes == live.nbytes
    for name, record in read.records.items():
        other = live.records[name]
        assert (record.layer, record.index) == (other.layer, other.index)
        assert [len(step) for step in record.steps] == [len(step) for step in other.steps]
        for kept, truth in zip(chain(*record.steps), chain(*other.steps), strict=True):
            for word in ("steps", "timesteps", "branches", "queries", "keys", "scaled"):
                assert getattr(kept, word) == getattr(truth, word)
            parts, tensors = kept.parts(), truth.parts()
            assert [*parts] == [*tensors]
            for part, tensor in tensors.items():
                assert parts[part].dtype == tensor.dtype
                assert torch.equal(parts[part], tensor)


@pytest.mark.parametrize(("keep", "kind"), RECORDERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_recorder_comes_back(keep, kind, dtype, tmp_path):
    live = captured(keep, kind, dtype=dtype)
    path = tmp_path / "maps.safetensors"
    live.save(path)
    read = load_capture(path)
    assert_same(read, live.records)
    name = next(iter(read))
    whole, other = read[name], live[name]
    for part in whole if isinstance(whole, dict) else [...]:
        assert torch.equal(whole[part], other[part])
    with safe_open(path, "pt") as file:  # in half the bytes where half was asked for
        kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118 - no dict
    assert kinds - {torch.int32} == {dtype}


@pytest.mark.parametrize(
    "name",
    ["FluxTransformer2DModel", "Lumina2Transformer2DModel", "ZImageTransformer2DModel"],
)
def test_joint_sequences_come_back_with_their_roles(name, tmp_path):
    case = next(case for case in CASES if case.name == name)
    model = case.build()
    layers = ap.Layers(where=lambda layer: layer.kind == "joint")
    with torch.no_grad(), ap.capture(model, layers) as live:
        model(**case.inputs())
    live.save(tmp_path / "maps.safetensors")
    read = load_capture(tmp_path / "maps.safetensors")
    assert_same(read, live.records)
    for item in (0, 1):
        for one, other in zip(read.fields(item), live.fields(item), strict=True):
            assert (one.grid, one.origin) == (other.grid, other.origin)
            assert torch.equal(one.rows, other.rows)


def test_steps_of_different_sizes_come_back(tmp_path):
    unet = small_unet()
    with torch.no_grad(), ap.capture(unet, over_steps="each") as live:
        for timestep, size in ((500, (8, 12)), (400, (8, 8))):
            unet(torch.randn(1, 4, *size), timestep, torch.randn(1, 7, 24))
    live.save(tmp_path / "maps.safetensors")
    read = load_capture(tmp_path / "maps.safetensors")
    assert_same(read, live.records)
    assert [read.fields(step=step)[0].grid for step in (0, 1)] == [(8, 12), (8, 8)]


class Sums(Recorder):
    """A recorder of somebody's own."""

    def record(self, call):
        return {"queries": call.q.sum(2), "keys.of": call.k.sum(2)}


def test_a_recorder_of_ones_own_comes_back_as_tensors(tmp_path):
    for keep in (Sums(), type("HeadMean", (HeadMean,), {})()):  # a name that is taken, too
        live = captured(keep)
        live.save(tmp_path / "sums.safetensors")
        read = load_capture(tmp_path / "sums.safetensors")
        assert read.keep is None
        name = next(iter(read))
        value, truth = read[name], live[name]
        for part in truth if isinstance(truth, dict) else [...]:
            assert torch.equal(value[part], truth[part])
        with pytest.raises(AttnProbeError, match="recorder that made this capture isn't known"):
            read.fields()


def test_tensors_are_read_when_they_are_asked_for(tmp_path):
    live = captured(HeadMean(), "self")
    path = tmp_path / "maps.safetensors"
    live.save(path)
    read = load_capture(path)
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    path.write_bytes(data[:start] + bytes(len(data) - start))  # all numbers are zero now
    assert read.layers == live.layers
    assert all(not read[name].any() for name in read)
    path.unlink()
    assert read.layers == live.layers
    with pytest.raises(AttnProbeError, match=r"maps.safetensors can't be read any more"):
        read[next(iter(read))]


def test_a_relative_path_outlives_a_change_of_folder(tmp_path, monkeypatch):
    live = captured(HeadMean(), "self")
    monkeypatch.chdir(tmp_path)
    live.save("maps.safetensors")
    read = load_capture("maps.safetensors")
    monkeypatch.chdir("/")
    assert_same(read, live.records)


def test_a_write_that_fails_midway_leaves_nothing(tmp_path):
    live = captured(PerHead())
    path = tmp_path / "maps.safetensors"
    live.save(path)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # as on a disk that is nearly full
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
        for target in (path, tmp_path / "other.safetensors"):
            with pytest.raises(AttnProbeError, match=rf"{target.name}: can't be written"):
                live.save(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


def test_an_interrupt_midway_leaves_nothing(tmp_path, monkeypatch):
    live = captured(PerHead())
    path = tmp_path / "maps.safetensors"
    live.save(path)
    before = path.read_bytes()

    def interrupted(tensors, target, metadata):
        target.write_bytes(before[: len(before) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr("safetensors.torch.save_file", interrupted)
    for target in (path, tmp_path / "other.safetensors"):
        with pytest.raises(KeyboardInterrupt):
            live.save(target)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == before


def test_places_that_are_no_good(tmp_path):
    live = captured(Entropy())
    with pytest.raises(AttnProbeError, match=r"saved as a .safetensors file. Got .*maps.pt"):
        live.save(tmp_path / "maps.pt")
    with pytest.raises(AttnProbeError, match=r"can't be written"):
        live.save(tmp_path / "missing" / "maps.safetensors")
    assert not [*tmp_path.iterdir()]


def test_files_that_are_no_captures(tmp_path):
    path = tmp_path / "maps.safetensors"
    with pytest.raises(AttnProbeError, match=r"maps.safetensors can't be read as a capture"):
        load_capture(path)
    path.write_text("not a capture")
    with pytest.raises(AttnProbeError, match=r"maps.safetensors can't be read as a capture"):
        load_capture(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(AttnProbeError, match=r"is a safetensors file, but not one that a capture"):
        load_capture(path)
    captured(Entropy()).save(path)
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(AttnProbeError, match=r"maps.safetensors can't be read as a capture"):
            load_capture(path)


def diffseg(records) -> torch.Tensor:
    segments = DiffSeg(anchors=4, thresholds=(0.5, 0.5))(Multiscale()(records.fields()))
    return torch.from_numpy(segments.labels)


@pytest.fixture
def saved(tiny, tmp_path):
    """A capture of the embedded model, saved; its segments; its path."""
    latents = torch.randn(1, tiny.denoiser.config.in_channels, 16, 24)
    with ap.capture(tiny.denoiser, ap.Layers(kind="self")) as live:
        tiny.denoise(latents, 300, "a cat")
    live.save(tmp_path / "maps.safetensors")
    labels = diffseg(live)
    assert labels.unique().numel() > 1
    return tmp_path / "maps.safetensors", labels


def test_a_loaded_capture_is_segmented_like_the_live_one(saved):
    path, labels = saved
    assert torch.equal(diffseg(load_capture(path)), labels)


def test_grouping_where_no_diffusers_is_installed(saved, tmp_path):
    path, labels = saved
    program = """
        import sys
        for name in ("diffusers", "transformers", "accelerate", "peft"):
            sys.modules[name] = None
        import torch
        from attnprobe.aggregate.multiscale import Multiscale
        from attnprobe.group.diffseg import DiffSeg
        from attnprobe.hooks import load_capture
        field = Multiscale()(load_capture(sys.argv[1]).fields())
        labels = DiffSeg(anchors=4, thresholds=(0.5, 0.5))(field).labels
        torch.save(torch.from_numpy(labels), sys.argv[2])
        """
    target = tmp_path / "labels.pt"
    command = [sys.executable, "-c", textwrap.dedent(program), str(path), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(target), labels)
