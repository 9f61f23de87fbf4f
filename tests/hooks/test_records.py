"""Fields of real denoisers: the image's block of each layer, whatever else its sequence holds."""

import pytest
import torch

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import AttentionHooks, HeadMean, PerHead, Pooled, attention_layers
from tests.hooks.calls import eager
from tests.hooks.zoo import CASES

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def block(call_probs: torch.Tensor, told, item: int) -> torch.Tensor:
    """The image's queries and keys of an item, as the zoo tells its roles; rows sum to 1 again."""
    rows = places(told.query)
    columns = rows if told.key is None else places(told.key)
    maps = call_probs[item].mean(0)[rows][:, columns]
    return maps / maps.sum(1, keepdim=True)


def places(runs) -> list[int]:
    found, start = [], 0
    for role, count in runs:
        found += range(start, start + count) if role == "image" else ()
        start += count
    return found


@by_name
@pytest.mark.parametrize("keep", [HeadMean(), PerHead()], ids=str)
def test_fields_are_the_images_block(case, keep):
    """Eager attention in float64, cut as the zoo tells; frames of a video are no image."""
    expected = {}
    for name, layer in case.layers.items():
        for index, told in enumerate(layer.calls):
            items = told if isinstance(told, tuple) else (told,)
            if layer.kind in ("self", "joint") and items[0].query_grid is not None:
                expected[f"{name}#{index}" if index else name] = items
    model, seen = case.build(), {}
    order = [layer.name for layer in attention_layers(model)]
    expected = dict(sorted(expected.items(), key=lambda one: order.index(one[0].split("#")[0])))
    hooks = AttentionHooks(model, missing="ignore")
    hooks.add(lambda call: seen.update({call.name: eager(call)}))
    with torch.no_grad(), hooks, ap.capture(model, keep=keep, missing="ignore") as capture:
        model(**case.inputs())
    for name, record in capture.records.records.items():  # a branch, known or not, for each row
        assert len(record.steps[0][0].branches) == len(capture[name])
    if not expected:
        with pytest.raises(AttnProbeError, match="so no fields"):
            capture.fields()
        return
    if any(items[0].query_grid[0] > 1 for items in expected.values()):
        with pytest.raises(AttnProbeError, match="frames; a field is of one image"):
            capture.fields(0)
        return
    last = min(len(seen[name]) for name in expected) - 1
    for item in {0, last}:
        fields = capture.fields(item)
        assert [field.origin for field in fields] == [*expected]
        for field, (name, items) in zip(fields, expected.items(), strict=True):
            told = items[item if len(items) > 1 else 0]
            assert field.grid == told.query_grid[1:]
            truth = block(seen[name], told, item)
            torch.testing.assert_close(field.rows.double(), truth, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["FluxTransformer2DModel", "Lumina2Transformer2DModel", "ZImageTransformer2DModel"]
)
@pytest.mark.parametrize("cells", [(2, 2), (64, 64)])
def test_pooled_fields_of_joint_attention(name, cells):
    case = next(case for case in CASES if case.name == name)
    model = case.build()
    layers = ap.Layers(where=lambda layer: layer.kind == "joint")
    with (
        torch.no_grad(),
        ap.capture(model, layers) as whole,
        ap.capture(model, layers, Pooled(cells)) as pooled,
    ):
        model(**case.inputs())
    for item in (0, 1):
        for field, full in zip(pooled.fields(item), whole.fields(item), strict=True):
            assert field.grid == tuple(map(min, cells, full.grid))
            if field.grid == full.grid:
                torch.testing.assert_close(field.rows, full.rows)
            torch.testing.assert_close(field.rows.sum(1), torch.ones(len(field.rows)))


def test_items_and_layers_that_are_not_there(unet):
    with torch.no_grad(), ap.capture(unet, ap.Layers(kind="self")) as capture:
        unet(torch.randn(2, 4, 16, 24), 300, torch.randn(2, 7, 24))
    assert torch.equal(capture.fields(-1)[0].rows, capture.fields(1)[0].rows)
    for item in (2, -3):
        with pytest.raises(AttnProbeError, match=rf"item must be -2 to 1, .* Got {item} instead"):
            capture.fields(item)
    with pytest.raises(AttnProbeError, match=r"nothing was kept of .*attn2.*did you mean"):
        capture.at("mid_block.attentions.0.transformer_blocks.0.attn2")
    with torch.no_grad(), ap.capture(unet, ap.Layers(kind="cross")) as crosses:
        unet(torch.randn(2, 4, 16, 24), 300, torch.randn(2, 7, 24))
    with pytest.raises(AttnProbeError, match="no self- or joint-attention layer was captured"):
        crosses.fields()
