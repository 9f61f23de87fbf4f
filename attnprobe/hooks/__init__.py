"""Hooks: attention captured from a running denoiser, its output untouched."""

from typing import TYPE_CHECKING

from attnprobe.lazy import names_from

if TYPE_CHECKING:
    from attnprobe.hooks.attention_hooks import AttentionHooks
    from attnprobe.hooks.call import AttentionCall, Moment
    from attnprobe.hooks.capturing import Capture, capture
    from attnprobe.hooks.concepts import ConceptMaps
    from attnprobe.hooks.finding import attention_layers
    from attnprobe.hooks.handle import Handle
    from attnprobe.hooks.layers import Layer, Layers
    from attnprobe.hooks.layout import Span, Tokens
    from attnprobe.hooks.planning import Plan, plan
    from attnprobe.hooks.recorders import (
        Entropy,
        Features,
        HeadMax,
        HeadMean,
        Keep,
        PerHead,
        Pooled,
        Recorder,
        Rows,
        TextMaps,
        TokenMaps,
        TopK,
    )
    from attnprobe.hooks.records import Record, Records
    from attnprobe.hooks.storage import load_capture
    from attnprobe.hooks.token_match import TokenMatch

#: Public name -> the module that has it, imported when the name is first used: torch takes seconds.
_HOMES = {
    "AttentionCall": "attnprobe.hooks.call",
    "AttentionHooks": "attnprobe.hooks.attention_hooks",
    "Capture": "attnprobe.hooks.capturing",
    "ConceptMaps": "attnprobe.hooks.concepts",
    "Entropy": "attnprobe.hooks.recorders",
    "Features": "attnprobe.hooks.recorders",
    "Handle": "attnprobe.hooks.handle",
    "HeadMax": "attnprobe.hooks.recorders",
    "HeadMean": "attnprobe.hooks.recorders",
    "Keep": "attnprobe.hooks.recorders",
    "Layer": "attnprobe.hooks.layers",
    "Layers": "attnprobe.hooks.layers",
    "Moment": "attnprobe.hooks.call",
    "PerHead": "attnprobe.hooks.recorders",
    "Plan": "attnprobe.hooks.planning",
    "Pooled": "attnprobe.hooks.recorders",
    "Record": "attnprobe.hooks.records",
    "Recorder": "attnprobe.hooks.recorders",
    "Records": "attnprobe.hooks.records",
    "Rows": "attnprobe.hooks.recorders",
    "Span": "attnprobe.hooks.layout",
    "TextMaps": "attnprobe.hooks.recorders",
    "TokenMaps": "attnprobe.hooks.recorders",
    "TokenMatch": "attnprobe.hooks.token_match",
    "Tokens": "attnprobe.hooks.layout",
    "TopK": "attnprobe.hooks.recorders",
    "attention_layers": "attnprobe.hooks.finding",
    "capture": "attnprobe.hooks.capturing",
    "load_capture": "attnprobe.hooks.storage",
    "plan": "attnprobe.hooks.planning",
}

__all__ = [
    "AttentionCall",
    "AttentionHooks",
    "Capture",
    "ConceptMaps",
    "Entropy",
    "Features",
    "Handle",
    "HeadMax",
    "HeadMean",
    "Keep",
    "Layer",
    "Layers",
    "Moment",
    "PerHead",
    "Plan",
    "Pooled",
    "Record",
    "Recorder",
    "Records",
    "Rows",
    "Span",
    "TextMaps",
    "TokenMaps",
    "TokenMatch",
    "Tokens",
    "TopK",
    "attention_layers",
    "capture",
    "load_capture",
    "plan",
]

__getattr__ = names_from(__name__, _HOMES)
