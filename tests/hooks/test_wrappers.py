"""Denoisers inside wrappers: the layers, their names, steps and branches of the model inside."""

import pytest
import torch
import torch.distributed as dist
from accelerate import Accelerator
from diffusers import FluxTransformer2DModel, ModelMixin, Transformer2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.fsdp.wrap import ModuleWrapPolicy

import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import Keep, attention_layers
from attnprobe.hooks.planning import plan
from tests.conftest import small_unet
from tests.hooks.small import every_head, inputs, run_flux, small_flux


class Passing(nn.Module):
    """Somebody's own: another model beside it, and something done to what comes out."""

    def __init__(self, denoiser: nn.Module) -> None:
        super().__init__()
        self.denoiser, self.head = denoiser, nn.Linear(1, 1)

    def forward(self, *args, **kwargs):
        return self.denoiser(*args, **kwargs)


class Own(FluxTransformer2DModel):
    """A class of the user's."""


def with_lora(model: nn.Module) -> nn.Module:
    return get_peft_model(model, LoraConfig(target_modules=["to_q"], r=2)).eval()


def compiled_in_part(model: nn.Module) -> nn.Module:
    model.mid_block = torch.compile(model.mid_block, backend="eager")
    return torch.compile(model, backend="eager")


def checkpointed(model: nn.Module) -> nn.Module:
    model.mid_block = checkpoint_wrapper(model.mid_block)
    return model


def sharded(model: nn.Module) -> nn.Module:
    return FullyShardedDataParallel(
        model,
        device_id=torch.device("cpu"),
        auto_wrap_policy=ModuleWrapPolicy({Attention}),
        use_orig_params=True,
    )


def sharded_in_place(model: nn.Module) -> nn.Module:
    return fully_shard(model, mesh=init_device_mesh("cpu", (1,)))


WRAPPERS = {
    "own": Passing,
    "own in own": lambda model: Passing(Passing(model)),
    "peft": with_lora,
    "ddp of peft": lambda model: nn.parallel.DistributedDataParallel(with_lora(model)),
    "data parallel": nn.DataParallel,
    "ddp": nn.parallel.DistributedDataParallel,
    "fsdp": sharded,
    "fully_shard": sharded_in_place,
    "compile": compiled_in_part,
    "checkpoint": checkpointed,
    "accelerate": Accelerator(cpu=True).prepare,
}


@pytest.fixture(scope="module", autouse=True)
def processes():
    """A group of this process alone, as DDP and FSDP want."""
    dist.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    yield
    dist.destroy_process_group()


def guided(model):
    """Guidance pass by pass at two steps."""
    latent, _, text = inputs()
    with ap.capture(model, keep=every_head) as capture, torch.no_grad():
        for timestep in (300, 200):
            for words in (text, -text):
                model(latent * timestep, timestep, encoder_hidden_states=words)
    return capture


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS.keys())
def test_a_wrapped_unet_is_captured_as_the_bare_one(wrap):
    bare, model = guided(small_unet()), wrap(small_unet())
    wrapped = guided(model)
    assert attention_layers(model) == attention_layers(small_unet())
    assert wrapped.layers == bare.layers
    assert wrapped.records.branches == bare.records.branches == (None, None)
    for name in bare.records:
        torch.testing.assert_close(wrapped[name], bare[name], rtol=1e-5, atol=1e-7)
        assert [kept.steps for kept in wrapped.records.records[name].steps[0]] == [(0, 1)] * 2
    latent, _, text = inputs()
    given = {"sample": latent, "timestep": 1, "encoder_hidden_states": text}
    assert plan(model, given).rows == plan(small_unet(), given).rows


def each_layer(wrap):
    """Wrap each attention layer of the middle block by itself."""

    def wrapped(model):
        for block in model.mid_block.attentions[0].transformer_blocks:
            block.attn1, block.attn2 = wrap(block.attn1), wrap(block.attn2)
        return model

    return wrapped


def sliced(model):
    model.set_attention_slice(1)


LAYERS = {
    "fsdp": sharded,
    "compile": each_layer(lambda layer: torch.compile(layer, backend="eager")),
    "checkpoint": each_layer(checkpoint_wrapper),
    "compile of checkpoint": each_layer(
        lambda layer: torch.compile(checkpoint_wrapper(layer), backend="eager")
    ),
}


@pytest.mark.parametrize("processor", [lambda model: model.set_attn_processor(AttnProcessor()),
                                       sliced], ids=["classic", "sliced"])  # fmt: skip
@pytest.mark.parametrize("wrap", LAYERS.values(), ids=LAYERS.keys())
def test_layers_wrapped_by_themselves_are_seen_by_whatever_computes_them(wrap, processor):
    bare, inside = small_unet(), small_unet()
    processor(bare)
    processor(inside)
    before, model = guided(bare), wrap(inside)
    got = guided(model)
    assert got.layers == before.layers
    for name in before.records:
        torch.testing.assert_close(got[name], before[name], rtol=1e-5, atol=1e-7)
    assert not any("get_attention_scores" in vars(module) for module in model.modules())


def test_transforms_of_torch_func_are_refused_by_name():
    """Their tensors die with them: nothing that is kept of them could be read."""
    unet = small_unet()
    latent, _, text = inputs()

    def loss(latent):
        return unet(latent, 1, encoder_hidden_states=text).sample.sum()

    for keep in (None, Keep("q")):
        for transform, given in ((torch.vmap(loss), latent[None]), (torch.func.grad(loss), latent)):
            with (
                pytest.raises(CaptureError, match=r"runs inside torch.func \(vmap, grad or jvp\)"),
                ap.capture(unet, keep=keep),
            ):
                transform(given)
    with ap.capture(unet) as capture, torch.no_grad():
        torch.func.functional_call(unet, dict(unet.named_parameters()), (latent, 1, text))
    assert capture.layers


@pytest.mark.parametrize(
    "wrap", [Passing, with_lora, sharded_in_place, lambda model: Own.from_config(model.config)]
)
def test_joint_layers_stay_joint(wrap):
    bare, wrapped = small_flux(), wrap(small_flux())
    assert attention_layers(wrapped) == attention_layers(bare)
    assert {layer.kind for layer in attention_layers(wrapped)} == {"joint"}
    with ap.capture(wrapped) as capture:
        run_flux(wrapped)
    assert [row["grid"] for row in capture.layers] == [(3, 4)] * 2


def test_what_holds_several_models_is_refused_by_name():
    both = nn.ModuleDict({"base": small_unet(), "other": small_flux()})
    said = r"ModuleDict holds 2 models .*: base \(UNet2DConditionModel\), other \(FluxTransformer"
    with pytest.raises(CaptureError, match=said):
        ap.capture(both)


def test_copies_on_several_devices_are_refused_by_name():
    model = nn.DataParallel(small_unet())
    model.device_ids = [0, 1]
    with pytest.raises(CaptureError, match="DataParallel runs a copy of the model on each device"):
        ap.capture(model)


def test_a_model_with_attention_of_its_own_is_no_wrapper():
    model = Passing(small_unet())
    model.first = Attention(8, heads=2, dim_head=4)
    names = [layer.name for layer in attention_layers(model)]
    assert names[-1] == "first"
    assert all(name.startswith("denoiser.") for name in names[:-1])


def test_a_denoiser_made_of_blocks_is_no_wrapper():
    """Nor is a block by itself, nor a part of a denoiser."""
    block = {"num_attention_heads": 2, "attention_head_dim": 4, "in_channels": 8}
    blocks = [Transformer2DModel(**block, norm_num_groups=4) for _ in range(2)]
    for model in (nn.Sequential(*blocks), nn.Sequential(blocks[0]), small_unet().mid_block):
        names = [layer.name for layer in attention_layers(model)]
        own = [n for n, module in model.named_modules() if isinstance(module, Attention)]
        assert names == own


def test_a_wrapper_that_diffusers_could_save_is_looked_through():
    class Saved(ModelMixin):
        def __init__(self, denoiser):
            super().__init__()
            self.denoiser = denoiser

    assert attention_layers(Saved(small_flux())) == attention_layers(small_flux())


@pytest.mark.filterwarnings("ignore:`torch.jit.trace(_method)?` is deprecated:DeprecationWarning")
def test_what_hides_its_layers_is_refused_by_name():
    traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    with pytest.raises(CaptureError, match="TopLevelTracedModule has no attention layer known"):
        ap.capture(traced)


def test_a_forward_put_before_the_model_s_own_hides_no_names():
    """As hooks of offloading do; the class says what the arguments are called."""
    unet, (latent, timestep, text) = small_unet(), inputs()
    forward = unet.forward
    unet.forward = lambda *args, **kwargs: forward(*args, **kwargs)
    with ap.capture(unet) as capture, torch.no_grad():
        unet(latent, timestep, text)
    assert capture.layers[0]["grid"] == (16, 16)
