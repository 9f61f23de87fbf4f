"""Private names of PyTorch and diffusers: each is there, and what happens where it is not."""

import ast
import re
import sys
from pathlib import Path

import pytest
import torch
from diffusers.models import attention_dispatch
from torch.utils import _python_dispatch

import attnprobe
import attnprobe as ap
from attnprobe.errors import CaptureError
from attnprobe.hooks import _private
from attnprobe.hooks.kernel import SeeNormaliser
from tests.conftest import small_unet
from tests.hooks.small import MID, by_processor, run, run_flux, same_maps, small_flux, state

HOOKS = Path(attnprobe.__file__).parent / "hooks"


@pytest.mark.parametrize("feature", _private.FEATURES)
def test_what_must_be_there_is(feature):
    assert _private.FEATURES[feature]()


MISSING = [
    ("the stack of function modes", torch.overrides, "_push_mode"),
    ("the stack of function modes", torch.overrides, "_get_current_function_mode_stack"),
    ("a module's hooks", torch.nn.Module, "__init__"),
    ("the compiler's stance", sys.modules["torch._dynamo.eval_frame"], "_stance"),
    ("the stack of torch.func", torch._C._functorch, "peek_interpreter_stack"),
    ("the stack of dispatch modes", _python_dispatch, "_get_current_dispatch_mode_stack"),
]


@pytest.mark.parametrize(("feature", "owner", "name"), MISSING)
def test_a_version_without_it_is_refused_in_a_sentence(monkeypatch, feature, owner, name):
    unet = small_unet()
    before = state(unet)
    with monkeypatch.context() as patch:
        if name == "__init__":  # a module whose hooks are kept elsewhere
            patch.setattr(_private, "_HOOKS", {"_hooks_of_another_name": ()})
        else:
            patch.delattr(owner, name)
        capture = ap.capture(unet)
        with pytest.raises(CaptureError, match=rf"doesn't give {feature} where .*torch>=2.6,<3"):
            capture.__enter__()
    assert state(unet) == before
    with ap.capture(unet):
        run(unet)


def test_the_function_itself_is_the_one_that_is_called():
    assert _private.SDPA is torch.nn.functional.scaled_dot_product_attention


def test_the_cpus_kernel_computes_a_normaliser():
    q, k, v = torch.randn(3, 1, 2, 64, 16)
    with SeeNormaliser() as seen:
        torch.nn.functional.scaled_dot_product_attention(q, k, v)
    expected = (q @ k.mT / 4).logsumexp(3)
    torch.testing.assert_close(seen.logsumexp, expected, rtol=1e-5, atol=1e-5)


def test_without_a_kernel_of_that_name_maps_are_the_same(monkeypatch, unet):
    with ap.capture(unet) as expected:
        run(unet)
    monkeypatch.setattr(_private, "CPU_FLASH", "aten.another_name")
    with ap.capture(unet) as capture:
        run(unet)
    same_maps(capture, expected)


def test_the_registry_of_kernels_is_there():
    kernels = _private.backends()
    assert kernels is attention_dispatch._AttentionBackendRegistry._backends
    assert {"native", "flex"} <= {*kernels}
    names = attention_dispatch.AttentionBackendName
    assert _private.ends_in_sdpa(names.NATIVE)
    assert _private.ends_in_sdpa(names._NATIVE_MATH)
    assert not _private.ends_in_sdpa(names._NATIVE_NPU)
    assert not _private.ends_in_sdpa(names.FLEX)
    assert not _private.ends_in_sdpa("native of mine")


GONE = {
    "registry": lambda patch: patch.delattr(attention_dispatch, "_AttentionBackendRegistry"),
    "its kernels": lambda patch: patch.delattr(
        attention_dispatch._AttentionBackendRegistry, "_backends"
    ),
    "names": lambda patch: patch.delattr(attention_dispatch, "AttentionBackendName"),
    "module": lambda patch: patch.setitem(sys.modules, "diffusers.models.attention_dispatch", None),
}


@by_processor
@pytest.mark.parametrize("gone", GONE)
def test_without_the_registry_plain_captures_still_work(monkeypatch, processor, gone):
    unet = small_unet()
    if processor is not None:
        unet.set_attn_processor(processor)
    plain = run(unet)
    with ap.capture(unet) as expected:
        run(unet)
    before = state(unet)
    with monkeypatch.context() as patch:
        GONE[gone](patch)
        with ap.capture(unet) as capture:
            assert torch.equal(run(unet), plain)
    same_maps(capture, expected)
    assert state(unet) == before
    assert capture[MID].shape == (1, 64, 64)


def test_without_the_registry_what_is_not_seen_says_so(monkeypatch):
    """A kernel that diffusers dispatches to, with nobody at its door."""
    flux = small_flux()
    monkeypatch.setattr(_private, "backends", lambda: None)
    with ap.capture(flux) as capture:  # PyTorch's own is seen all the same
        run_flux(flux)
    assert len(capture.layers) == 2

    def kernel(query, key, value, **_):
        q, k, v = (part.transpose(1, 2) for part in (query, key, value))
        return ((q @ k.mT).softmax(-1) @ v).transpose(1, 2)

    registry = attention_dispatch._AttentionBackendRegistry
    monkeypatch.setitem(registry._backends, attention_dispatch.AttentionBackendName.NATIVE, kernel)
    with (
        pytest.raises(CaptureError, match=r"can't be tapped, and this diffusers has no registry"),
        ap.capture(flux),
    ):
        run_flux(flux)


def test_private_names_stand_in_one_file_only():
    """Of PyTorch and diffusers, told by the modules that a file imports."""
    found = []
    for path in HOOKS.rglob("*.py"):
        if path.name == "_private.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                if names[0] in ("torch", "diffusers"):
                    found += [f"{path.name}: {name}" for name in names if name.startswith("_")]
            if isinstance(node, ast.Attribute):
                text = ast.unparse(node)
                if re.match(r"(torch|nn|overrides|diffusers)\b.*\._[a-z]", text):
                    found.append(f"{path.name}: {text}")
    assert found == []
