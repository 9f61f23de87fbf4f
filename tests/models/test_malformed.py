"""Model folders of another form: loading one answers in a sentence."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from attnprobe.errors import AttnProbeError, ModelError
from attnprobe.models import PRESETS, ModelSpec
from attnprobe.models.skeleton import example_inputs, skeleton
from tests.damage import copied as copy_of
from tests.damage import damages, examples, in_time

CONFIGS = (
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer_config.json",
)
WEIGHTS = ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "whole"
    shutil.copytree(PRESETS["tiny"].repo, path)
    return path


@pytest.fixture
def copied(whole, tmp_path):
    """A model's folder, to be changed."""
    shutil.copytree(whole, tmp_path / "model", copy_function=os.link)
    return tmp_path / "model"


def write(path, content):
    path.unlink()  # it is a link to the whole one's
    path.write_bytes(content)


def assert_only_sentences(path):
    for load in (lambda: ModelSpec(repo=str(path)).load(), lambda: listed(path)):
        try:
            load()
        except AttnProbeError as error:
            assert str(error).strip()  # noqa: PT017


def listed(path):
    example_inputs(skeleton(str(path)))


FILES = sorted(
    str(path.relative_to(PRESETS["tiny"].repo))
    for path in Path(PRESETS["tiny"].repo).rglob("*")
    if path.is_file()
)


@damages(FILES)
def test_a_damaged_file_is_loaded_or_told(whole, tmp_path, name, damage):
    path = copy_of(whole, tmp_path / "model")
    damage(path / name)
    assert in_time(lambda: assert_only_sentences(path))


values = st.sampled_from(
    [None, True, -1, 0, 3, 10**30, 1.5, "", "x", "UNet2DConditionModel", "os.system", [], [1], {}]
)


@settings(max_examples=examples(10), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_in_a_config_is_loaded_or_told(whole, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("malformed") / "model"
    shutil.copytree(whole, path, copy_function=os.link)
    name = data.draw(st.sampled_from(CONFIGS))
    config = json.loads((path / name).read_text())
    key = data.draw(st.sampled_from(sorted(config)))
    if data.draw(st.booleans()):
        del config[key]
    else:
        config[key] = data.draw(values)
    write(path / name, json.dumps(config).encode())
    assert_only_sentences(path)
    shutil.rmtree(path)


@pytest.mark.parametrize("name", [*CONFIGS, *WEIGHTS])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_a_file_s_place_is_told(copied, name, make):
    (copied / name).unlink()
    make(copied / name)
    errors = []

    def load():
        for work in (lambda: ModelSpec(repo=str(copied)).load(), lambda: listed(copied)):
            try:
                work()
            except ModelError as error:
                errors.append(str(error))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert errors or name.startswith(("tokenizer/", "scheduler/"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
@pytest.mark.parametrize("called", [None, "of_another_name."])
def test_weights_that_a_file_lacks_are_not_random(copied, part, called):
    (file,) = (copied / part).glob("*.safetensors")
    weights = load_file(file)
    name = [name for name in weights if name.endswith("weight")][5]
    value = weights.pop(name)
    if called:
        weights[called + name] = value
    write(file, save(weights, metadata={"format": "pt"}))
    with pytest.raises(ModelError, match=f"its {part} lack 1 of its weights, .*: {name}$"):
        ModelSpec(repo=str(copied)).load()
