"""A recipe: which model, images, probe and stages, in one frozen value."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Lt
from pydantic import AfterValidator, Field

from attnprobe import registry
from attnprobe.errors import RecipeError
from attnprobe.evaluate.protocol import PROTOCOLS, Match, Protocol, ProtocolName, Side
from attnprobe.files import printable, safe_name, write_whole
from attnprobe.models import ModelSpec
from attnprobe.probe import Probe
from attnprobe.recipe.keys import recipe_fields
from attnprobe.recipe.reader import to_yaml
from attnprobe.registry import checked

if TYPE_CHECKING:
    from attnprobe.data.base import Sample
    from attnprobe.hooks.layers import Layer
    from attnprobe.models.spec import DType
    from attnprobe.pipeline import Pipeline


NAME = r"\w[\w.+-]{0,59}"


def _fit_for_a_folder(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise ValueError("must be a word of letters, digits and . _ + -, at most 60 of them")
    return name


Name = Annotated[
    str,
    AfterValidator(_fit_for_a_folder),
    # A number is taken as text; a minus is no name's first letter.
    Field(json_schema_extra={"pattern": f"^{NAME}$", "minimum": 0}),
]
"""A recipe's name, which is also that of its runs' folder."""

Seed = Annotated[int, Ge(0), Lt(2**32)]
"""What NumPy, torch and scikit-learn all take as a seed."""


@checked
@dataclass(frozen=True)
class Evaluation:
    """How segments are scored, where images have a truth: a named protocol, or one changed.

    Args:
        protocol: ``whole``: all that was segmented, at its own size; ``released``: the centre
            square at 512 px, as DiffSeg's released program scores; ``diffcut`` and
            ``diffcut-voc``: at 128 px, as DiffCut's does without and with a background class;
            ``bsds``: the whole picture against several people's truths, by covering, PRI, VI and
            boundaries, as Berkeley's benchmark does.
        match: how segments meet the truth's classes, over what the protocol says: ``per-image``:
            one to one, each image anew; ``per-dataset``: one to one, once for all images;
            ``majority``: each segment takes its most frequent class; ``foreground``: what no class
            takes is background; ``best-overlap``: each class takes the segment of best IoU.
        size: side of the square at which is scored, over what the protocol says.
        background: number of the background's class, for ``foreground``.
    """

    protocol: ProtocolName = "whole"
    match: Match | None = None
    size: Side | None = None
    background: Annotated[int, Ge(0)] | None = None

    def __post_init__(self) -> None:
        _ = self.effective_protocol  # refuses what doesn't go together

    @property
    def effective_protocol(self) -> Protocol:
        """The protocol with the changes made."""
        protocol = PROTOCOLS[self.protocol]
        given = {"match": self.match, "size": self.size, "background": self.background}
        changed: dict[str, Any] = {
            key: value
            for key, value in given.items()
            if value not in (None, getattr(protocol, key))
        }
        if not changed:
            return protocol
        if "match" in changed:  # its background means nothing to another
            changed = {"background": None, **changed}
        return replace(protocol, name=f"{protocol.name}, changed", **changed)


@checked
@dataclass(frozen=True)
class Recipe:
    """All that a run depends on.

    Args:
        name: what the run is called.
        model: the model that is probed.
        sources: where images come from, `images` in a recipe's file.
        probe: how an image is shown to the model, and which layers are captured.
        aggregate: folds the layers' fields into one.
        group: cuts the field into segments.
        refine: what is then done to the segments, in order.
        label: what names them; nothing by default.
        evaluate: how they are scored.
        seed: where all randomness starts.

    Examples:
        >>> recipe = ap.load_recipe("diffseg")
        >>> recipe.group.variant, recipe.seed
        ('released', 0)
    """

    name: Name
    model: ModelSpec
    sources: tuple[Any, ...]
    aggregate: Any
    group: Any
    probe: Probe = field(default_factory=Probe)
    refine: tuple[Any, ...] = ()
    label: Any = None
    evaluate: Evaluation = field(default_factory=Evaluation)
    seed: Seed = 0

    def build(self, device: str | None = None, dtype: DType | None = None) -> Pipeline:
        """Load the model and put the stages in order.

        Args:
            device: where to compute, over what the recipe says.
            dtype: in which precision, over what the recipe says.

        Raises:
            ModelError: the model can't be had, or noise can't be added as in its training.
            CaptureError: it has none of the layers that the probe wants.
        """
        from attnprobe.hooks import attention_layers
        from attnprobe.models.noise import shares
        from attnprobe.pipeline import Pipeline

        spec = self.model
        spec = replace(spec, device=device or spec.device, dtype=dtype or spec.dtype)
        model = spec.load()
        check_layers(self, attention_layers(model.denoiser))  # now, not later
        for timestep in self.probe.timesteps if self.probe.noise else ():
            shares(model.pipe.scheduler, timestep)
        return Pipeline(
            model=model,
            probe=self.probe,
            aggregate=self.aggregate,
            group=self.group,
            refine=self.refine,
            label=self.label,
            seed=self.seed,
        )

    def samples(self) -> list[Sample]:
        """List the images of all sources, in order.

        A name taken already gets a number; one that no disk takes is changed: see `safe_name`.

        Raises:
            ImageError: a source has no images.
        """
        taken: set[str] = set()
        samples = []
        for sample in (sample for source in self.sources for sample in source()):
            wanted = safe_name(sample.name)
            name, number = wanted, 2
            while name in taken:
                name, number = f"{wanted}-{number}", number + 1
            taken.add(name)
            samples.append(replace(sample, name=name, where=printable(sample.where)))
        return samples

    def resolved(self) -> dict[str, Any]:
        """The recipe as plain data under its YAML's keys, defaults filled in."""
        images = [_named("sources", source) for source in self.sources]
        return {
            "name": self.name,
            "model": plain(self.model),
            "images": images[0] if len(images) == 1 else images,
            "probe": plain(self.probe),
            "aggregate": _named("aggregators", self.aggregate),
            "group": _named("groupers", self.group),
            "refine": [_named("refiners", refiner) for refiner in self.refine],
            **({} if self.label is None else {"label": _named("labellers", self.label)}),
            "evaluate": plain(self.evaluate),
            "seed": self.seed,
        }

    def save(self, path: str | Path) -> None:
        """Write the resolved recipe as YAML, which loads back to an equal recipe."""
        with write_whole(path) as temporary:
            temporary.write_text(to_yaml(self.resolved()), encoding="utf-8")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(to_yaml(self.resolved()))}</pre>"


def check_layers(recipe: Recipe, layers: list[Layer]) -> None:
    """Check that a model has layers for what the recipe's stages need.

    Raises:
        CaptureError: it has none of those wanted.
    """
    recipe.probe.check_layers(layers, recipe.aggregate)
    if hasattr(recipe.label, "needs"):
        recipe.probe.check_layers(layers, recipe.label)


def _named(kind: str, component: Any) -> dict[str, Any]:
    for entry in registry.entries(kind):
        if entry.component is type(component):
            return {"use": entry.name, **plain(component)}
    raise RecipeError(f"{type(component).__qualname__} is not registered among the {kind}")


def plain(value: Any) -> Any:
    """A dataclass, or what may be a field of one, as the plain data of a recipe."""
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in recipe_fields(type(value))}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
