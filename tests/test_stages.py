"""Stages that don't fit together are refused, in recipes and in Python."""

from __future__ import annotations

import functools
import numbers
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import pytest
import torch
from PIL import Image

from attnprobe import AttentionField, AttnProbeError, Pipeline, Probe, load_recipe
from attnprobe.aggregate import Cross, Multiscale, SelfCross
from attnprobe.errors import ComponentError
from attnprobe.fields import AnyField, WordMaps
from attnprobe.group import Argmax, DiffSeg
from attnprobe.pipeline import ImageAttention
from attnprobe.refine import MinArea, Pamr
from attnprobe.stages import gives, misfit, takes

if TYPE_CHECKING:
    from somewhere_else import Nothing


def test_kinds_are_read_off_the_annotations():
    assert gives(Multiscale()) == (AttentionField,)
    assert gives(Cross) == (WordMaps,)
    assert takes(DiffSeg) == (AttentionField,)
    assert takes(Argmax()) == (WordMaps,)
    assert set(takes(Pamr())) == {AttentionField, WordMaps}


Bound = TypeVar("Bound", bound=AttentionField)


class Own(WordMaps):
    pass


class Bare:
    def __call__(self, field, *, rng, truth=None):
        return Argmax()(field, rng=rng)


def test_functions_and_classes_without_annotations_are_for_fields_of_attention_and_told_so():
    assert takes(Bare()) == takes(lambda field: field) == (AttentionField,)
    assert misfit(lambda fields: fields[0], Bare()) is None
    _, sentence = misfit(Cross(), Bare())
    assert sentence.startswith(
        "Bare works on attention between places (it has no annotation of field, so that is what "
        "it is for), but cross gives words' maps;"
    )
    _, sentence = misfit(lambda fields: fields[0], Argmax())
    assert "gives attention between places (it has no annotation of return, so that" in sentence


def test_annotations_are_read_through_what_wraps_them():
    class Marked:
        def __call__(self, field: Annotated[WordMaps | None, "soft"], rng): ...

        def other(self, field: AttentionField): ...

    def own(field: Own): ...
    def bound(field: Bound): ...
    def whatever(field: Any): ...
    def thing(field: object): ...

    assert takes(own) == takes(Marked()) == takes(functools.partial(own)) == (WordMaps,)
    assert takes(bound) == takes(Marked().other) == (AttentionField,)
    assert takes(whatever) == takes(thing) == (AttentionField, WordMaps)


@pytest.mark.parametrize("hint", [int, None, list[int], "numbers.Number", "3"])
def test_an_annotation_that_names_no_field_is_refused(hint):
    def odd(field, other: AnyField):
        return field

    odd.__globals__.setdefault("numbers", numbers)
    odd.__annotations__["field"] = hint
    with pytest.raises(ComponentError, match="of field names no kind of field; allowed: Attention"):
        takes(odd)


def seen(model, field):
    """A picture whose attention this is said to be."""
    picture = Image.new("RGB", (64, 64))
    return ImageAttention(picture, Probe().fitted(model, picture), field)


def test_what_a_stage_is_really_given_is_checked(tiny):
    """An aggregator may give another kind than it says, or say nothing."""
    words = WordMaps(torch.rand(1, 4, 4), ("cat",))
    pipeline = Pipeline(tiny, Probe(), lambda fields: words, Bare())
    with pytest.raises(ComponentError, match=r"Bare works on .* aggregator gave words' maps"):
        pipeline.cut(seen(tiny, words))
    either = Pipeline(tiny, Probe(), SelfCross(), Argmax(), (Pamr(),))
    assert either.cut(seen(tiny, words)).count == 1
    with pytest.raises(ComponentError, match=r"argmax works on words' maps, .* gave a list"):
        either.cut(seen(tiny, [words]))


def test_names_that_only_type_checkers_import_are_read_by_their_words():
    """A plug-in may import WordMaps as our own files import types."""
    names = {"__name__": "plugged"}
    exec(
        "from __future__ import annotations\n"
        "def words(field: WordMaps, rng): ...\n"
        "def deep(field: attnprobe.fields.WordMaps | None): ...\n"
        "def either(field: AttentionField | WordMaps): ...\n"
        "def any(field: AnyField): ...\n"
        "def rows(field: AttentionField): ...\n",
        names,
    )
    assert takes(names["words"]) == takes(names["deep"]) == (WordMaps,)
    assert set(takes(names["either"])) == set(takes(names["any"])) == {AttentionField, WordMaps}
    assert takes(names["rows"]) == (AttentionField,)

    def other(field: Nothing):
        return field

    with pytest.raises(ComponentError, match="its annotation 'Nothing' can't be read"):
        takes(other)
    other.__annotations__["field"] = "functools.nothing"
    with pytest.raises(ComponentError, match=r"'functools\.nothing' can't be read"):
        takes(other)
    other.__annotations__["field"] = "Nothing"
    with pytest.raises(ComponentError, match="'Nothing' can't be read"):
        misfit(Multiscale(), other)


def test_the_first_stage_that_does_not_fit_is_named():
    assert misfit(SelfCross(), Argmax(), [Pamr()]) is None
    path, sentence = misfit(Multiscale(), Argmax())
    assert path == ("group",)
    assert sentence == (
        "argmax works on words' maps, but multiscale gives attention between places; "
        "aggregators that fit: cross, self-cross, tokens"
    )
    path, sentence = misfit(Cross(), Argmax(), [Pamr(), MinArea()])
    assert path == ("refine", 1)
    assert sentence.startswith("min-area works on attention between places, but cross gives words")


def test_a_pipeline_refuses_stages_that_do_not_fit(tiny):
    with pytest.raises(AttnProbeError, match=r"Pipeline.group: diffseg works on attention"):
        Pipeline(tiny, Probe(), Cross(), DiffSeg())


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ("group: {use: argmax}", "5:8: group: argmax works on words' maps"),
        (
            "aggregate: {use: cross}\ngroup: {use: argmax}\nrefine: [{use: pamr}, {use: min-area}]",
            "7:23: refine.1: min-area works on",
        ),
        (
            "aggregate: {use: cross}\ngroup: {use: argmax}\nrefine: {use: min-area}",
            "7:9: refine: min-area works on",
        ),
    ],
)
def test_a_recipe_says_where(tmp_path, changes, place):
    head = "name: x\nmodel: {preset: tiny}\nimages: {use: photos}\nseed: 0\n"
    rest = changes if "aggregate" in changes else f"{changes}\naggregate: {{use: multiscale}}"
    path = tmp_path / "x.yaml"
    path.write_text(head + rest)
    with pytest.raises(AttnProbeError, match=place.replace(".", r"\.")):
        load_recipe(path)
