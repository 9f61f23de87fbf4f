"""The recipes that come with the package."""

from __future__ import annotations

from pathlib import Path


def folder() -> Path:
    """Where they lie: in the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped() -> dict[str, Path]:
    """Name to file, by name."""
    return dict(sorted((path.stem, path) for path in folder().glob("*.yaml")))


def first_comment(path: Path) -> str:
    """The first line of the comment at the recipe's head, or nothing."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return line.lstrip("# ") if line.startswith("#") else ""
