"""Every denoiser of the zoo: output untouched, every layer seen, its maps and tokens right."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

import attnprobe as ap
from attnprobe.hooks import AttentionHooks, attention_layers
from tests.hooks.calls import eager
from tests.hooks.zoo import CASES
from tests.hooks.zoo.case import Case, Seen

by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def run(model: torch.nn.Module, case: Case) -> torch.Tensor:
    """All that the model puts out, in one row."""
    with torch.no_grad():
        output = model(**case.inputs(), return_dict=False)
    leaves = [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]
    return torch.cat([leaf.flatten() for leaf in leaves])


@by_name
def test_denoiser(case: Case):
    model = case.build()
    plain = run(model, case)
    seen: dict[str, list] = {}

    def observe(call):
        probs = call.probs()
        torch.testing.assert_close(probs.double(), eager(call), rtol=0, atol=1e-5)
        v = call.v.repeat_interleave(call.heads // call.v.shape[1], 1)
        torch.testing.assert_close(call.out, probs @ v, rtol=1e-4, atol=1e-4)
        roles = [(call.queries.roles(item), call.keys.roles(item)) for item in range(call.shape[0])]
        told = (roles, call.query_grid, call.key_grid, call.heads, call.shape)
        seen.setdefault(call.layer.name, []).append(told)

    hooks = AttentionHooks(model, missing="ignore")
    hooks.add(observe)
    with hooks:
        captured = run(model, case)
    assert torch.equal(captured, plain)

    layers = {layer.name: layer for layer in attention_layers(model)}
    assert set(layers) == set(case.layers)
    assert [name for name in layers if name in seen] == [*seen], "not in the order of computation"
    for name, expected in case.layers.items():
        layer, calls = layers[name], seen.get(name, [])
        assert (layer.kind, layer.block) == (expected.kind, expected.block), name
        assert layer.heads in (0, expected.heads), name
        assert len(calls) == len(expected.calls), name
        for told, truth in zip(calls, expected.calls, strict=True):
            check_call(name, told, truth, expected.heads)
        if not expected.calls:
            assert layer.mute, name


def check_call(name: str, told, truth, heads: int) -> None:
    roles, query_grid, key_grid, told_heads, shape = told
    assert told_heads == heads, name
    items = truth if isinstance(truth, tuple) else (truth,) * shape[0]
    for (query, key), item in zip(roles, items, strict=len(items) > 1):
        assert query == item.query, name
        assert key == (item.query if item.key is None else item.key), name
        assert sum(count for _, count in query) == shape[2], name
        assert sum(count for _, count in key) == shape[3], name
    first: Seen = items[0]
    assert query_grid == first.query_grid, name
    assert key_grid == (first.query_grid if first.key is None else first.key_grid), name


@by_name
def test_one_layer_is_captured_and_the_rest_left_alone(case: Case):
    model = case.build()
    name = next(name for name, expected in case.layers.items() if expected.calls)
    with ap.capture(model, ap.Layers(names=(name,))) as capture:
        run(model, case)
    assert {row["name"].split("#")[0] for row in capture.layers} == {name}
    sums = capture[name].sum(-1)
    assert ((sums - 1).abs() < 1e-4).logical_or(sums == 0).all()
