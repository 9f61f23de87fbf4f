"""What some of the package needs and most doesn't: pip's extras, and what is said without them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attnprobe.errors import AttnProbeError

EXTRAS = {
    "plots": ("matplotlib",),
    "view": ("starlette", "uvicorn"),
    "notebook": ("anywidget",),
    "data": ("datasets",),
    "words": ("textblob",),
}
"""Each extra with the modules that come with it alone."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """A block that imports what an extra brings.

    Args:
        name: of the extra.
        what: needs it, the beginning of the sentence.

    Raises:
        AttnProbeError: it isn't installed; the sentence has the command that installs it.

    Examples:
        >>> with extra("plots", "an affinity's plot"):
        ...     from matplotlib.figure import Figure
    """
    try:
        yield
    except ImportError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS[name]:
            raise
        raise AttnProbeError(
            f"{what} needs {module}, which isn't installed: pip install 'attnprobe[{name}]'"
        ) from None
