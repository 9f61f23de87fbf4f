"""What can be known of a run before it: its data, its model, memory, disk and time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attnprobe.data.base import Drawing
from attnprobe.errors import AttnProbeError
from attnprobe.files import printable, read_text
from attnprobe.probe import MAPS, words_of

if TYPE_CHECKING:
    from attnprobe.hooks import Layers, Recorder
    from attnprobe.models import ModelSpec
    from attnprobe.recipe import Recipe
    from attnprobe.recipe.sweep import Point


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        what: its name.
        found: what was found, or what is wrong, in a sentence.
        passed: whether a run could go on from there.
    """

    what: str
    found: str
    passed: bool = True


def dry_run(points: Sequence[Point]) -> list[Check]:
    """Look at what a run, or a sweep, needs; nothing is downloaded or kept.

    Where the model's weights are at hand, the first image goes through it for the time and the
    disk that a run takes. The configs of a model on the hub are the exception to the above: a few
    kilobytes that Hugging Face keeps.
    """
    recipe = points[0].recipe
    checks = [Check("recipe", recipe.name if len(points) == 1 else f"{recipe.name}, a sweep")]
    if points[0].label:
        checks.append(Check("points", str(len(points))))
    checks += [_source(source) for source in recipe.sources]
    models = {point.recipe.model: point.recipe for point in points}
    for each in models.values():
        checks += [_model(each.model), _maps(each)]
    if all(check.passed for check in checks):
        checks += _time_and_disk(points, models)
    return checks


def show_checks(checks: Sequence[Check]) -> None:
    """Print a line a check; those that failed are marked."""
    for check in checks:
        print(printable(f"{'ok' if check.passed else 'fails':7}{check.what:8}{check.found}"))


def _source(source: Any) -> Check:
    """How many images a source has, and whether the first opens."""
    try:
        samples = source()
        first = samples[0].read()
        truth = samples[0].truth()
    except AttnProbeError as error:
        return Check("images", str(error), False)
    what = f"{len(samples)} from {type(source).__name__.lower()}"
    if isinstance(first, Drawing):
        return Check("images", f"{what}; the model is to draw them")
    size = f"the first is {first.width}×{first.height}"
    with_truth = "without truth" if truth is None else "with truth"
    if isinstance(truth, tuple):
        with_truth += f" by {len(truth)} people"
    return Check("images", f"{what}; {size}, {with_truth}")


def _model(spec: ModelSpec) -> Check:
    """Whether the weights can be had, and where from."""
    from attnprobe.models.hub import locate

    name = spec.preset or spec.repo or ""
    try:
        found = locate(_repo(spec), spec.revision)
    except AttnProbeError as error:
        return Check("model", f"{name}: {error}", False)
    if found.revision is None:
        return Check("model", f"{name}: in {found.repo}")
    place = "in the local cache" if found.local_only else "on the hub"
    return Check("model", f"{name}: {place}, revision {found.revision[:12]}")


def _maps(recipe: Recipe) -> Check:
    """The layers that would be watched, and bytes of the maps of one image."""
    from attnprobe.hooks import attention_layers
    from attnprobe.hooks.planning import plan
    from attnprobe.models.skeleton import example_inputs, own_side, skeleton
    from attnprobe.units import format_bytes

    spec, probe = recipe.model, recipe.probe
    try:
        denoiser = skeleton(spec.preset or spec.repo or "")
        layers, watched = attention_layers(denoiser), _watched(recipe)
        chosen = probe.layers_for(getattr(recipe.aggregate, "needs", MAPS)).values()
        count = sum(len(each.select(layers)) for each in chosen)
        unknown = Check("maps", f"{count} layers; their size isn't known for this model")
        scale, own, total = _pixels_a_latent(spec), own_side(denoiser), 0
        if not watched or example_inputs(denoiser) is None or (own is None and not probe.size):
            return unknown
        sides = [side // scale for side in probe.sides((own or 0) * scale)]
        for side in sides:
            inputs = example_inputs(denoiser, side, spec.text_tokens) or {}
            plans = [plan(denoiser, inputs, *each) for each in watched]
            total += sum(each.total for each in plans) * probe.tiles**4
            if sum(len(each.rows) for each in plans) < count:
                return unknown
    except AttnProbeError as error:
        return Check("maps", str(error), False)
    pixels = " and ".join(str(side * scale) for side in sides)
    passes = f" in {probe.passes} passes" if probe.passes > 1 else ""
    found = f"{count} layers, {format_bytes(total)} an image at {pixels} px{passes}"
    return Check("maps", found)


def _watched(recipe: Recipe) -> list[tuple[Layers, Recorder]]:
    """Which layers are watched, and what is kept of them; none where how many words isn't known."""
    from attnprobe.hooks import HeadMean, TextMaps, TokenMaps

    probe, found = recipe.probe, list[tuple[Any, Any]]()
    needs = set(getattr(recipe.aggregate, "needs", MAPS))
    if needs & {"maps", "features"}:
        found.append((probe.layers, HeadMean()))
    if "words" in needs:
        words = probe.words or words_of(probe.prompt)
        if not words:
            return []
        found.append((probe.word_layers, TokenMaps({word: (0,) for word in words})))
    if "tokens" in needs:
        found.append((probe.word_layers, TextMaps()))
    return found


def _time_and_disk(points: Sequence[Point], models: Iterable[ModelSpec]) -> list[Check]:
    """What the first image takes, times the number of images."""
    from attnprobe.cache import FieldCache
    from attnprobe.run.estimate import estimate
    from attnprobe.units import format_bytes

    if not all(map(_is_here, models)):
        return [Check("time", "not known before the model is downloaded")]
    images = len(points[0].recipe.samples())
    try:
        one = estimate(points)
    except Exception as error:  # a fault of any kind in the first image, which a run passes over
        return [Check("time", f"the first image fails: {' '.join(str(error).split())}", False)]
    timed = "timed on the first"
    if points[0].label:
        timed += f", at {one.timed} of {len(points)} points"
    parts = f"{one.look:.2g} s in the model and {one.cut:.2g} s to group and write"
    time = f"about {in_time(images * one.seconds)}: {parts} an image ({timed})"
    free = shutil.disk_usage(".").free
    pictures = images * one.pictures
    cached = min(images * one.fields, FieldCache().limit)
    disk = f"{format_bytes(pictures)} of labels and overlays"
    disk += f", {format_bytes(cached)} in the cache of fields"
    return [
        Check("time", time),
        Check("disk", f"{disk}; {format_bytes(free)} are free", pictures < free),
    ]


def in_time(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _is_here(spec: ModelSpec) -> bool:
    """Whether a model's weights need no download: a folder, or in the hub's local cache."""
    from huggingface_hub import try_to_load_from_cache

    repo = _repo(spec)
    if Path(repo).expanduser().is_dir():
        return True
    weights = "unet/diffusion_pytorch_model.safetensors"
    return isinstance(try_to_load_from_cache(repo, weights, revision=spec.revision), str)


def _repo(spec: ModelSpec) -> str:
    from attnprobe.models.presets import PRESETS

    return PRESETS[spec.preset].repo if spec.preset else spec.repo or ""


def _pixels_a_latent(spec: ModelSpec) -> int:
    """Pixels of a picture for one of its latent, along a side: told by the VAE's config if it is
    at hand, and 8 otherwise, as in all of Stable Diffusion."""
    config = Path(_repo(spec)).expanduser() / "vae" / "config.json"
    try:
        blocks = json.loads(read_text(config))["block_out_channels"]
        return 2 ** (len(blocks) - 1)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 8
