"""Small denoisers with random weights, and the embedded model, shared by the tests."""

import os
import signal

# The tests fill all cores with processes, their own children too: a thread each is enough.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.pop("COLUMNS", None)  # tables are as wide as in a file

import pytest
import torch
from diffusers import UNet2DConditionModel

from attnprobe.models import Model, ModelSpec

SLOW = (
    *("test_cache_property", "test_cli", "test_docs", "test_new", "test_notebooks", "test_output"),
    *("test_tiny_controls", "evaluate/test_matching", "hooks/test_branches", "hooks/test_guidance"),
    *("hooks/test_interrupts", "hooks/test_malformed", "hooks/test_meaning", "hooks/test_plan"),
    *("hooks/test_sd14", "hooks/test_zoo", "models/test_malformed", "models/test_train"),
    *("recipe/test_fuzz", "recipe/test_json_schema", "recipe/test_mutations", "run/test_commands"),
    *("run/test_dry", "run/test_killed", "run/test_malformed", "view/test_server"),
)
"""Files whose tests take the most of the time: processes, browsers, whole pipelines, hypothesis."""


def pytest_collection_modifyitems(items) -> None:
    """Mark the tests of those files `slow`."""
    for item in items:
        if str(item.path).removesuffix(".py").endswith(tuple(f"tests/{name}" for name in SLOW)):
            item.add_marker(pytest.mark.slow)


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


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return small_unet()


@pytest.fixture(scope="session")
def tiny() -> Model:
    return ModelSpec(preset="tiny", device="cpu").load()
