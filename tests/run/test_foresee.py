"""`validate` says what a run would say, as far as that can be known without a model."""

import pytest
from PIL import Image

from attnprobe import load_recipe
from attnprobe.errors import AttnProbeError
from attnprobe.recipe import load_points
from attnprobe.run.foresee import foreseen

BASE = """\
model: {preset: sd14}
images: {use: photos}
aggregate: {use: multiscale}
group: {use: diffseg}
"""


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def test_a_sound_recipe_has_no_faults(base):
    assert foreseen(load_points(base)) == []
    assert foreseen(load_points("daam")) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("images={use: folder, path: nowhere}", "images: nowhere: no such file"),
        ("images={use: coco-stuff-27, root: nowhere}", "images: nowhere: no such folder"),
        ("model.device=gpu", "model.device: device 'gpu' can't be used: unknown"),
        ("model={repo: ./nowhere}", "model: model ./nowhere: there is no such folder"),
        ("model={preset: tiny, revision: main}", "a local folder has no revision"),
        ("probe.layers.names=zzz.*", "probe.layers: no layer is called 'zzz.*'; did you|allowed"),
        ("probe.layers.index=99", "probe.layers: Layers.index: the model has 32 attention layers"),
        ("probe.layers.kind=temporal", "probe.layers: Layers(kind='temporal') selects none"),
        ("evaluate.protocol=released", "probe.fit must be crop"),
        ("evaluate.match=per-dataset", "evaluate.match: per-dataset is for segments"),
    ],
)
def test_what_a_run_would_end_with(base, change, fault):
    (found,) = foreseen(load_points(base, [change]))
    assert any(each in found for each in fault.split("|"))


def test_word_layers_count_where_words_are_needed(base):
    changes = ["probe.word_layers.names=zzz", "aggregate={use: cross}", "group={use: argmax}"]
    assert foreseen(load_points(base, changes[:1])) == []
    (fault,) = foreseen(load_points(base, [*changes, "probe.prompt=a cat"]))
    assert fault.startswith("probe.word_layers: no layer is called 'zzz'")


def test_each_fault_of_a_sweep_once(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(BASE + "sweep: {grid: {probe.layers.index: [1, 98, 99], seed: [0, 1]}}\n")
    faults = foreseen(load_points(path))
    assert [fault.rpartition("Got ")[2] for fault in faults] == ["98 instead.", "99 instead."]


def test_a_run_says_the_same(tmp_path, base):
    """Of the folder, the device and the layers, word for word."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for change, act in [
        ("images={use: folder, path: nowhere}", lambda recipe: recipe.samples()),
        ("model={preset: tiny, device: gpu}", lambda recipe: recipe.build()),
    ]:
        (fault,) = foreseen(load_points(base, [change]))
        with pytest.raises(AttnProbeError) as caught:
            act(load_recipe(base, [change]))
        assert fault.endswith(str(caught.value))
