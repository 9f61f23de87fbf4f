"""Gather the photographs that `tiny` has seen: ``python -m attnprobe.models.tiny.photographs OUT``.

They lie in Debian's packages of wallpapers and of a game for children, under free licences;
photographs.csv lists package, version, path, authors and licence of each. The packages are
downloaded by ``apt-get`` and unpacked by ``dpkg`` in a temporary folder; nothing is installed.
"""

from __future__ import annotations

import argparse
import csv
import io
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageOps

TABLE = Path(__file__).parent / "photographs.csv"

SIDE = 640
"""Longest side of what is kept, pixels."""

GAME = "gcompris-qt-data"
"""The package whose pictures lie in resource files of Qt."""


def main() -> None:
    """Write one JPEG a row of the table, by its row's number."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    with tempfile.TemporaryDirectory() as folder:
        roots = {package: unpack(package, Path(folder)) for package in {r["package"] for r in rows}}
        game = dict(resources(roots[GAME])) if GAME in roots else {}
        for number, row in enumerate(rows):
            path = roots[row["package"]] / row["path"]
            data = game[row["path"]] if row["package"] == GAME else path.read_bytes()
            picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
            picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            picture.save(out / f"{number:03d}.jpg", quality=88)
    print(f"{len(rows)} photographs in {out}")


def unpack(package: str, folder: Path) -> Path:
    """Download a package and unpack it beside others."""
    root = folder / package
    root.mkdir()
    subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True)
    (archive,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", archive, root], check=True)
    return root


def resources(root: Path) -> Iterator[tuple[str, bytes]]:
    """(path, content) of all pictures in the Qt resource files below a folder."""
    for file in sorted(root.rglob("*.rcc")):
        content = file.read_bytes()
        for path, data in entries(content):
            if path.endswith((".jpg", ".png", ".webp")):
                yield path.removeprefix("gcompris/"), data


def entries(content: bytes) -> Iterator[tuple[str, bytes]]:
    """All files in a binary resource file of Qt (the format is that of ``rcc --binary``).

    A tree of nodes, each (name, flags, …): a folder's has count and first of its children, a
    file's, after its language, the place of its data, which is length and bytes.
    """
    version, tree, data, names = struct.unpack(">4I", content[4:20])
    size = 22 if version >= 2 else 14

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        start = tree + node * size
        name, flags = struct.unpack(">IH", content[start : start + 6])
        length = struct.unpack(">H", content[names + name : names + name + 2])[0]
        letters = content[names + name + 6 : names + name + 6 + 2 * length]
        here = f"{path}/{letters.decode('utf-16-be')}" if node else ""
        if flags & 2:
            count, first = struct.unpack(">II", content[start + 6 : start + 14])
            for child in range(first, first + count):
                yield from walk(child, here)
            return
        place = data + struct.unpack(">I", content[start + 10 : start + 14])[0]
        length = struct.unpack(">I", content[place : place + 4])[0]
        found = content[place + 4 : place + 4 + length]
        yield here.lstrip("/"), zlib.decompress(found[4:]) if flags & 1 else found

    yield from walk(0, "")


if __name__ == "__main__":
    main()
