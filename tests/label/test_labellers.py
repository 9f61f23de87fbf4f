"""What labellers ask of the model, and what they refuse, on the embedded model and by hand."""

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttnProbeError, Pipeline, Probe, Segmentation, WordMaps
from attnprobe.aggregate import Cross, Multiscale
from attnprobe.cache import FieldCache
from attnprobe.data.base import Drawing
from attnprobe.data.scenes import make_scene
from attnprobe.errors import ComponentError
from attnprobe.group import DiffSeg
from attnprobe.label import CrossAttention, PromptLabels
from attnprobe.label.naming import name_segments
from attnprobe.label.nouns import nouns
from attnprobe.label.subject import Subject
from attnprobe.testing import check_labeller

PICTURE = Image.new("RGB", (8, 8))
HALVES = Segmentation(np.array([[0, 0, 5, 5]] * 2))


class Asked:
    """A subject whose words lie left, right, left …, in the order of the letters; what it hears."""

    def __init__(self, **known):
        self.texts = []
        self.subject = Subject(PICTURE, self.maps, **known)

    def maps(self, text, words):
        self.texts.append((text, words))
        sides = {"cat": 0, "kitten": 0, "dog": 1, "sofa": 1}
        maps = torch.zeros(len(words), 2, 4)
        for number, word in enumerate(words):
            half = slice(0, 2) if sides[word] == 0 else slice(2, 4)
            maps[number, :, half] = 1
        return WordMaps(maps, words)

    def label(self, labeller):
        return labeller(HALVES, self.subject, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    "labeller",
    [
        CrossAttention(),
        CrossAttention(text="caption", words=("dog", "cow"), rule="majority"),
        PromptLabels(normalise="shares"),
        PromptLabels(names=("cat", "dog"), passes="each", background="ground", least=1.01),
    ],
)
def test_they_keep_the_contract(labeller):
    check_labeller(labeller)


def test_the_nouns_of_a_prompt_are_asked_for():
    asked = Asked(prompt="a cat on a red sofa")
    assert asked.label(CrossAttention()).names == {0: "cat", 5: "sofa"}
    assert asked.texts == [("a cat on a red sofa", ("cat", "sofa"))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red striped star and a plain ring on a green ground", ("star", "ring", "ground")),
        ("two dogs playing with a frisbee in the park", ("dogs", "frisbee", "park")),
        ("a dog and a dog", ("dog",)),
    ],
)
def test_nouns(text, expected):
    assert nouns(text) == expected


def test_a_text_without_nouns_is_refused():
    with pytest.raises(ComponentError, match="the text 'very red' has no noun that is known"):
        nouns("very red")


def test_of_a_caption_only_the_words_that_it_has():
    asked = Asked(caption="a cat", prompt="a dog")
    labeller = CrossAttention(text="caption", words=("dog", "cat"))
    asked.label(labeller)
    assert asked.texts == [("a cat", ("cat",))]
    with pytest.raises(ComponentError, match=r"label\.words: none of dog is in the caption 'a cat"):
        asked.label(CrossAttention(text="caption", words=("dog",)))


@pytest.mark.parametrize(
    ("labeller", "sentence"),
    [
        (CrossAttention(), r"label\.text: prompt .* probe\.prompt, which is empty"),
        (CrossAttention(text="caption"), r"label\.text: caption .* this picture has none"),
        (PromptLabels(), r"label\.names: the dataset has no classes to take names from"),
        (
            PromptLabels(names=("cat",), synonyms={"dog": ("hound",)}),
            r"label\.synonyms: dog is none of the names; allowed: cat",
        ),
        (
            PromptLabels(names=("field", "playing field")),
            r"label\.names: 'field' is a word of 'playing field' too, .* give passes: each",
        ),
    ],
)
def test_what_isn_t_known_is_asked_for(labeller, sentence):
    with pytest.raises(ComponentError, match=sentence):
        Asked().label(labeller)


def test_a_template_has_one_place():
    with pytest.raises(AttnProbeError, match=r"template: .*must have \{\} once"):
        PromptLabels(template="a photo")


@pytest.mark.parametrize(
    ("passes", "texts"),
    [
        ("shared", [("a photo of cat, kitten, dog", ("cat", "kitten", "dog"))]),
        ("each", [(f"a photo of {w}", (w,)) for w in ("cat", "kitten", "dog")]),
    ],
)
def test_synonyms_are_one_name_in_one_pass_or_several(passes, texts):
    asked = Asked()
    labeller = PromptLabels(
        names=("cat", "dog"), synonyms={"cat": ("cat", "kitten")}, passes=passes
    )
    assert asked.label(labeller).names == {0: "cat", 5: "dog"}
    assert asked.texts == texts


def test_classes_of_the_dataset_are_names_each_once():
    asked = Asked(classes=("cat", "dog", "cat"))
    assert asked.label(PromptLabels()).names == {0: "cat", 5: "dog"}


def test_what_stands_out_nowhere_is_background():
    found = Asked().label(PromptLabels(names=("cat",), background="ground", least=1.5))
    assert found.names == {0: "cat", 5: "ground"}


def pipeline(tiny, label, **changes):
    return Pipeline(tiny, Probe(size=64), Multiscale(), DiffSeg(anchors=4), label=label, **changes)


def test_a_pipeline_asks_its_model_under_the_text(tiny):
    scene = make_scene("test", 0)
    labelling = pipeline(tiny, CrossAttention(text="caption", words=scene.names))
    attention = labelling.attention(Image.fromarray(scene.image))
    cut = labelling.cut(attention)
    words = tuple(dict.fromkeys(scene.names))
    probe = Probe(size=64, prompt=scene.caption, words=words)
    fields = probe(tiny, Image.fromarray(scene.image), needs={"words"})
    expected = name_segments(cut, Cross()(fields))
    found = labelling.named(cut, attention, scene.caption)
    assert found.names == expected.names
    assert np.array_equal(found.labels, expected.labels)


def test_words_are_cached_as_fields_are(tiny, tmp_path, monkeypatch):
    cache = FieldCache(tmp_path)
    labelling = pipeline(tiny, CrossAttention(words=("star",)), cache=cache)
    labelling = Pipeline(**{**vars(labelling), "probe": Probe(size=64, prompt="a red star")})
    first = labelling.segment(make_scene("test", 1).image)
    assert len(cache.entries()) == 2
    monkeypatch.setattr(type(tiny), "denoise", None)
    again = labelling.segment(make_scene("test", 1).image)
    assert again.names == first.names


def test_a_drawing_is_named_by_what_it_was_drawn_from(tiny):
    drawing = Drawing("a red star on a green ground", steps=2, guidance=1.0, seed=0)
    labelling = pipeline(tiny, CrossAttention(least=0))
    found = labelling.segment(drawing)
    assert set(found.names.values()) <= {"star", "ground"}
    assert found.names


def test_without_a_labeller_nothing_is_named(tiny):
    assert pipeline(tiny, None).segment(make_scene("test", 0).image).names is None
