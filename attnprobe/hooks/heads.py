"""Which heads of a call are wanted: by number, with weights, or by their second eigenvalue."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, eigs

from attnprobe.errors import CaptureError
from attnprobe.hooks.call import AttentionCall
from attnprobe.hooks.layers import Layers

Shares = dict[int, float]
"""Heads, and how much each counts in a mean over them."""

_DENSE = 64
"""Tokens up to which all eigenvalues are computed, which is then faster than two."""


def wanted_heads(selection: Layers, call: AttentionCall) -> Shares:
    """The heads of a call that a selection which chooses heads wants.

    Raises:
        CaptureError: the layer has no such head, or no chain of which eigenvalues would tell.
    """
    if selection.top_heads is not None:
        values = second_eigenvalues(call)
        best = sorted(range(call.heads), key=lambda head: -values[head])[: selection.top_heads]
        return dict.fromkeys(sorted(best), 1.0)
    given = selection.heads
    numbers = (given,) if isinstance(given, int) else given
    shares = dict(numbers) if isinstance(numbers, Mapping) else dict.fromkeys(numbers, 1.0)
    if max(shares) >= call.heads:
        raise CaptureError(
            f"Layers.heads: {call.name} has heads 0 to {call.heads - 1}. Got {max(shares)} instead."
        )
    return shares


def second_eigenvalues(call: AttentionCall) -> list[float]:
    """|λ₂| of each head's chain between the image's tokens, the mean over the batch.

    A head's probabilities, each row divided by what it gives to the image, are a Markov chain. The
    nearer |λ₂| is to 1, the longer a walk stays in a part of the picture before it mixes: such
    heads know of segments (Erel et al., NeurIPS 2025, arXiv 2507.17657). On the meta device, where
    there are no numbers, all are 0.

    Raises:
        CaptureError: queries and keys aren't the same image tokens.
    """
    batch, heads, _, _ = call.shape
    if call.query_grid is None or call.query_grid != call.key_grid:
        raise CaptureError(
            f"Layers.top_heads: {call.name} looks from the image at something else, so that its "
            "heads are no chains; choose layers of kind self or joint"
        )
    if call.q.is_meta:
        return [0.0] * heads
    places = [(call.image_queries(item), call.image_keys(item)) for item in range(batch)]
    found = []
    for head in range(heads):
        probs = call.probs(heads=[head])[:, 0]
        chains = [probs[item, queries, keys] for item, (queries, keys) in enumerate(places)]
        found.append(float(np.mean([_second(chain) for chain in chains])))
    return found


def _second(chain: torch.Tensor) -> float:
    """The second largest modulus of the eigenvalues of a chain (N, N); 0 of a single token."""
    matrix = (chain / chain.sum(1, keepdim=True)).cpu().double().numpy()
    n = len(matrix)
    if n == 1:
        return 0.0
    if n > _DENSE:
        try:
            values = eigs(matrix, 2, which="LM", v0=np.linspace(1, 2, n), return_eigenvectors=False)
            return float(np.sort(np.abs(values))[0])
        except ArpackNoConvergence:  # eigenvalues too near to each other
            pass
    return float(np.sort(np.abs(np.linalg.eigvals(matrix)))[-2])
