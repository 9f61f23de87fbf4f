"""ConceptAttention: words that are not in the prompt, seen by a transformer without changing it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import nn

from attnprobe.errors import CaptureError
from attnprobe.fields import WordMaps
from attnprobe.hooks.families import unwrapped
from attnprobe.hooks.layout_readers import read_layout


class ConceptMaps:
    """Maps of words beside the prompt's (ConceptAttention, Helbling et al., ICML 2025).

    The concepts are a second text stream through the double blocks of a Flux.1 or Stable Diffusion
    3: in each block their queries see the image's tokens and the concepts, and neither image nor
    prompt sees them. A map is the inner product of a concept's and the image's attention outputs,
    before their projections, then a softmax over the concepts, mean over steps. The stream goes
    through the blocks once more after each pass, so the picture is bit-identical, captures see
    nothing of it, and a pass takes about as long again. Block inputs are kept until then: one
    (batch, tokens, width) a block. A last block that doesn't go on with the text has no map.

    Args:
        transformer: a `FluxTransformer2DModel` or `SD3Transformer2DModel`, such as
            ``pipe.transformer``.
        embeddings: (C, d) of the concepts, as the text encoder gives them;
            `attnprobe.models.concept_embeddings` makes them.
        words: their names, at least two: the softmax compares them.
        pooled: (1, p), the pooled text that the stream is modulated by; zeros, as the authors have
            it, by default.

    Raises:
        CaptureError: the transformer is of another family, or words and embeddings don't fit.

    Examples:
        Of a pipeline of Flux.1 or Stable Diffusion 3::

            words = ["cat", "sky", "grass"]
            with ConceptMaps(pipe.transformer, concept_embeddings(model, words), words) as maps:
                pipe("a photograph")
            maps.words()[9]["sky"]
    """

    def __init__(
        self,
        transformer: nn.Module,
        embeddings: torch.Tensor,
        words: Sequence[str],
        pooled: torch.Tensor | None = None,
    ) -> None:
        model: Any = unwrapped(transformer)
        if type(model).__name__ not in ("FluxTransformer2DModel", "SD3Transformer2DModel"):
            raise CaptureError(
                "ConceptMaps: the transformer must be Flux.1's or Stable Diffusion 3's. "
                f"Got {type(model).__name__} instead."
            )
        if isinstance(words, str) or len(words) < 2 or len(embeddings) != len(words):
            raise CaptureError(
                f"ConceptMaps: two concepts or more, each with an embedding; got {words!r} with "
                f"embeddings of shape {tuple(embeddings.shape)}"
            )
        self._model = model
        self.names = tuple(words)
        self._embeddings, self._pooled = embeddings, pooled
        self._blocks = {
            f"transformer_blocks.{number}": block
            for number, block in enumerate(model.transformer_blocks)
            if getattr(block.attn, "to_add_out", None) is not None
        }
        self._handles: list[Any] = []
        self._after: Any = None
        self._given: dict[str, dict[str, Any]] = {}
        self._image: dict[str, torch.Tensor] = {}
        self._concepts: dict[str, torch.Tensor] = {}
        self._sums: dict[str, torch.Tensor] = {}
        self._passes = 0
        self._rows: set[int] = set()
        self._amid = False

    def __enter__(self) -> Self:
        before, keep = self._model.register_forward_pre_hook, self._handles.append
        keep(before(self._began, with_kwargs=True))
        embed = self._model.time_text_embed
        keep(embed.register_forward_hook(self._modulated))
        for name, block in self._blocks.items():
            enter = partial(self._entered, name)
            keep(block.register_forward_pre_hook(enter, with_kwargs=True))
            keep(block.attn.to_out[0].register_forward_pre_hook(partial(self._out, name)))
            keep(block.attn.to_add_out.register_forward_pre_hook(partial(self._added, name)))
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        while self._handles:
            self._handles.pop().remove()
        self._given.clear()
        self._image.clear()

    def _forget(self) -> None:
        """Take off what waits for the end of a pass, which one that failed has left."""
        if self._after is not None:
            self._after.remove()
        self._after = None

    def words(self, item: int | None = None) -> list[WordMaps]:
        """The concepts' maps on the image's grid, one a block, means over the passes.

        Args:
            item: row of the batch; must be said where there are several, as with guidance in one
                pass: which of them is the prompt's isn't known here.

        Raises:
            CaptureError: the transformer did not run inside the block, there is no such row, or
                passes had batches of different sizes.
        """
        if not self._passes:
            raise CaptureError("ConceptMaps: the transformer did not run inside the block")
        if len(self._rows) > 1:
            raise CaptureError(
                f"ConceptMaps: passes had batches of {' and '.join(map(str, sorted(self._rows)))} "
                "rows, so that their rows aren't each other's; watch them one by one"
            )
        (rows,) = self._rows
        if item is None and rows > 1:
            raise CaptureError(
                f"ConceptMaps: the batch had {rows} rows; say which by words(item=0) to "
                f"words(item={rows - 1})"
            )
        row = 0 if item is None else item
        if row not in range(rows):
            raise CaptureError(f"ConceptMaps: no row {row}; allowed: 0 to {rows - 1}")
        return [
            WordMaps((total[row] / self._passes).unflatten(1, self._grid), self.names, origin=name)
            for name, total in self._sums.items()
        ]

    def _began(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        image = read_layout(model, kwargs).image
        if image.grid is None:
            raise CaptureError("ConceptMaps: the image's tokens lie on no grid known")
        self._grid = image.grid[1:]
        # Now, so that it comes after the hooks by which captures learn that the pass is over.
        self._forget()
        self._after = model.register_forward_hook(self._ended)

    def _modulated(self, module: Any, args: tuple[torch.Tensor, ...], out: Any) -> None:
        pooled = torch.zeros_like(args[-1]) if self._pooled is None else self._pooled.to(args[-1])
        with torch.no_grad():
            self._temb = module.forward(*args[:-1], pooled.expand_as(args[-1]))

    def _entered(self, name: str, block: Any, args: Any, kwargs: dict[str, Any]) -> None:
        self._given[name] = dict(kwargs)

    def _out(self, name: str, projection: Any, args: tuple[torch.Tensor, ...]) -> None:
        if not self._amid:
            self._image[name] = args[0].detach()

    def _added(self, name: str, projection: Any, args: tuple[torch.Tensor, ...]) -> None:
        if self._amid:
            self._concepts[name] = args[0].detach()

    @torch.no_grad()
    def _ended(self, model: Any, args: Any, output: Any) -> None:
        """The pass is over: the concepts go through the blocks, which see the same images."""
        self._forget()
        self._amid = True
        try:
            batch = len(self._temb)
            self._rows.add(batch)
            if len(self._rows) > 1:  # `words` tells it; the pass itself is none the worse
                return
            stream = model.context_embedder(self._embeddings.to(self._temb).expand(batch, -1, -1))
            for name, block in self._blocks.items():
                stream, _ = block.forward(**self._with(self._given.pop(name), stream))
                scores = self._concepts.pop(name).float() @ self._image.pop(name).float().mT
                maps = scores.softmax(1)
                self._sums[name] = self._sums[name] + maps if name in self._sums else maps
            self._passes += 1
        finally:
            self._amid = False
            self._given.clear()

    def _with(self, given: dict[str, Any], stream: torch.Tensor) -> dict[str, Any]:
        """A block's arguments with the concepts in the prompt's place."""
        more = {"encoder_hidden_states": stream, "temb": self._temb}
        if "image_rotary_emb" in given:  # text lies at the origin, each of its tokens
            text = given["encoder_hidden_states"].shape[1]
            more["image_rotary_emb"] = tuple(
                torch.cat([part[:1].expand(stream.shape[1], -1), part[text:]])
                for part in given["image_rotary_emb"]
            )
        return given | more
