"""Small denoisers with random weights, and the embedded model, shared by the tests."""

import os
import signal
from contextlib import contextmanager
from pathlib import Path

# The tests fill all cores with processes, their own children too: a thread each is enough.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # tables are as wide as in a file

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import settings

from attnprobe.field_key import _arithmetic
from attnprobe.identity import identity
from attnprobe.models import Model, ModelSpec

settings.register_profile("thorough", max_examples=4000)  # see tests/damage.py

SLOW = (
    *("test_cache_property", "test_cli", "test_docs", "test_new", "test_notebooks", "test_output"),
    *("test_tiny_controls", "evaluate/test_matching", "hooks/test_branches", "hooks/test_guidance"),
    *("hooks/test_interrupts", "hooks/test_malformed", "hooks/test_meaning", "hooks/test_plan"),
    *("hooks/test_sd14", "hooks/test_zoo", "models/test_malformed", "models/test_train"),
    *("recipe/test_fuzz", "recipe/test_json_schema", "recipe/test_mutations", "run/test_commands"),
    *("run/test_dry", "run/test_killed", "run/test_malformed", "view/test_server"),
    *("view/test_widget", "models/test_families", "hooks/test_offload_compile", "test_cache"),
    *("models/test_skeleton", "data/test_scenes", "hooks/test_wrappers", "test_tiles"),
    *("hooks/test_backends", "view/test_plots_maps", "hooks/test_leftovers", "run/test_disk"),
    *("view/test_report_plugins", "recipe/test_show", "recipe/test_shipped", "group/test_kmeans"),
)
"""Files whose tests take the most of the time, the longest first: processes, browsers, whole
pipelines, hypothesis."""


def pytest_collection_modifyitems(items) -> None:
    """Mark the tests of those files `slow`, and put them first: short files fill what is left."""
    ranks = {f"{Path(__file__).parent / name}.py": rank for rank, name in enumerate(SLOW)}
    for item in items:
        if str(item.path) in ranks:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: ranks.get(str(item.path), len(ranks)))


def small_unet(**changes) -> UNet2DConditionModel:
    """A UNet of Stable Diffusion's kind, two resolutions, random weights."""
    torch.manual_seed(0)
    config = {
        "sample_size": 16,
        "block_out_channels": (16, 32),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "attention_head_dim": 2,
        "cross_attention_dim": 24,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**(config | changes)).eval()


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory):
    """Runs of the tests, in processes of their own too, leave the user's cache alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATTNPROBE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard():
    """A shell's background jobs ignore Ctrl-C, and so would the tests' own processes."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _arithmetic_stays():
    """How torch rounds is the process's, and so the next test's too."""
    before = _arithmetic(torch.device("cpu"))
    yield
    assert _arithmetic(torch.device("cpu")) == before, "this test has changed torch's settings"


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return small_unet()


@pytest.fixture(scope="session")
def tiny():
    """The embedded model, which every test leaves as it was: the next one relies on it."""
    model = ModelSpec(preset="tiny", device="cpu").load()
    before = _content(model)
    yield model
    assert _content(model) == before, "a test of this process has changed the model of all tests"


def _content(model: Model) -> str:
    return identity((model.pipe.unet, model.pipe.vae, model.pipe.text_encoder))


@pytest.fixture
def voronoi():
    """Labels (height, width) of the nearest of some random points."""

    def cells(height, width, count, seed=0):
        rng = np.random.default_rng(seed)
        points = rng.random((count, 2)) * (height, width)
        y, x = np.mgrid[:height, :width]
        distances = [(y - py) ** 2 + (x - px) ** 2 for py, px in points]
        return np.argmin(distances, axis=0).astype(np.int32)

    return cells


@pytest.fixture
def unprivileged():
    """A context in which permissions count: root, who may read everything, is nobody in it."""

    @contextmanager
    def nobody():
        if os.geteuid():
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return nobody
