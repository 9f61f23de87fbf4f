"""Small fields, word maps and layers by name, ordinary and degenerate, square and not."""

from __future__ import annotations

from collections.abc import Collection

import torch

from attnprobe.fields import AnyField, AttentionField, Size, WordMaps

WORDS = ("cat", "dog")

EASY = ("blobs", "wide blobs", "one word", "one word, wide", "several grids", "wide grids")
"""Samples on which a component must answer; others it may refuse with an AttnProbeError."""


def sample_fields(device: str = "cpu") -> dict[str, AttentionField]:
    """Fields of 64 tokens at most, with features."""
    rows = {
        "blobs": (_blobs((8, 8)), (8, 8)),
        "wide blobs": (_blobs((3, 7)), (3, 7)),
        "one row": (_blobs((1, 5)), (1, 5)),
        "two tokens": (_blobs((2, 1)), (2, 1)),
        "one token": (torch.ones(1, 1), (1, 1)),
        "uniform": (torch.full((20, 20), 1 / 20), (5, 4)),
        "identity": (torch.eye(12), (3, 4)),
        "blocks": (torch.block_diag(*[torch.full((6, 6), 1 / 6)] * 3), (3, 6)),
        "one sink": (torch.eye(12)[[5] * 12], (4, 3)),
    }
    return {
        name: AttentionField(matrix.to(device), grid, name, _features(grid).to(device))
        for name, (matrix, grid) in rows.items()
    }


def sample_words(device: str = "cpu") -> dict[str, WordMaps]:
    """Word maps on 64 cells at most; the first words of `WORDS`."""
    maps = {
        "one word": _word_maps((8, 8))[:1],
        "one word, wide": _word_maps((3, 7))[:1],
        "two words": _word_maps((8, 8)),
        "two words in one row": _word_maps((1, 5)),
        "one token": torch.ones(2, 1, 1),
        "constant": torch.full((2, 4, 5), 0.25),
        "never looked at": torch.zeros(2, 3, 4),
    }
    return {
        name: WordMaps(values.to(device), WORDS[: len(values)], name)
        for name, values in maps.items()
    }


def sample_layers(needs: Collection[str], device: str = "cpu") -> dict[str, list[AnyField]]:
    """Lists of what an aggregator gets, one value a layer, by what it `needs`."""
    grids: dict[str, list[Size]] = {
        "several grids": [(8, 8), (8, 8), (4, 4), (2, 2)],
        "wide grids": [(4, 8), (2, 4)],
        "grids that are no multiples": [(5, 7), (2, 3)],
        "one layer": [(3, 7)],
        "one row": [(1, 5)],
        "one token": [(1, 1)],
    }
    layers = {name: _layers(sizes, needs, device) for name, sizes in grids.items()}
    if "maps" in needs:
        layers |= {
            name: [field] for name, field in sample_fields(device).items() if name not in layers
        }
        if "words" in needs:
            for fields in layers.values():
                if all(isinstance(field, AttentionField) for field in fields):
                    fields.append(_spoken(fields[0].grid, device))
    return layers


def _layers(sizes: list[Size], needs: Collection[str], device: str) -> list[AnyField]:
    layers: list[AnyField] = []
    if "maps" in needs:
        for number, grid in enumerate(sizes):
            features = _features(grid, number).to(device) if "features" in needs else None
            rows = _blobs(grid, number).to(device)
            layers.append(AttentionField(rows, grid, f"layer.{number}.self", features))
    if {"words", "tokens"} & set(needs):
        layers += [_spoken(grid, device, number) for number, grid in enumerate(sizes)]
    return layers


def _spoken(grid: Size, device: str, number: int = 0) -> WordMaps:
    return WordMaps(_word_maps(grid, number).to(device), WORDS, f"layer.{number}.cross")


def _half(grid: Size) -> torch.Tensor:
    """Which tokens lie in the right half."""
    return torch.arange(grid[0] * grid[1]) % grid[1] >= grid[1] // 2


def _noise(*size: int, seed: int) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def _blobs(grid: Size, seed: int = 0) -> torch.Tensor:
    """Two halves that look at themselves, with noise: softmaxed, so without zeros."""
    half, n = _half(grid), grid[0] * grid[1]
    return (2.0 * (half[:, None] == half) + 0.3 * _noise(n, n, seed=seed)).softmax(1)


def _features(grid: Size, seed: int = 0) -> torch.Tensor:
    """Six numbers a token, alike within each half."""
    half = _half(grid).float()[:, None]
    return (torch.cat([half, 1 - half] * 3, 1) + 0.1 * _noise(len(half), 6, seed=seed)).view(
        *grid, 6
    )


def _word_maps(grid: Size, seed: int = 0) -> torch.Tensor:
    """Two words, one for each half, with noise."""
    half = _half(grid).float()
    maps = torch.stack([1 - half, half]) + 0.2 * _noise(2, len(half), seed=seed).abs()
    return maps.view(2, *grid)
