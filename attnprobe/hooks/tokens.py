"""What the tokens of a sequence are: their roles, and the grid that the image's lie on."""

from __future__ import annotations

from dataclasses import dataclass

from attnprobe.errors import CaptureError

Grid3 = tuple[int, int, int]
"""Frames, height and width, in tokens."""


@dataclass(frozen=True)
class Span:
    """A run of tokens of one role: places `start` to `stop` (not included)."""

    role: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Tokens:
    """The tokens of a sequence.

    Args:
        spans: one tuple of runs for each batch item, or a single one that holds for all; empty if
            the roles are not known. Roles are ``image``, ``text``, ``reference`` and what a
            family has besides, such as ``time`` or ``pad``.
        grid: (frames, height, width) of the image's tokens, in row-major order, or None.
    """

    spans: tuple[tuple[Span, ...], ...] = ()
    grid: Grid3 | None = None

    @classmethod
    def runs(cls, *runs: tuple[str, int], grid: Grid3 | None = None) -> Tokens:
        """Tokens from their runs in order, the same in every item: ``("text", 77), …``."""
        return cls((spans_of(runs),), grid)

    @property
    def known(self) -> bool:
        """Whether the roles are known."""
        return bool(self.spans)

    @property
    def count(self) -> int:
        """How many tokens there are; 0 if not known."""
        return sum(len(span) for span in self.spans[0]) if self.spans else 0

    def roles(self, item: int = 0) -> tuple[tuple[str, int], ...]:
        """(role, number of tokens) run by run of a batch item; empty if not known."""
        if not self.spans:
            return ()
        spans = self.spans[item if len(self.spans) > 1 else 0]
        return tuple((span.role, len(span)) for span in spans)

    def run(self, role: str, item: int | None = None) -> slice:
        """Where the one run of a role lies: in a batch item, or the same in all of them.

        Raises:
            CaptureError: the roles are not known, the role does not occur, or it lies elsewhere
                from item to item.
        """
        if not self.spans:
            raise CaptureError("which tokens are the image's and which the text's isn't known")
        each = self.spans
        if item is not None and len(self.spans) > 1:
            each = (self.spans[item],)
        found = {tuple(span for span in spans if span.role == role) for spans in each}
        if len(found) > 1:
            raise CaptureError(f"its {role} tokens lie at other places from batch item to item")
        (spans,) = found
        if len(spans) != 1:
            raise CaptureError(f"its tokens have {len(spans)} runs of role {role}, one is needed")
        return slice(spans[0].start, spans[0].stop)


def spans_of(runs: tuple[tuple[str, int], ...] | list[tuple[str, int]]) -> tuple[Span, ...]:
    """Runs (role, count) as spans; runs of no tokens are left out."""
    spans, start = [], 0
    for role, count in runs:
        if count:
            spans.append(Span(role, start, start + count))
        start += count
    return tuple(spans)
