"""Loading a model without the libraries' bars and advice, which are about their inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

LOUD = "DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"
"""Variables by which their users say what diffusers and transformers shall tell; they hold."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """A block in which diffusers and transformers tell errors alone; bars of downloads stay."""
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as of_transformers

    if any(name in os.environ for name in LOUD):
        yield
        return
    downloads = not are_progress_bars_disabled()
    libraries = of_diffusers, of_transformers
    before = [(each, each.get_verbosity(), each.is_progress_bar_enabled()) for each in libraries]
    for each in libraries:
        each.set_verbosity_error()
        each.disable_progress_bar()  # of transformers: those of downloads too
    if downloads:
        enable_progress_bars()
    try:
        yield
    finally:
        for each, verbosity, bars in before:
            each.set_verbosity(verbosity)
            if bars:
                each.enable_progress_bar()
