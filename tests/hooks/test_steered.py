"""Processors that change probabilities before they multiply by them: these are what is captured."""

import pytest
import torch

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import AttentionHooks, Entropy, HeadMax, HeadMean, PerHead, TokenMaps, TopK
from tests.conftest import small_unet
from tests.hooks.small import CROSS, MID, inputs


def takes_anothers(p):
    """Prompt-to-prompt: the second prompt takes the first one's maps."""
    half = len(p) // 2
    p[half:] = p[:half]


def swaps(p):
    p[:] = p.flip(-1)


def scales(p):
    p.mul_(torch.linspace(0.5, 2, p.shape[-1], dtype=p.dtype))


def masks(p):
    """After the softmax, so that rows no longer sum to one."""
    p.masked_fill_((torch.arange(p.shape[-1]) % 2 == 0).expand_as(p), 0)


def one_entry(p):
    p[0, 0, 0] += 0.01


def by_data(p):
    p.data[..., 0] = 0.5


def by_numpy(p):
    p.detach().float().numpy()[..., 0] = 0.25


CHANGES = [takes_anothers, swaps, scales, masks, one_entry, by_data, by_numpy]


class Steering:
    """A classic processor with a controller."""

    def __init__(self, change, product=torch.bmm):
        self.change, self.product, self.used = change, product, None

    def __call__(self, attn, x, encoder_hidden_states=None, attention_mask=None, **_):
        e = x if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = map(attn.head_to_batch_dim, (attn.to_q(x), attn.to_k(e), attn.to_v(e)))
        p = attn.get_attention_scores(q, k, attention_mask)
        changed = self.change(p)
        p = p if changed is None else changed
        self.used = p.detach().clone().unflatten(0, (-1, attn.heads)).float()
        return attn.to_out[0](attn.batch_to_head_dim(self.product(p, v)))


def steered(change, keep, name=CROSS, dtype=torch.float32, product=torch.bmm, inference=False):
    unet = small_unet().to(dtype)
    processor = Steering(change, product)
    unet.get_submodule(name).set_processor(processor)
    latent, timestep, words = inputs(2)

    def work():
        with torch.inference_mode() if inference else torch.no_grad():
            return unet(latent.to(dtype), timestep, words.to(dtype)).sample

    plain = work()
    with ap.capture(unet, ap.Layers(names=(name,)), keep) as capture:
        assert torch.equal(work(), plain)
    return capture, processor.used


@pytest.mark.parametrize("inference", [False, True], ids=["no_grad", "inference"])
@pytest.mark.parametrize("name", [MID, CROSS], ids=["self", "cross"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_multiplied_is_what_is_captured(change, name, inference):
    capture, used = steered(change, PerHead(), name, inference=inference)
    torch.testing.assert_close(capture[name], used, rtol=0, atol=0)


@pytest.mark.parametrize("change", [swaps, scales, masks, by_data])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision(change, dtype):
    capture, used = steered(change, PerHead(), dtype=dtype)
    torch.testing.assert_close(capture[CROSS], used, rtol=0, atol=0)


def test_unchanged_ones_in_half_precision_are_exact():
    """More digits than the model has of them: the softmax of its queries and keys in float32."""
    capture, used = steered(lambda p: None, PerHead(), dtype=torch.bfloat16)
    assert not torch.equal(capture[CROSS], used)
    torch.testing.assert_close(capture[CROSS].sum(-1), torch.ones(2, 2, 64), rtol=0, atol=1e-5)


@pytest.mark.parametrize("product", [torch.matmul, lambda p, v: p @ v, lambda p, v: p.bmm(v)])
def test_however_they_are_multiplied(product):
    capture, used = steered(scales, PerHead(), product=product)
    torch.testing.assert_close(capture[CROSS], used, rtol=0, atol=0)


def test_every_recorder_has_the_changed_ones():
    def kept(keep):
        capture, used = steered(masks, keep)
        return capture[CROSS], used

    mean, used = kept(HeadMean())
    torch.testing.assert_close(mean, used.mean(1))
    torch.testing.assert_close(kept(HeadMax())[0][0], used.amax(1))
    torch.testing.assert_close(kept(Entropy())[0][0], torch.special.entr(used).sum(-1))
    torch.testing.assert_close(kept(TopK(2))[0]["values"][0], used.mean(1).topk(2, 2).values)
    words = kept(TokenMaps({"cat": (1, 2)}))[0]
    torch.testing.assert_close(words[..., 0], used.mean(1)[..., 1:3].sum(-1))


@pytest.mark.parametrize("change", [lambda p: p * 2, lambda p: p.clone(), lambda p: p.softmax(-1)])
def test_others_than_the_layer_computed_are_refused_with_the_reason(change):
    with pytest.raises(
        AttnProbeError, match="processor Steering multiplies by other probabilities than those"
    ):
        steered(change, PerHead())


@pytest.mark.parametrize(
    "product",
    [
        lambda p, v: torch.einsum("bij,bjd->bid", p, v),
        lambda p, v: torch.baddbmm(torch.zeros(()), p, v),
        lambda p, v: torch.stack([one @ values for one, values in zip(p, v, strict=True)]),
    ],
)
def test_products_that_are_not_seen_are_refused_with_that_reason(product):
    unet = small_unet()
    unet.get_submodule(CROSS).processor = Steering(lambda p: None, product)
    with (
        pytest.raises(AttnProbeError, match="those it had computed, or not by bmm or matmul"),
        ap.capture(unet, ap.Layers(names=CROSS)),
    ):
        unet(*inputs())


def test_each_product_with_the_same_probabilities_is_a_call():
    """By other values, or by what has become of them meanwhile."""
    used = []

    def twice(p, v):
        used.append(p.clone())
        first = torch.bmm(p, v)
        p.data.mul_(0.5)
        used.append(p.clone())
        return first + torch.bmm(p, v)

    unet = small_unet()
    unet.get_submodule(CROSS).processor = Steering(lambda p: None, twice)
    with ap.capture(unet, ap.Layers(names=CROSS), PerHead()) as capture, torch.no_grad():
        unet(*inputs())
    assert [*capture.records] == [CROSS, f"{CROSS}#1"]
    for name, probs in zip(capture.records, used, strict=True):
        torch.testing.assert_close(capture[name].flatten(0, 1), probs)


def test_a_layers_own_scores():
    """A method in place of the layer's that gives other probabilities than the softmax."""
    unet = small_unet()
    processor = Steering(lambda p: None)
    layer = unet.get_submodule(CROSS)
    layer.set_processor(processor)
    scores = layer.get_attention_scores
    for dtype in (torch.float32, torch.bfloat16):
        unet.to(dtype)
        layer.get_attention_scores = lambda *given: scores(*given) ** 2
        latent, timestep, words = inputs(2)
        with torch.no_grad(), ap.capture(unet, ap.Layers(names=(CROSS,)), PerHead()) as capture:
            unet(latent.to(dtype), timestep, words.to(dtype))
        assert torch.equal(capture[CROSS], processor.used)


def test_an_edit_begins_with_the_changed_ones():
    """The identity as an edit leaves the output as it was, but for rounding."""
    unet = small_unet()
    unet.get_submodule(CROSS).set_processor(Steering(masks))
    latent, timestep, words = inputs(2)
    with torch.no_grad():
        plain = unet(latent, timestep, words).sample
    hooks = AttentionHooks(unet)
    hooks.edit(lambda probs, call: probs, ap.Layers(names=(CROSS,)))
    with torch.no_grad(), hooks:
        edited = unet(latent, timestep, words).sample
    torch.testing.assert_close(edited, plain, rtol=0, atol=1e-5 * plain.abs().max().item())
