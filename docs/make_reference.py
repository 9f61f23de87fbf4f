"""Write the reference pages that the code itself knows: ``python docs/make_reference.py``.

They are the commands with their options, and the keys of recipes with all components. A test holds
the pages against what this makes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from attnprobe import registry
from attnprobe.cli import app
from attnprobe.cli.root import in_words
from attnprobe.recipe.description import NESTED, keys
from attnprobe.recipe.docstring import Docstring
from attnprobe.recipe.json_schema import SECTIONS

REFERENCE = Path(__file__).parent / "reference"

KINDS = {
    "sources": "Images",
    "aggregators": "Aggregators",
    "groupers": "Groupers",
    "refiners": "Refiners",
    "labellers": "Labellers",
}


def commands_page() -> str:
    """Every command: what it does, how it is typed, its arguments and options."""
    parts = [
        "# Commands",
        "Written by `docs/make_reference.py`; `attnprobe COMMAND --help` says the same.",
    ]
    for name, command in _commands(typer.main.get_command(app)):
        context = typer.Context(command, info_name=f"attnprobe {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        parts += [f"## {name}", command.get_short_help_str(200), f"```text\n{usage}\n```"]
        records = [parameter.get_help_record(context) for parameter in command.params]
        words = [in_words(*record) for record in records if record]
        rows = [f"| `{_cell(typed)}` | {_cell(said)} |" for typed, said in words]
        parts += ["\n".join(["| | |", "|---|---|", *rows])] if rows else []
    return "\n\n".join(parts) + "\n"


def keys_page() -> str:
    """Every section of a recipe and every component, with its keys, types, defaults, meanings."""
    parts = [
        "# Recipe keys",
        "Written by `docs/make_reference.py` from the components themselves; `attnprobe describe "
        "NAME` says the same of one, plug-ins included. [Recipes](../recipes.md) explains how they "
        "go together.",
        "## Sections",
    ]
    for name, section in {**SECTIONS, **NESTED}.items():
        parts += _described(name, section)
    for kind, title in KINDS.items():
        parts += [f"## {title}"]
        for entry in registry.entries(kind):
            if entry.package == "attnprobe":
                parts += _described(entry.name, entry.component, f"{kind}-{entry.name}")
    return "\n\n".join(parts) + "\n"


def _described(name: str, component: type, anchor: str = "") -> list[str]:
    heading = f"### {name}" + (f" {{ #{anchor} }}" if anchor else "")
    found = keys(component)
    if not found:
        return [heading, _plain(Docstring.of(component).summary), "No keys."]
    rows = [
        f"| `{key.name}` | {_cell(key.takes)} | {_default(key.default)} | {_cell(key.meaning)} |"
        for key in found
    ]
    table = "\n".join(["| key | takes | default | |", "|---|---|---|---|", *rows])
    return [heading, _plain(Docstring.of(component).summary), table]


def _commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """The commands by their full names, those of groups among them."""
    for name, command in group.commands.items():
        full = f"{above} {name}".strip()
        if hasattr(command, "commands"):
            yield from _commands(command, full)
        else:
            yield full, command


def _default(default: str | None) -> str:
    return "must be given" if default is None else f"`{_cell(default)}`"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


PAGES = {"commands.md": commands_page, "recipe-keys.md": keys_page}

if __name__ == "__main__":
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make(), encoding="utf-8")
