"""Changes to a recipe from outside: `--set group.anchors=8` and what else the command line says."""

from __future__ import annotations

from dataclasses import dataclass

from attnprobe.errors import RecipeError
from attnprobe.recipe.reader import read_yaml, to_yaml
from attnprobe.recipe.tree import Faults, Value, put


@dataclass(frozen=True)
class Override:
    """One change.

    Args:
        path: keys and, into lists, indices: ("images", "0", "count").
        text: the value as YAML.
        said: how the user said it, for messages.
    """

    path: tuple[str, ...]
    text: str
    said: str

    @classmethod
    def parse(cls, assignment: str) -> Override:
        """Read `a.b=c`.

        Raises:
            RecipeError: it is not of that form.
        """
        said = f"--set {_shortened(assignment)}"
        path, equals, text = assignment.partition("=")
        keys = tuple(path.strip().split("."))
        if not equals or not all(keys) or any(":" in key for key in keys):
            raise RecipeError(f"{said}: must be key=value, such as group.anchors=8")
        return cls(keys, text, said)

    @classmethod
    def to(cls, key: str, data: object, said: str) -> Override:
        """Give the key `a.b` plain data."""
        return cls(tuple(key.split(".")), to_yaml(data), said)

    def over(self, recipe: Value, faults: Faults) -> Value:
        """The recipe with the change made; a mapping changes the keys it gives, as `extends` does.

        Raises:
            RecipeError: the value is no YAML, or the path leads outside a list.
        """
        change = read_yaml(self.text, lambda line, column: self.said, faults)
        return put(recipe, self.path, change)


def _shortened(text: str) -> str:
    """A text as a message shows it."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_SHOWN = 200
"""Letters of a change that are shown."""
