"""Modules that are imported when something of them is first used.

PyTorch takes seconds to import, and a mistake in a recipe needs none of it: so all that is imported
to check one, the components among it, takes PyTorch from here. Hooks and models are made of
PyTorch's own classes and can't; their packages import them when a name of them is first used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["F", "Lazy", "names_from", "torch"]

if TYPE_CHECKING:
    import torch
    import torch.nn.functional as F


class Lazy:
    """Stands for a module of this name.

    Examples:
        >>> Lazy("math").sqrt(9.0)
        3.0
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(self._name), attribute)


if not TYPE_CHECKING:
    torch = Lazy("torch")
    F = Lazy("torch.nn.functional")


def names_from(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose names lie in these modules, imported when first used.

    Args:
        package: its name.
        homes: each of its names with the module that has it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    return get
