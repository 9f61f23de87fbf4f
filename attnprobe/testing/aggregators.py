"""The check that aggregators must pass."""

from __future__ import annotations

from typing import Any

from attnprobe.errors import AttnProbeError
from attnprobe.fields import AnyField, AttentionField
from attnprobe.stages import gives
from attnprobe.testing.contract import answers, check_form, devices, require, same, unchanged
from attnprobe.testing.samples import EASY, sample_layers


def check_aggregator(component: Any, *, seconds: float = 5.0) -> None:
    """Check that an aggregator keeps the contract; works without any diffusion model.

    Beside what all components must keep, it takes a list with one value a layer, by its `needs`
    (attention fields where it has none), and answers with one field of the kind that its
    annotation says, on the layers' device; rows of attention are 0 or more and sum to 1. It is
    tried on layers of several grids, square, wide and in no whole ratio, on single layers, and on
    uniform, identity and block-diagonal ones; degenerate ones it may refuse with an
    `AttnProbeError`. An empty list it must refuse. Where there is a GPU, layers on it are tried
    too.

    Args:
        component: an instance, with the parameters to check.
        seconds: the most that one call may take; the layers have 64 tokens at most.

    Raises:
        AssertionError: what is wrong, in a sentence.
    """
    who = check_form(component)
    needs = getattr(component, "needs", {"maps"})
    for device in devices():
        for name, layers in sample_layers(needs, device).items():
            where = f"{who} on the layers {name!r} ({device})"

            def call(layers: list[AnyField] = layers) -> Any:
                return component(list(layers))

            with unchanged(where, layers=layers):
                given = answers(call, where, seconds, may_refuse=name not in EASY)
            if given is not None:
                _check_field(given[0], component, layers, where)
                equal = same(given[0], given[1])
                require(equal, f"{where}: two calls gave different fields")
    _check_that_nothing_is_refused(component, who)


def _check_field(answer: Any, component: Any, layers: list[AnyField], where: str) -> None:
    kinds = gives(component)
    said = " or ".join(kind.__name__ for kind in kinds)
    got = type(answer).__name__
    require(isinstance(answer, kinds), f"{where}: must answer with {said}. Got {got}")
    stays = answer.device == layers[0].device
    require(stays, f"{where}: must answer on the layers' device. Got {answer.device}")
    if isinstance(answer, AttentionField):
        least, sums = float(answer.rows.min()), answer.rows.sum(1)
        require(least >= 0, f"{where}: rows must be 0 or more. Got {least:.3g}")
        off = float((sums - 1).abs().max())
        require(off <= _OFF, f"{where}: rows must sum to 1; one is off by {off:.3g}")


_OFF = 1e-4
"""How far from 1 a row may sum up; the field itself bears more, of those that were stored."""


def _check_that_nothing_is_refused(component: Any, who: str) -> None:
    try:
        component([])
    except AttnProbeError:
        return
    except Exception as error:
        raise AssertionError(f"{who} without layers: {type(error).__name__}: {error}") from error
    raise AssertionError(f"{who} without layers: must refuse them with an AttnProbeError")
