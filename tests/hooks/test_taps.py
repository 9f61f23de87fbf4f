"""PyTorch's own kernel, the classic and the sliced processors: each call is told once, rightly."""

from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import (
    AttnAddedKVProcessor,
    AttnProcessor,
    AttnProcessor2_0,
    SlicedAttnAddedKVProcessor,
    SlicedAttnProcessor,
)

import attnprobe as ap
from attnprobe.hooks import AttentionHooks, attention_layers
from tests.conftest import small_unet
from tests.hooks.small import (
    CROSS,
    MID,
    check,
    inputs,
    run,
    run_flux,
    small_flux,
    watch,
)
from tests.hooks.zoo import CASES


@pytest.mark.parametrize("batch", [1, 3])
def test_classic_processor(unet, batch):
    unet.set_attn_processor(AttnProcessor())
    check(unet, lambda: run(unet, batch, (12, 8)))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
def test_sliced_processor(batch, size):
    """Heads number 4: slices of a part of them, of all, of more than one item's."""
    unet = small_unet(block_out_channels=(8, 8), attention_head_dim=4)
    _, native = watch(unet, lambda: run(unet, batch, (12, 8)))
    unet.set_attn_processor(SlicedAttnProcessor(size))
    seen = check(unet, lambda: run(unet, batch, (12, 8)))
    for name, call in seen.items():
        assert call.shape[:2] == (batch, 4)
        torch.testing.assert_close(call.map, native[name].map, rtol=1e-4, atol=1e-6)


def padding(batch: int) -> torch.Tensor:
    """A mask of the text: of the last item the last two words are padding."""
    mask = torch.ones(batch, 7, dtype=torch.bool)
    mask[-1, -2:] = False
    return mask


PROCESSORS = [AttnProcessor2_0(), AttnProcessor(), SlicedAttnProcessor(1), SlicedAttnProcessor(3)]


@pytest.mark.parametrize("processor", PROCESSORS, ids=lambda p: type(p).__name__)
def test_masks_of_the_text(unet, processor):
    unet.set_attn_processor(processor)
    seen = check(unet, lambda: run(unet, 2, encoder_attention_mask=padding(2)))
    assert {call.masked for name, call in seen.items() if name.endswith("attn2")} == {True}
    assert seen[CROSS].map[1, :, :, -2:].max() < 1e-6
    assert seen[CROSS].map[0, :, :, -2:].min() > 0


def test_attention_slicing_as_pipelines_turn_it_on(unet):
    unet.set_attention_slice("max")
    assert {type(p) for p in unet.attn_processors.values()} == {SlicedAttnProcessor}
    check(unet, lambda: run(unet, 2))


def test_mixed_processors(unet):
    _, native = watch(unet, lambda: run(unet, 2))
    kinds = [AttnProcessor(), SlicedAttnProcessor(1), AttnProcessor2_0()]
    for number, name in enumerate(unet.attn_processors):
        unet.get_submodule(name.removesuffix(".processor")).set_processor(kinds[number % 3])
    seen = check(unet, lambda: run(unet, 2))
    for name, call in seen.items():
        torch.testing.assert_close(call.map, native[name].map, rtol=1e-4, atol=1e-6)


def test_changing_processors_inside_the_block(unet):
    def work():
        outputs = []
        for processor in (AttnProcessor2_0(), AttnProcessor()):
            unet.set_attn_processor(processor)
            outputs.append(run(unet))
        return torch.cat(outputs)

    calls = Counter()
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: calls.update([call.name]))
    plain = work()
    with hooks:
        assert torch.equal(work(), plain)
    assert calls == {layer.name: 2 for layer in attention_layers(unet)}


def test_added_keys_in_the_classic_and_sliced_way():
    """DeepFloyd's kind of UNet: the text's keys before the image's own."""
    case = next(case for case in CASES if case.name == "UNet2DConditionModel DeepFloyd")
    model = case.build()

    def work():
        with torch.no_grad():
            return model(**case.inputs()).sample

    for processor in (AttnAddedKVProcessor(), *map(SlicedAttnAddedKVProcessor, (1, 3, 4))):
        model.set_attn_processor(processor)
        check(model, work)


class Looking(AttnProcessor):
    """A classic processor that looks at the maps on its way, as many tools do."""

    def __call__(self, attn, hidden_states, *args, **kwargs):
        looked = attn.get_attention_scores(torch.ones(1, 2, 4), torch.ones(1, 3, 4))
        assert looked.shape == (1, 2, 3)
        bmm, project = torch.bmm, attn.to_v.forward

        def values(words):
            scores = attn.get_attention_scores(torch.ones(1, 2, 4), torch.ones(1, 3, 4))
            bmm(torch.ones(1, 2, 3), torch.ones(1, 3, 4))
            assert scores.shape == (1, 2, 3)
            return project(words)

        attn.to_v.forward = values
        try:
            return super().__call__(attn, hidden_states, *args, **kwargs)
        finally:
            del attn.to_v.forward


def test_scores_and_products_that_do_not_belong_together_are_no_call(unet):
    unet.set_attn_processor(Looking())
    check(unet, lambda: run(unet))


def test_a_wrapper_in_torchs_namespace_stays_and_is_seen(unet, monkeypatch):
    """As some libraries do: a function of their own that falls back on PyTorch's."""
    original, wrapped = F.scaled_dot_product_attention, []

    def wrapper(*args, **kwargs):
        wrapped.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", wrapper)
    check(unet, lambda: run(unet))
    assert wrapped


@pytest.fixture
def flux():
    return small_flux()


def test_a_layer_at_work_in_another_model_is_not_told(unet, flux):
    """Only the layers of the model that is watched: not the VAE's, not the text encoder's."""
    calls = []
    hooks = AttentionHooks(unet)
    hooks.add(lambda call: calls.append(call.name), ap.Layers(names=(MID,)))
    with hooks:
        run_flux(flux)
        run(unet)
        F.scaled_dot_product_attention(*torch.randn(3, 1, 2, 4, 8))
        unet.get_submodule(MID)(torch.randn(1, 4, 32))
    assert calls == [MID]


def test_in_autocast_probabilities_are_exact(unet):
    """The passes are in bfloat16; what observers compute is in the float32 they ask for."""

    def work():
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            return unet(*inputs()).sample

    plain = work()
    result, seen = watch(unet, work)
    assert torch.equal(result, plain)
    assert max(call.probs for call in seen.values()) < 1e-6
