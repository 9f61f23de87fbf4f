"""The private names of PyTorch and diffusers that capturing hangs on: all of them, and only here.

`FEATURES` says what must be there and how to tell; a version without it is refused in a sentence
before anything is put on a model. What can be done without is None where it isn't there.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import chain
from typing import Any

import torch
from torch import nn, overrides
from torch.utils import _python_dispatch, _pytree

from attnprobe.errors import CaptureError

tree_leaves = _pytree.tree_leaves
tree_map = _pytree.tree_map
DispatchMode = _python_dispatch.TorchDispatchMode

SDPA: Any = torch._C._nn.scaled_dot_product_attention
"""The function itself: whoever puts another in `torch.nn.functional` ends up in this one."""

CPU_FLASH = "aten._scaled_dot_product_flash_attention_for_cpu.default"
"""The kernel that computes a normaliser beside its output; where there is none, none is seen."""

_HOOKS = {
    "_forward_pre_hooks": ("_forward_pre_hooks_with_kwargs",),
    "_forward_hooks": ("_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
}
"""A module's hooks by number, and what else it keeps under their numbers."""


def _frame() -> Any:
    return importlib.import_module("torch._dynamo.eval_frame")


def _has(owner: Any, *names: str) -> bool:
    return all(hasattr(owner, name) for name in names)


FEATURES: dict[str, Callable[[], bool]] = {
    "the stack of function modes": lambda: _has(
        overrides, "_get_current_function_mode_stack", "_pop_mode", "_push_mode"
    ),
    "a module's hooks": lambda: _has(nn.Module(), *_HOOKS, *chain(*_HOOKS.values())),
    "the compiler's stance": lambda: _has(_frame(), "_stance", "_set_stance"),
    "the stack of torch.func": lambda: _has(torch._C._functorch, "peek_interpreter_stack"),
    "the stack of dispatch modes": lambda: _has(
        _python_dispatch, "_get_current_dispatch_mode_stack"
    ),
}
"""What must be there -> whether it is."""


def require() -> None:
    """Refuse a PyTorch that has no place to tap.

    Raises:
        CaptureError: with what is missing.
    """
    lacking = [what for what, there in FEATURES.items() if not there()]
    if lacking:
        raise CaptureError(
            f"PyTorch {torch.__version__} doesn't give {', '.join(lacking)} where attnprobe looks "
            "for it; install a version that it is tested with (torch>=2.6,<3)"
        )


def transformed() -> bool:
    """Whether a transform of ``torch.func`` (vmap, grad, jvp) is going on in this thread."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def function_modes() -> list[Any]:
    """This thread's function modes, the innermost last."""
    return overrides._get_current_function_mode_stack()


def push_function_mode(mode: Any) -> None:
    """Put a function mode on top of this thread's."""
    overrides._push_mode(mode)


def pop_function_mode() -> None:
    """Take this thread's innermost function mode off."""
    overrides._pop_mode()


def leave_dispatch_modes(kind: type) -> None:
    """Take modes of that kind off, which an interrupt has left on top of this thread's."""
    while (modes := _python_dispatch._get_current_dispatch_mode_stack()) and (
        isinstance(modes[-1], kind)
    ):
        modes[-1].__exit__(None, None, None)


class Hook:
    """A module's hook that says whose it is, so that it is found again whatever comes between."""

    def __init__(self, owner: Any, act: Callable[..., Any]) -> None:
        self.owner, self._act = owner, act

    def __call__(self, *given: Any) -> None:
        self._act(*given)


def hook(
    module: nn.Module,
    owner: Any,
    before: Callable[..., None],
    after: Callable[..., None],
    prepend: bool = False,
) -> None:
    """Call ``before(module, args, kwargs)`` and ``after(module, args, output)``, errors or not."""
    module.register_forward_pre_hook(Hook(owner, before), with_kwargs=True, prepend=prepend)
    module.register_forward_hook(Hook(owner, after), always_call=True)


def unhook(module: nn.Module, owner: Any) -> None:
    """Take off all of an owner's hooks, however many there are; others stay."""
    for name, besides in _HOOKS.items():
        hooks = getattr(module, name)
        for number, each in [*hooks.items()]:
            if isinstance(each, Hook) and each.owner is owner:
                for other in besides:
                    getattr(module, other).pop(number, None)
                hooks.pop(number, None)


def stance() -> Any:
    """What the process does with compiled models."""
    return _frame()._stance


def restore_stance(before: Any) -> None:
    """Have the process do with compiled models as it did."""
    _frame()._set_stance(before)


def _dispatch() -> Any:
    """diffusers' dispatch of kernels, or None: saved captures need none."""
    try:
        return importlib.import_module("diffusers.models.attention_dispatch")
    except ImportError:
        return None


def backends() -> dict[Any, Callable[..., Any]] | None:
    """diffusers' registry of attention kernels by name, or None where it has none that is known."""
    found = getattr(getattr(_dispatch(), "_AttentionBackendRegistry", None), "_backends", None)
    return found if isinstance(found, dict) else None


def ends_in_sdpa(name: Any) -> bool:
    """Whether diffusers' kernel of that name calls PyTorch's own."""
    names = getattr(_dispatch(), "AttentionBackendName", ())
    return name in [*names] and "native" in name.value and name.value != "_native_npu"
