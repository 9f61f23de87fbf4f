"""Denoisers inside other modules: which module is the denoiser, and of which family it is."""

from __future__ import annotations

from typing import Any

from torch import nn

from attnprobe.errors import CaptureError

_INNER = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Under which names torch.compile, FSDP and activation checkpointing hold what they wrap."""


_BLOCKS = ("DualTransformer2DModel", "Transformer2DModel", "TransformerTemporalModel")
"""Blocks that diffusers saves as it saves models; denoisers are made of them."""


def unwrapped(model: nn.Module) -> nn.Module:
    """The denoiser inside a wrapper: torch.compile's, DDP's, FSDP's, PEFT's, or somebody's own.

    A module that holds one model of diffusers, and all its attention layers in it, is a wrapper of
    that model. What hides nothing is the denoiser itself.

    Raises:
        CaptureError: the wrapper holds several models, or runs copies of its model.
    """
    while _class_of_diffusers(model) is None:
        if isinstance(model, nn.DataParallel) and len(model.device_ids) > 1:
            raise CaptureError(
                "DataParallel runs a copy of the model on each device, in threads of their own, "
                "which hooks don't see; capture its .module on one device"
            )
        inner = _inner(model)
        if inner is None:
            break
        model = inner
    return model


def _class_of_diffusers(model: Any) -> type | None:
    """The nearest class of diffusers that a model is of; mixins are of no model."""
    for cls in type(model).__mro__:
        if cls.__module__.partition(".")[0] == "diffusers" and not cls.__name__.endswith("Mixin"):
            return cls
    return None


def _inner(model: nn.Module) -> nn.Module | None:
    """What a wrapper wraps; None if it is none."""
    for name, child in model.named_children():
        if name in _INNER:
            return child
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return model.module
    held = {name: child for name, child in _outermost(model) if _attention(child)}
    inside = sum(len(_attention(child)) for child in held.values())
    if not held or inside < len(_attention(model)):  # layers of its own: it is no mere wrapper
        return None
    if len(held) > 1:
        said = ", ".join(f"{name} ({type(child).__name__})" for name, child in held.items())
        raise CaptureError(
            f"{type(model).__name__} holds {len(held)} models with attention layers: {said}; "
            "capture one of them"
        )
    return next(iter(held.values()))


def _outermost(model: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """Models of diffusers that lie in no other, with their names; blocks are no models."""
    from diffusers import ModelMixin

    found = []
    for key, child in model.named_children():
        path = f"{name}.{key}" if name else key
        cls = _class_of_diffusers(child)
        whole = isinstance(child, ModelMixin) and cls is not None and cls.__name__ not in _BLOCKS
        found += [(path, child)] if whole else _outermost(child, path)
    return found


def _attention(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, attention_classes())]


def attention_classes() -> tuple[type, ...]:
    """The classes of diffusers' attention layers."""
    from diffusers.models.attention import AttentionModuleMixin
    from diffusers.models.attention_processor import Attention, MochiAttention

    return Attention, MochiAttention, AttentionModuleMixin


def plain_name(name: str) -> str:
    """A module's dotted name without the wrappers around its parts; it finds the module too."""
    return ".".join(part for part in name.split(".") if part not in _INNER)


def module_named(model: nn.Module, name: str) -> nn.Module:
    """The module of that plain name itself, past what is wrapped around it.

    A wrapper shows the attributes of what it wraps, but takes new ones for itself.
    """
    module = model.get_submodule(name)
    while inner := [child for key, child in module.named_children() if key in _INNER]:
        module = inner[0]
    return module


def family(model: Any) -> str:
    """The name of the class of diffusers that a model is of.

    A subclass (of a user's, or made on the fly by FSDP or a parametrisation) is of its parent's
    family.
    """
    return (_class_of_diffusers(model) or type(model)).__name__
