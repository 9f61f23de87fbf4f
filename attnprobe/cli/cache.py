"""The commands about the cache of fields: `cache info`, `cache clear`."""

from __future__ import annotations

from attnprobe.cli.root import App, app
from attnprobe.cli.terminal import Debug, told

cache = App("The cache of fields that runs share.", no_args_is_help=True)
app.add_typer(cache, name="cache")


@cache.command()
def info(debug: Debug = False) -> None:
    """Say where the cache is, what it holds, and how much it may."""
    with told(debug):
        from attnprobe.cache import FieldCache
        from attnprobe.units import format_bytes

        kept = FieldCache()
        entries = kept.entries()
        size = sum(size for _, size, _ in entries)
        print(f"folder  {kept.root}")
        print(f"fields  {len(entries)}")
        print(f"size    {format_bytes(size)} of {format_bytes(kept.limit)}")


@cache.command()
def clear(debug: Debug = False) -> None:
    """Remove all fields from the cache."""
    with told(debug):
        from attnprobe.cache import FieldCache

        kept = FieldCache()
        count = kept.clear()
        print(f"removed {count} field{'' if count == 1 else 's'} from {kept.root}")
