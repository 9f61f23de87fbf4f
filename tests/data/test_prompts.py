import numpy as np
import pytest
from PIL import Image

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.cli import main
from attnprobe.data.base import Drawing
from attnprobe.data.prompts import Prompts

DISC = "a red plain disc on a blue plain ground"


def test_samples_are_drawings_with_speaking_names():
    samples = Prompts(prompts=("A cat, on a sofa!", "***"), steps=3, seed=5)()
    assert [sample.name for sample in samples] == ["01-a-cat-on-a-sofa", "02"]
    assert [sample.read() for sample in samples] == [
        Drawing("A cat, on a sofa!", 3, 7.5, 5),
        Drawing("***", 3, 7.5, 6),
    ]
    assert samples[0].truth() is None


def test_no_prompt_is_refused():
    for nothing in ("", ()):
        with pytest.raises(AttnProbeError, match=r"Prompts\.prompts"):
            Prompts(prompts=nothing)


@pytest.fixture(scope="module")
def pipeline():
    recipe = ap.load_recipe("generate-and-segment")
    return recipe.build()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_the_field_is_the_mean_over_the_steps_of_the_prompts_branch(pipeline, guidance):
    attention = pipeline.attention(Drawing(DISC, 2, guidance, 7))
    picture, field = attention.picture, attention.field
    hooks = ap.AttentionHooks(pipeline.model.denoiser)
    maps = {}
    hooks.add(
        lambda call, probs: maps.setdefault(call.name, []).append(probs[-1].mean(0)),
        pipeline.probe.layers,
        tensors=("probs",),
    )
    with hooks:
        again = pipeline.model.draw(DISC, 2, guidance, 7)
    assert np.array_equal(np.asarray(picture), np.asarray(again))
    side = {1024: 32, 256: 16, 64: 8}
    layers = [
        ap.AttentionField(sum(each) / len(each), (side[len(each[0])],) * 2)
        for each in maps.values()
    ]
    expected = pipeline.aggregate(layers)
    np.testing.assert_allclose(field.rows, expected.rows, rtol=1e-3, atol=1e-6)
    assert len(next(iter(maps.values()))) == 2


def test_a_drawing_is_segmented_at_its_size(pipeline):
    labels = pipeline.segment(Drawing(DISC, 2, 1.0, 0)).labels
    assert labels.shape == (128, 128)


def test_a_run_keeps_what_was_drawn(tmp_path, capsys):
    arguments = ["run", "generate-and-segment", "-o", str(tmp_path / "out"), "--quiet"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--set", "images.steps=2", "--set", f"images.prompts={DISC}"])
    assert ended.value.code == 0
    (drawn,) = (tmp_path / "out" / "drawn").glob("*.png")
    assert drawn.stem == "01-a-red-plain-disc-on-a-blue-plain-ground"
    assert Image.open(drawn).size == (128, 128)
    assert (tmp_path / "out" / "labels" / drawn.name).is_file()
