"""Pictures one after the other in a file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from attnprobe.errors import AttnProbeError

PER_SECOND = 4
"""Frames in a second."""


def write_gif(frames: Sequence[Image.Image], path: Path) -> None:
    """Write pictures of one size as a GIF that begins again at its end."""
    first, *rest = _with_clock(frames)
    first.save(path, save_all=True, append_images=rest, duration=1000 // PER_SECOND, loop=0)


def write_mp4(frames: Sequence[Image.Image], path: Path) -> None:
    """Write pictures of one size as an MP4 (H.264) that browsers play.

    Raises:
        AttnProbeError: ffmpeg isn't there, or it can't write the film.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AttnProbeError(
            "an .mp4 is written by the program ffmpeg, which isn't installed; save a .gif instead"
        )
    marked = _with_clock(frames)
    width, height = marked[0].size
    raw = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {PER_SECOND} -i -"
    # players know 4:2:0 only, which wants even sides
    film = "-vf pad=ceil(iw/2)*2:ceil(ih/2)*2 -pix_fmt yuv420p -movflags +faststart"
    done = subprocess.run(
        [program, "-y", "-loglevel", "error", *raw.split(), *film.split(), str(path)],
        input=b"".join(frame.tobytes() for frame in marked),
        capture_output=True,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise AttnProbeError(
            f"ffmpeg can't write the film: {said[-1] if said else done.returncode}"
        )


def _with_clock(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The frames with a line below that grows to the full width: which of all it is.

    So no frame is like the one before it, which a GIF's writer would leave out.
    """
    marked = []
    for number, frame in enumerate(frames, start=1):
        width, height = frame.size
        line = max(2, height // 64)
        taller = Image.new("RGB", (width, height + line))
        taller.paste(frame)
        end = width * number / len(frames) - 1
        ImageDraw.Draw(taller).rectangle((0, height, end, height + line), fill="white")
        marked.append(taller)
    return marked
