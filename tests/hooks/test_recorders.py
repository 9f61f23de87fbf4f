from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.aggregate import Cross
from attnprobe.hooks import (
    AttentionCall,
    Entropy,
    Features,
    HeadMax,
    HeadMean,
    Keep,
    PerHead,
    Pooled,
    Recorder,
    Rows,
    Span,
    TokenMaps,
    Tokens,
    TopK,
)
from attnprobe.hooks.recorders import rows as rows_module
from tests.conftest import small_unet
from tests.hooks.calls import calls, eager, random_call

CLOSE = {"rtol": 0, "atol": 2e-6, "check_dtype": False}


@settings(max_examples=150, deadline=None)
@given(calls())
def test_reductions_equal_eager_attention_in_float64(call):
    probs = eager(call)
    last = call.shape[1] - 1
    torch.testing.assert_close(HeadMean().record(call), probs.mean(1), **CLOSE)
    torch.testing.assert_close(HeadMax().record(call), probs.amax(1), **CLOSE)
    torch.testing.assert_close(PerHead().record(call), probs, **CLOSE)
    torch.testing.assert_close(PerHead((last, 0)).record(call), probs[:, [last, 0]], **CLOSE)
    torch.testing.assert_close(Keep("probs").record(call), probs, **CLOSE)
    entropy = torch.distributions.Categorical(probs + (probs.sum(-1, keepdim=True) == 0)).entropy()
    entropy = torch.where(probs.sum(-1) == 0, 0.0, entropy)
    torch.testing.assert_close(
        Entropy().record(call), entropy, rtol=1e-5, atol=1e-5, check_dtype=False
    )
    kept = [HeadMean().record(call), HeadMax().record(call), Entropy().record(call)]
    assert all(part.dtype == torch.float32 for part in kept)


@settings(max_examples=100, deadline=None)
@given(calls(), st.integers(1, 15))
def test_the_largest_entries(call, k):
    found, mean = TopK(k).record(call), eager(call).mean(1)
    count = min(k, call.shape[3])
    assert found["indices"].dtype == torch.int32
    assert found["values"].shape == found["indices"].shape == (*mean.shape[:2], count)
    largest = mean.sort(-1, descending=True).values[..., :count]
    torch.testing.assert_close(found["values"], largest, **CLOSE)
    there = mean.gather(-1, found["indices"].long())
    torch.testing.assert_close(found["values"], there, **CLOSE)
    assert all(len(set(row)) == count for row in found["indices"].flatten(0, 1).tolist())


def test_a_head_that_is_not_there():
    with pytest.raises(AttnProbeError, match=r"PerHead.heads: block.attn has heads 0 to 3. Got 4"):
        PerHead((1, 4)).record(random_call((1, 4, 2, 2)))
    with pytest.raises(AttnProbeError, match=r"PerHead.heads\[0\].*Got \(-1,\)"):
        PerHead((-1,))


def picture(height: int, width: int, *, text: int = 0, first: bool = True) -> Tokens:
    image, words = ("image", height * width), ("text", text)
    runs = (image, words) if first else (words, image)
    return Tokens.runs(*runs, grid=(1, height, width))


@pytest.mark.parametrize("text", [0, 5])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("elements", [1, 1 << 24])
def test_rows_of_points(text, first, elements, monkeypatch):
    monkeypatch.setattr(rows_module, "_ELEMENTS", elements)
    tokens = picture(4, 6, text=text, first=first)
    call = random_call((2, 3, tokens.count, tokens.count), queries=tokens, keys=tokens)
    mean, start = eager(call).mean(1), 0 if first else text
    own = Rows(((0, 0), (3, 5), (0, 0), (1, 2))).record(call)
    torch.testing.assert_close(own, mean[:, [start + i for i in (0, 23, 0, 8)]], **CLOSE)
    # of 8 × 12 cells a token has 2 × 2; of 2 × 2 cells the middle one lies at row 1, column 1.5
    finer = Rows(((0, 1), (7, 0), (3, 5)), grid=(8, 12)).record(call)
    torch.testing.assert_close(finer, mean[:, [start + i for i in (0, 18, 8)]], **CLOSE)
    coarser = Rows(((0, 0), (1, 1)), grid=(2, 2)).record(call)
    torch.testing.assert_close(coarser, mean[:, [start + i for i in (7, 22)]], **CLOSE)


def test_rows_where_the_image_begins_elsewhere_in_each_item():
    spans = (
        (Span("text", 0, 2), Span("image", 2, 8)),
        (Span("text", 0, 1), Span("image", 1, 7), Span("pad", 7, 8)),
    )
    tokens = Tokens(spans, (1, 2, 3))
    call = random_call((2, 2, 8, 8), queries=tokens, keys=tokens)
    mean = eager(call).mean(1)
    expected = torch.stack([mean[0, [7, 2]], mean[1, [6, 1]]])
    torch.testing.assert_close(Rows(((1, 2), (0, 0))).record(call), expected, **CLOSE)
    pooled = Pooled((1, 1)).record(call)
    torch.testing.assert_close(pooled[1, 0, 0], mean[1, 1:7, 1:7].sum(1).mean(), **CLOSE)


def test_points_outside_and_queries_on_no_grid():
    tokens = picture(4, 6)
    call = random_call((1, 1, 24, 24), queries=tokens, keys=tokens)
    with pytest.raises(
        AttnProbeError, match=r"on the grid 4×6 y must be 0 to 3 and x 0 to 5. Got \(4, 0\)"
    ):
        Rows(((0, 0), (4, 0))).record(call)
    with pytest.raises(AttnProbeError, match=r"on the grid 2×2 .* Got \(1, -1\)"):
        Rows(((1, -1),), grid=(2, 2)).record(call)
    with pytest.raises(AttnProbeError, match=r"block.attn lie on no grid of one image"):
        Rows(((0, 0),)).record(random_call((1, 1, 24, 24)))
    with pytest.raises(AttnProbeError, match=r"Rows.points"):
        Rows(())


def pooled_by_loops(mean, grid, start, cells):
    """Explicit loops over queries, keys and cells, in float64."""
    (height, width), (tall, wide) = grid, (min(cells[0], grid[0]), min(cells[1], grid[1]))

    def cell(token: int) -> int:
        y, x = divmod(token, width)
        return (2 * y + 1) * tall // (2 * height) * wide + (2 * x + 1) * wide // (2 * width)

    total = torch.zeros(len(mean), tall * wide, tall * wide, dtype=torch.float64)
    members = [sum(cell(t) == c for t in range(height * width)) for c in range(tall * wide)]
    for query in range(height * width):
        for key in range(height * width):
            share = mean[:, start + query, start + key] / members[cell(query)]
            total[:, cell(query), cell(key)] += share
    return total


@pytest.mark.parametrize("elements", [1, 700, 1 << 24])
@pytest.mark.parametrize(
    ("grid", "cells"), [((4, 6), (2, 3)), ((5, 7), (2, 4)), ((3, 5), (4, 4)), ((2, 4), (2, 4))]
)
@pytest.mark.parametrize(("text", "first"), [(0, True), (5, True), (5, False)])
def test_pooling_equals_explicit_loops(grid, cells, text, first, elements):
    tokens = picture(*grid, text=text, first=first)
    shape = (2, 3, tokens.count, tokens.count)
    call = random_call(shape, queries=tokens, keys=tokens, elements=elements)
    mean, start = eager(call).mean(1), 0 if first else text
    kept = Pooled(cells).record(call)
    torch.testing.assert_close(kept, pooled_by_loops(mean, grid, start, cells), **CLOSE)
    if not text:
        torch.testing.assert_close(kept.sum(-1), torch.ones(kept.shape[:2]))


def test_pooling_needs_a_grid():
    with pytest.raises(AttnProbeError, match=r"Pooled: the tokens of block.attn lie on no grid"):
        Pooled((2, 2)).record(random_call((1, 1, 4, 4)))


def test_features_are_the_outputs_in_the_order_of_the_grid():
    tokens = picture(2, 3, text=4, first=False)
    call = random_call((2, 3, 10, 10), queries=tokens, keys=tokens, dtype=torch.bfloat16)
    kept = Features().record(call)
    assert kept.shape == (2, 2, 3, 24)
    assert kept.dtype == torch.float32
    for y in range(2):
        for x in range(3):
            expected = torch.cat([call.out[:, head, 4 + 3 * y + x] for head in range(3)], 1)
            assert torch.equal(kept[:, y, x], expected.float())


def test_features_of_a_video_have_frames():
    tokens = Tokens.runs(("image", 12), grid=(2, 2, 3))
    call = random_call((1, 2, 12, 12), queries=tokens, keys=tokens)
    kept = Features().record(call)
    assert kept.shape == (1, 2, 2, 3, 16)
    assert torch.equal(kept[0, 1, 0, 2], call.out[0, :, 8].flatten())
    with pytest.raises(AttnProbeError, match="lie on no grid known"):
        Features().record(random_call((1, 1, 4, 4)))


def test_features_go_into_the_projection(unet):
    """A hook on the module after attention sees the same numbers."""
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    seen = []
    unet.get_submodule(name).to_out[0].register_forward_pre_hook(
        lambda _, given: seen.append(given)
    )
    with torch.no_grad(), ap.capture(unet, ap.Layers(names=(name,)), Features()) as capture:
        unet(torch.randn(2, 4, 16, 24), 300, torch.randn(2, 7, 24))
    assert torch.equal(capture[name].flatten(1, 2), seen[0][0])


@pytest.mark.parametrize("name", ["q", "k", "v", "out", "logits", "probs"])
def test_keeping_a_tensor_is_a_copy(name):
    call = random_call((2, 4, 3, 5), key_heads=2)
    kept = Keep(name).record(call)
    before = kept.clone()
    for tensor in (call.q, call.k, call.v, call.out):
        tensor.zero_()
    assert torch.equal(kept, before)
    assert kept.abs().sum() > 0


def test_keeping_several_tensors_in_the_models_type():
    call = random_call((2, 4, 3, 5), key_heads=2, dtype=torch.bfloat16)
    kept = Keep("k", "probs").record(call)
    assert torch.equal(kept["k"], call.k)
    assert kept["k"].dtype == torch.bfloat16
    torch.testing.assert_close(kept["probs"], eager(call), **CLOSE)
    logits = Keep("logits").record(call)
    torch.testing.assert_close(logits.double().softmax(-1), eager(call), **CLOSE)


def test_what_can_be_kept():
    with pytest.raises(AttnProbeError, match=r"Keep: tensors must be of q, k, .*Got 'query'"):
        Keep("q", "query")
    with pytest.raises(AttnProbeError, match=r"Got none instead"):
        Keep()


class Peak(Recorder):
    """A recorder of a user's own."""

    def record(self, call):
        return torch.cat([probs.amax(3) for _, probs in call.chunks()], 2)


def test_a_recorder_of_ones_own():
    model = small_unet()
    given = torch.randn(1, 4, 16, 16), 300, torch.randn(1, 7, 24)
    with torch.no_grad(), ap.capture(model, ap.Layers(kind="cross"), Peak()) as peaks:
        model(*given)
    with torch.no_grad(), ap.capture(model, ap.Layers(kind="cross"), PerHead()) as maps:
        model(*given)
    for row in peaks.layers:  # not linear, so each step is kept
        assert torch.equal(peaks[row["name"]], maps[row["name"]].amax(-1)[None])
    with pytest.raises(AttnProbeError, match="Peak keeps no whole maps"):
        Peak().maps(torch.zeros(1), Tokens(), Tokens(), 0)


EVERY = [
    HeadMean(),
    HeadMax(),
    PerHead(),
    PerHead((1,)),
    Pooled((2, 3)),
    Rows(((1, 1), (2, 3))),
    TokenMaps({"cat": (1,)}),
    Entropy(),
    TopK(3),
    Keep("probs"),
]


def broken_call(broken: str, masked: str, normaliser: bool) -> AttentionCall:
    """Two items of 3×4 queries; of the first item's last query, or first key, one number is bad."""
    tokens = Tokens.runs(("image", 12), grid=(1, 3, 4))
    keys = Tokens.runs(("text", 12)) if masked == "text" else tokens
    mask = None
    if masked == "bool":
        mask = torch.ones(2, 1, 12, 12, dtype=torch.bool)
        mask[:, :, 5] = False
    elif masked == "float":
        mask = torch.zeros(2, 1, 12, 12)
        mask[:, :, 5] = -torch.inf
    call = random_call((2, 2, 12, 12), queries=tokens, keys=keys, mask=mask)
    value = {"nan": torch.nan, "inf": torch.inf}[broken.split()[0]]
    (call.q if "query" in broken else call.k)[0, :, -1 if "query" in broken else 0, 0] = value
    lse = call.logits().logsumexp(3) if normaliser else None
    return replace(call, logsumexp=lse)


@pytest.mark.parametrize("normaliser", [False, True])
@pytest.mark.parametrize("masked", ["no", "bool", "float", "text"])
@pytest.mark.parametrize("broken", ["nan query", "inf query", "nan key"])
@pytest.mark.parametrize("keep", EVERY, ids=repr)
def test_what_is_no_number_stays_none(keep, broken, masked, normaliser):
    """In the rows it makes, and nowhere else; a row that may see no key is zero all the same."""
    if isinstance(keep, TokenMaps) != (masked == "text"):
        return
    call = broken_call(broken, masked, normaliser)
    whole = replace(broken_call(broken, masked, normaliser), logsumexp=None)
    whole.q.nan_to_num_(0, 0, 0), whole.k.nan_to_num_(0, 0, 0)
    value, truth = keep.record(call), keep.record(whole)
    if isinstance(value, dict):
        value, truth = value["values"], truth["values"]
    assert value[0].isnan().any()
    torch.testing.assert_close(value[1], truth[1], **CLOSE)
    rows = {"HeadMean": 1, "HeadMax": 1, "PerHead": 2, "Entropy": 2, "TopK": 1, "Keep": 2}
    axis = rows.get(type(keep).__name__, 0)
    if not axis:
        return
    by_row = value[0].unbind(axis - 1)
    for row, (got, right) in enumerate(zip(by_row, truth[0].unbind(axis - 1), strict=True)):
        # −∞ added to what is no number is none; a False puts −∞ in its place
        blind = row == 5 and (masked == "bool" or (masked == "float" and "query" in broken))
        if blind:
            assert (got == 0).all()
        elif row == 11 or "key" in broken:
            assert got.isnan().any()
        else:
            torch.testing.assert_close(got, right, **CLOSE)


@pytest.mark.parametrize("keep", EVERY[:3])
def test_only_rows_of_minus_infinity_are_zero(keep):
    """Also where no mask made them so; with finite masks a row is what softmax makes of it."""
    call = random_call((1, 2, 3, 4))
    call.q[:], call.k[:] = 1.0, 1.0
    call.k[..., 0] = -torch.inf
    for lse in (None, call.logits().logsumexp(3)):
        assert (keep.record(replace(call, logsumexp=lse)) == 0).all()
    finite = random_call((1, 2, 3, 4), mask=torch.full((1, 1, 3, 4), -1e30))
    assert (keep.record(finite).sum(-1) > 0.99).all()


@pytest.mark.parametrize("keep", [HeadMean(), PerHead(), Pooled((4, 4))], ids=repr)
def test_a_field_of_no_numbers_is_refused_by_its_layer(unet, keep):
    name = "mid_block.attentions.0.transformer_blocks.0.attn1"
    with torch.no_grad():
        unet.get_submodule(name).to_q.weight[0, 0] = torch.nan
    with torch.no_grad(), ap.capture(unet, ap.Layers(names=name), keep) as capture:
        unet(torch.randn(1, 4, 16, 16), 300, torch.randn(1, 7, 24))
    with pytest.raises(AttnProbeError, match=rf"from {name}: .*nan"):
        capture.fields()


def test_words_of_no_numbers_are_refused_by_their_layer(unet):
    name = "mid_block.attentions.0.transformer_blocks.0.attn2"
    with torch.no_grad():
        unet.get_submodule(name).to_k.weight[0, 0] = torch.nan
    words = TokenMaps({"cat": (1,)})
    with torch.no_grad(), ap.capture(unet, ap.Layers(names=name), words) as capture:
        unet(torch.randn(1, 4, 16, 16), 300, torch.randn(1, 7, 24))
    with pytest.raises(AttnProbeError, match=rf"the maps of {name} have NaN"):
        Cross()(capture.words())
