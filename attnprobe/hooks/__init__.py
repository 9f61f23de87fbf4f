"""Hooks: attention captured from a running denoiser, its output untouched."""

from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.capture import Capture, capture
from attnprobe.hooks.layers import Layer, Layers, attention_layers
from attnprobe.hooks.recorders import HeadMean

__all__ = [
    "AttentionCall",
    "Capture",
    "HeadMean",
    "Layer",
    "Layers",
    "attention_layers",
    "capture",
]
