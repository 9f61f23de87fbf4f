"""Tokens that are merged, cut into tiles or windows: no grid is told, whatever their number is."""

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import nn

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import HeadMean, Layer, TokenMaps, Tokens
from attnprobe.hooks.layout import Layout, Seen
from tests.conftest import small_unet

SELF = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
CROSS = "down_blocks.0.attentions.0.transformer_blocks.0.attn2"
SIZE = (16, 16)  # the coarser level is 8×8: as many tokens as a quarter of these


def tiles(x):
    """2×2 tiles on the batch axis: (4, 64, …)."""
    b, _, c = x.shape
    return x.view(b, 2, 8, 2, 8, c).permute(1, 3, 0, 2, 4, 5).reshape(4 * b, 64, c)


def untiled(x, b):
    return x.view(2, 2, b, 8, 8, -1).permute(2, 0, 3, 1, 4, 5).reshape(b, 256, -1)


def merged(x):
    """Every four tokens one, in an order that is no grid's."""
    order = torch.randperm(256, generator=torch.Generator().manual_seed(5))
    return x[:, order].unflatten(1, (64, 4)).mean(2)


def unmerged(x, b):
    order = torch.randperm(256, generator=torch.Generator().manual_seed(5)).argsort()
    return x.repeat_interleave(4, 1)[:, order]


def strided(x):
    """Windows of every other row and column, on the batch axis."""
    b, _, c = x.shape
    return x.view(b, 8, 2, 8, 2, c).permute(2, 4, 0, 1, 3, 5).reshape(4 * b, 64, c)


def unstrided(x, b):
    return x.view(2, 2, b, 8, 8, -1).permute(2, 3, 0, 4, 1, 5).reshape(b, 256, -1)


WAYS = {"tiles": (tiles, untiled), "merged": (merged, unmerged), "windows": (strided, unstrided)}


def change_layer(unet, name, way) -> None:
    """As HyperTile does it: around the layer's own forward."""
    layer = unet.get_submodule(name)
    plain, (there, back) = layer.forward, WAYS[way]

    def forward(x, encoder_hidden_states=None, *args, **kwargs):
        parts = there(x)
        if encoder_hidden_states is not None:
            encoder_hidden_states = encoder_hidden_states.repeat(len(parts) // len(x), 1, 1)
        return back(plain(parts, encoder_hidden_states, *args, **kwargs), len(x))

    layer.forward = forward


class Block(nn.Module):
    """As token merging and window attention do it: in a block that calls its layer on fewer."""

    def __init__(self, block, way):
        super().__init__()
        self.block, self.way = block, way

    def forward(self, x, encoder_hidden_states=None, **_):
        there, back = WAYS[self.way]
        x = x + back(self.block.attn1(there(self.block.norm1(x))), len(x))
        x = x + self.block.attn2(self.block.norm2(x), encoder_hidden_states)
        return x + self.block.ff(self.block.norm3(x))


def look(unet, layers, keep=None, batch=2):
    with torch.no_grad(), ap.capture(unet, layers, keep) as capture:
        unet(torch.randn(batch, 4, *SIZE), 500, torch.randn(batch, 7, 24))
    return capture


def refused(capture) -> None:
    assert capture.layers[0]["grid"] is None
    for kept in capture.records.records.values():
        assert not kept.steps[0][0].queries.known
    with pytest.raises(AttnProbeError, match="lie on no grid known"):
        capture.fields(0)


@pytest.mark.parametrize("way", WAYS)
def test_around_a_layer(way):
    unet = small_unet()
    change_layer(unet, SELF, way)
    capture = look(unet, ap.Layers(names=(SELF,)))
    assert capture[SELF].shape[1:] == (64, 64)
    refused(capture)


@pytest.mark.parametrize("way", WAYS)
def test_in_a_block(way):
    unet = small_unet()
    blocks = unet.down_blocks[0].attentions[0].transformer_blocks
    assert isinstance(blocks[0], BasicTransformerBlock)
    blocks[0] = Block(blocks[0], way)
    name = SELF.replace("attn1", "block.attn1")
    capture = look(unet, ap.Layers(names=(name,)))
    assert capture[name].shape[1:] == (64, 64)
    refused(capture)
    whole = look(unet, ap.Layers(names=(name.replace("attn1", "attn2"),)))
    assert whole.layers[0]["grid"] == SIZE  # nothing was merged there


@pytest.mark.parametrize("way", WAYS)
def test_words_of_parts_are_refused(way):
    unet = small_unet()
    change_layer(unet, CROSS, way)
    with pytest.raises(AttnProbeError, match="which tokens are the image's"):
        look(unet, ap.Layers(names=(CROSS,)), TokenMaps({"cat": (2,)}))


@pytest.mark.parametrize("recorder", [HeadMean(), ap.hooks.Pooled((4, 4))], ids=repr)
def test_keys_of_a_coarser_grid(recorder):
    """Queries as they are, keys and values of every fourth token: no map of the image."""
    unet = small_unet()

    class Downsampled(nn.Module):
        def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, **_):
            def heads(tensor):
                return tensor.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

            few = x[:, ::4]
            out = torch.nn.functional.scaled_dot_product_attention(
                heads(attn.to_q(x)), heads(attn.to_k(few)), heads(attn.to_v(few))
            )
            return attn.to_out[0](out.transpose(1, 2).flatten(2))

    unet.get_submodule(SELF).set_processor(Downsampled())
    with pytest.raises(AttnProbeError):
        look(unet, ap.Layers(names=(SELF,)), recorder).fields(0)


def test_a_level_that_is_shrunk_lies_on_its_own_grid():
    """Features made smaller before a level are what its layers' grids are told by."""
    unet = small_unet()
    level = unet.down_blocks[1].attentions[0]
    plain = level.forward

    def forward(x, *args, **kwargs):
        small = torch.nn.functional.avg_pool2d(x, 2)
        (out,) = plain(small, *args, **(kwargs | {"return_dict": False}))
        return (torch.nn.functional.interpolate(out, x.shape[2:]),)

    level.forward = forward
    capture = look(unet, ap.Layers(names=("down_blocks.1.*attn1",)))
    refused(capture)  # the level was called with 8×8, and 4×4 tokens attend


def test_tiles_of_a_transformers_tokens():
    from tests.hooks.zoo import CASES

    case = next(case for case in CASES if case.name == "PixArtTransformer2DModel")
    model, name = case.build(), next(name for name in case.layers if name.endswith("attn1"))
    layer = model.get_submodule(name)
    plain = layer.forward

    def forward(x, *args, **kwargs):
        return plain(x.reshape(3 * len(x), -1, x.shape[2]), *args, **kwargs).reshape(x.shape)

    layer.forward = forward
    with torch.no_grad(), ap.capture(model, ap.Layers(names=(name,))) as capture:
        model(**case.inputs())
    refused(capture)


@pytest.mark.parametrize(("queries", "keys"), [(24, 30), (24, 12), (6, 13)])
def test_added_keys_beside_fewer_places(queries, keys):
    """Keys that are the text's and the image's: of merged ones nobody knows which is which."""
    layout = Layout(halves=True, others=(Tokens.runs(("text", 7)),))
    layer = Layer("mid_block.attentions.0", "joint", heads=2, block="mid")
    seen = Seen(0, queries=queries, keys=keys, size=(4, 6))
    assert layout.tokens(layer, seen)[1] == Tokens()
    whole = layout.tokens(layer, Seen(0, queries=24, keys=31, size=(4, 6)))[1]
    assert whole.roles() == (("text", 7), ("image", 24))


@pytest.mark.parametrize("tokens", [5, 7])
def test_as_many_parts_as_the_text_has_tokens(tokens):
    """Nor are they the text's; a layer of a transformer's text says so by its name."""
    image = Tokens.runs(("image", 15), grid=(1, 3, 5))
    layout = Layout(image, others=(Tokens.runs(("text", tokens)),))
    for kind in ("self", "cross"):
        layer = Layer("blocks.0.attn1", kind, heads=2)
        assert layout.tokens(layer, Seen(0, queries=tokens, keys=tokens))[0] == Tokens()
    text = Layer("context_refiner.0.attn", "self", heads=2)
    queries, keys = layout.tokens(text, Seen(0, queries=tokens, keys=tokens))
    assert queries == keys == Tokens.runs(("text", tokens))
