"""Who is told how runs go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attnprobe.recipe import Recipe
    from attnprobe.run.carry import Run
    from attnprobe.run.outcome import Outcome


class Watch:
    """Is told how runs go, and does nothing with it; what shows progress overrides a method."""

    def loading(self, recipe: Recipe) -> AbstractContextManager[Any]:
        """A block in which a recipe's model is loaded."""
        return nullcontext()

    def note(self, sentence: str) -> None:
        """What changed since a run began."""

    def point(self, number: int, count: int) -> None:
        """So many points of a sweep are done, of so many."""

    @contextmanager
    def running(self, run: Run, title: str) -> Iterator[Callable[[Outcome], None]]:
        """A block in which a run goes over its images; each outcome is handed to what it gives."""
        yield lambda outcome: None
