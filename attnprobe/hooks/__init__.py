"""Hooks: attention captured from a running denoiser, its output untouched."""

from attnprobe.hooks.call import AttentionCall, Moment
from attnprobe.hooks.capture import Capture, capture
from attnprobe.hooks.hooks import AttentionHooks, Handle
from attnprobe.hooks.layers import Layer, Layers, attention_layers
from attnprobe.hooks.plan import Plan, plan
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
    TokenMaps,
    TopK,
)
from attnprobe.hooks.records import Record, Records
from attnprobe.hooks.storage import load_capture
from attnprobe.hooks.tokens import Span, Tokens

__all__ = [
    "AttentionCall",
    "AttentionHooks",
    "Capture",
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
    "TokenMaps",
    "Tokens",
    "TopK",
    "attention_layers",
    "capture",
    "load_capture",
    "plan",
]
