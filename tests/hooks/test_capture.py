import gc
import threading
import weakref

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.hooks import attention_layers
from tests.conftest import small_unet


def inputs(batch: int = 1, size: tuple[int, int] = (16, 16)):
    generator = torch.Generator().manual_seed(1)
    latent = torch.randn(batch, 4, *size, generator=generator)
    return latent, 300, torch.randn(batch, 7, 24, generator=generator)


@torch.no_grad()
def run(unet, batch: int = 1, size: tuple[int, int] = (16, 16)) -> torch.Tensor:
    return unet(*inputs(batch, size)).sample


class Reference(AttnProcessor):
    """diffusers' classic processor, which computes the probabilities itself; keeps them."""

    def __init__(self):
        self.probs = []

    def __call__(self, attn, *args, **kwargs):
        original = attn.get_attention_scores

        def keep(*a, **k):
            self.probs.append(original(*a, **k))
            return self.probs[-1]

        attn.get_attention_scores = keep
        try:
            return super().__call__(attn, *args, **kwargs)
        finally:
            del attn.get_attention_scores


def reference_means(unet, batch, size) -> dict[str, torch.Tensor]:
    """Head means of every layer as diffusers' classic processors compute them."""
    classic = small_unet()
    classic.load_state_dict(unet.state_dict())
    names = [layer.name for layer in attention_layers(classic)]
    processors = {f"{name}.processor": Reference() for name in names}
    classic.set_attn_processor(dict(processors))
    run(classic, batch, size)
    heads = {layer.name: layer.heads for layer in attention_layers(classic)}
    return {
        name: processors[f"{name}.processor"].probs[0].unflatten(0, (batch, heads[name])).mean(1)
        for name in names
    }


@pytest.mark.parametrize(("batch", "size"), [(1, (16, 16)), (3, (16, 24)), (2, (10, 6))])
def test_head_means_are_those_of_the_classic_processor(unet, batch, size):
    expected = reference_means(unet, batch, size)
    with ap.capture(unet) as capture:
        run(unet, batch, size)
    assert {row["name"] for row in capture.layers} == set(expected)
    for name, mean in expected.items():
        torch.testing.assert_close(capture[name], mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (16, 24), (9, 14)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_output_is_bit_identical(unet, size, dtype):
    unet = unet.to(dtype)
    latent, t, words = inputs(2, size)
    with torch.no_grad():
        plain = unet(latent.to(dtype), t, words.to(dtype)).sample
        with ap.capture(unet):
            captured = unet(latent.to(dtype), t, words.to(dtype)).sample
        after = unet(latent.to(dtype), t, words.to(dtype)).sample
    assert torch.equal(captured, plain)
    assert torch.equal(after, plain)


def test_gradients_flow_as_without_capture(unet):
    latent, t, words = inputs()
    gradients = []
    for watched in (False, True):
        unet.zero_grad()
        if watched:
            with ap.capture(unet):
                unet(latent, t, words).sample.sum().backward()
        else:
            unet(latent, t, words).sample.sum().backward()
        gradients.append([p.grad.clone() for p in unet.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_table_of_layers(unet):
    with ap.capture(unet) as capture:
        run(unet, size=(16, 24))
        run(unet, size=(16, 24))
    kinds = {row["name"].rsplit(".", 1)[1]: row["kind"] for row in capture.layers}
    assert kinds == {"attn1": "self", "attn2": "cross"}
    first = capture.layers[0]
    assert first == {
        "name": "down_blocks.0.attentions.0.transformer_blocks.0.attn1",
        "kind": "self",
        "block": "down",
        "heads": 2,
        "grid": (16, 24),
        "calls": 2,
    }


def test_maps_are_means_over_calls(unet):
    latent, _, words = inputs()
    with torch.no_grad():
        each = []
        for t in (100, 700):
            with ap.capture(unet) as one:
                unet(latent, t, words)
            each.append(one)
        with ap.capture(unet) as both:
            unet(latent, 100, words)
            unet(latent, 700, words)
    for row in both.layers:
        mean = (each[0][row["name"]] + each[1][row["name"]]) / 2
        torch.testing.assert_close(both[row["name"]], mean)


def test_fields_of_a_batch_item(unet):
    with ap.capture(unet, ap.Layers(kind="self")) as capture:
        run(unet, batch=2, size=(16, 24))
    fields = capture.fields(item=1)
    assert [f.grid for f in fields][:2] == [(16, 24), (8, 12)]
    assert torch.equal(fields[0].rows, capture[fields[0].origin][1])


def test_selection_by_name(unet):
    with ap.capture(unet, ap.Layers(kind="self", names=("up_blocks.*",))) as capture:
        run(unet)
    assert {row["name"].split(".")[0] for row in capture.layers} == {"up_blocks"}
    assert {row["kind"] for row in capture.layers} == {"self"}


def test_layers_are_in_the_order_of_computation():
    """Middle between down and up, whatever was registered first; a gated layer between two."""
    unet = small_unet(attention_type="gated")
    layers = attention_layers(unet)
    assert [layer.index for layer in layers] == [*range(len(layers))]
    parts = [layer.block for layer in layers]
    assert parts == sorted(parts, key=["down", "mid", "up"].index)
    assert [layer.name.split(".", 5)[-1] for layer in layers if layer.block == "mid"] == [
        "attn1",
        "fuser.attn",
        "attn2",
    ]


def test_selections(unet):
    layers = attention_layers(unet)

    def names(**selection) -> list[str]:
        return [layer.name for layer in ap.Layers(**selection).select(layers)]

    assert names(names="mid_block.*") == names(names=("mid_block.*",)) == names(block="mid")
    assert names(names=r"re:attn[1]$") == names(kind="self")
    assert names(index=-1) == names(index=(len(layers) - 1,)) == [layers[-1].name]
    assert names(index=(0, 2)) == [layers[0].name, layers[2].name]
    assert names(index=-1) == ["up_blocks.1.attentions.1.transformer_blocks.0.attn2"]
    assert names(where=lambda layer: layer.heads == 2) == [layer.name for layer in layers]
    assert names(names=("up_blocks.*", "mid_block.*"), kind="cross") == [
        layer.name
        for layer in layers
        if layer.kind == "cross" and not layer.name.startswith("down")
    ]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"index": 99}, r"must be -\d+ to \d+\. Got 99"),
        ({"names": "re:("}, "is no regular expression"),
        ({"block": "single"}, "selects none of the model's"),
        (
            {"kind": "self", "names": "*attn2"},
            r"Layers\(kind='self', names='\*attn2'\) selects none",
        ),
    ],
)
def test_selections_that_select_nothing(unet, selection, message):
    with pytest.raises(AttnProbeError, match=message):
        ap.Layers(**selection).select(attention_layers(unet))


def test_a_grid_chosen_when_the_model_runs(unet):
    with ap.capture(unet, ap.Layers(kind="self", grid=(8, 12))) as capture:
        run(unet, size=(16, 24))
    assert {row["grid"] for row in capture.layers} == {(8, 12)}
    message = "no layer ran on the grid that was chosen; their grids were 16×24, 8×12"
    with (
        pytest.raises(AttnProbeError, match=message),
        ap.capture(unet, ap.Layers(kind="self", grid=(9, 9))),
    ):
        run(unet, size=(16, 24))


def test_a_capture_says_what_it_is(unet):
    with ap.capture(unet, ap.Layers(kind="self")) as capture:
        run(unet)
    count = len(capture.layers)
    words = f"Records({count} layers of UNet2DConditionModel, HeadMean(), mean over steps)"
    assert repr(capture.records) == words
    assert repr(capture) == f"Capture of {words}"


def test_a_name_that_fits_nothing(unet):
    with (
        pytest.raises(AttnProbeError, match=r"no layer is called 'mid_blok\.\*'"),
        ap.capture(unet, ap.Layers(names=("mid_blok.*",))),
    ):
        pass


def test_a_model_without_attention():
    with (
        pytest.raises(AttnProbeError, match="Linear has no attention layer"),
        ap.capture(torch.nn.Linear(2, 2)),
    ):
        pass


def test_a_capture_in_which_nothing_ran(unet):
    with pytest.raises(AttnProbeError, match="did not run inside the block"), ap.capture(unet):
        pass


def test_asking_for_a_layer_not_captured(unet):
    with ap.capture(unet, ap.Layers(kind="self")) as capture:
        run(unet)
    with pytest.raises(AttnProbeError, match=r"nothing was kept of .*did you mean"):
        capture["mid_block.attentions.0.transformer_blocks.0.attn3"]


def hooks_of(unet) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in unet.modules())


def test_an_exception_leaves_nothing_behind(unet):
    before = hooks_of(unet)
    with pytest.raises(RuntimeError), ap.capture(unet):
        unet(torch.randn(1, 5, 16, 16), 300, torch.randn(1, 7, 24))
    assert hooks_of(unet) == before
    assert torch.overrides._get_current_function_mode_stack() == []


def test_a_failed_capture_does_not_hold_the_model():
    model = small_unet()
    reference = weakref.ref(model)
    with pytest.raises(RuntimeError), ap.capture(model):
        model(torch.randn(1, 5, 16, 16), 300, torch.randn(1, 7, 24))
    with ap.capture(model):
        run(model)
    del model
    gc.collect()
    assert reference() is None


def test_the_users_own_hooks_stay(unet):
    seen = []
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn1
    layer.register_forward_hook(lambda *args: seen.append(1))
    with ap.capture(unet):
        run(unet)
    run(unet)
    assert len(seen) == 2


def test_nested_captures_see_the_same(unet):
    with ap.capture(unet) as outer, ap.capture(unet) as inner:
        run(unet)
    for row in outer.layers:
        assert torch.equal(outer[row["name"]], inner[row["name"]])


def test_two_threads_each_with_its_own_capture():
    unets = [small_unet(), small_unet(sample_size=8)]
    for seed, unet in enumerate(unets):
        torch.manual_seed(seed)
        for parameter in unet.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    alone = []
    for unet in unets:
        with ap.capture(unet) as capture:
            run(unet)
        alone.append({row["name"]: capture[row["name"]] for row in capture.layers})
    together: list[dict] = [{}, {}]
    start = threading.Barrier(2)

    def work(i):
        with ap.capture(unets[i]) as capture:
            start.wait()
            for _ in range(5):
                capture.new_step()
                run(unets[i])
        together[i] = {row["name"]: capture[row["name"]] for row in capture.layers}

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for mine, other in zip(alone, together, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            torch.testing.assert_close(mine[name], other[name], rtol=1e-4, atol=1e-6)


def test_fused_projections(unet):
    with ap.capture(unet, ap.Layers(kind="self")) as apart:
        run(unet)
    unet.fuse_qkv_projections()
    with ap.capture(unet, ap.Layers(kind="self")) as fused:
        run(unet)
    for row in apart.layers:
        torch.testing.assert_close(apart[row["name"]], fused[row["name"]], rtol=1e-4, atol=1e-6)


def test_processors_stay_in_place(unet):
    before = unet.attn_processors
    with ap.capture(unet):
        run(unet)
        assert unet.attn_processors == before
    assert all(type(p) is AttnProcessor2_0 for p in unet.attn_processors.values())


@pytest.mark.parametrize(
    ("size", "half"), [((16, 24), (8, 12)), ((10, 14), (5, 7)), ((9, 13), (5, 7)), ((2, 2), (1, 1))]
)
def test_grids_are_those_of_the_features(unet, size, half):
    with ap.capture(unet) as capture:
        run(unet, size=size)
    grids = {row["name"].split(".attentions")[0]: row["grid"] for row in capture.layers}
    assert grids == {
        "down_blocks.0": size,
        "down_blocks.1": half,
        "mid_block": half,
        "up_blocks.0": half,
        "up_blocks.1": size,
    }
