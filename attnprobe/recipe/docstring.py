"""What a component's docstring says: a summary, more about it, and a sentence for each key."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

_SECTION = re.compile(r"^(Args|Returns|Raises|Yields|Attributes|Examples?|Notes?):$")
_ARGUMENT = re.compile(r"^    (\w+)(?: \([^)]*\))?: *(.*)$")


@dataclass(frozen=True)
class Docstring:
    """A docstring in Google's style, taken apart.

    Args:
        summary: its first paragraph, on one line.
        more: the paragraphs between that and the first section, which cite and explain.
        keys: the meaning of each argument, on one line.
    """

    summary: str
    more: str
    keys: dict[str, str]

    @classmethod
    def of(cls, thing: type) -> Docstring:
        """That of a class; empty where it has none."""
        return cls.parse(inspect.getdoc(thing) or "")

    @classmethod
    def parse(cls, text: str) -> Docstring:
        """Take a docstring apart; what it lacks is empty."""
        parts: dict[str, list[str]] = {"": []}
        section = ""
        for line in inspect.cleandoc(text).splitlines():
            heading = _SECTION.match(line)
            if heading:
                section = heading[1]
            parts.setdefault(section, []).extend([] if heading else [line])
        summary, _, more = "\n".join(parts[""]).strip().partition("\n\n")
        return cls(_one_line(summary), more.strip(), _arguments(parts.get("Args", [])))


def _arguments(lines: list[str]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    name = None
    for line in lines:
        start = _ARGUMENT.match(line)
        if start:
            name = start[1]
            found[name] = [start[2]]
        elif name is not None:
            found[name].append(line)
    return {name: _one_line("\n".join(text)) for name, text in found.items()}


def _one_line(text: str) -> str:
    """A text for a line of plain text: no line breaks, no code marks."""
    return " ".join(text.replace("``", "").split())
