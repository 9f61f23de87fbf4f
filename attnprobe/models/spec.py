"""Which model to probe, as a recipe says it, and how it is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le, MinLen

from attnprobe.errors import ModelError, did_you_mean
from attnprobe.models.hub import Source, locate
from attnprobe.models.presets import PRESETS
from attnprobe.models.weights import load_models
from attnprobe.registry import checked

if TYPE_CHECKING:
    from attnprobe.models.model import Model

Text = Annotated[str, MinLen(1)]

DType = Literal["float32", "float16", "bfloat16"]


@checked
@dataclass(frozen=True)
class ModelSpec:
    """A diffusers pipeline: one of the presets, or any by folder or hub name.

    Only safetensors are loaded, and never code from a model's repository.

    Args:
        preset: ``tiny`` (embedded), ``sd14``, ``sd15``, ``sd21``, ``sdxl``, ``ssd1b``, ``sd3``,
            ``sd35``, ``flux-dev``, ``flux-schnell``, ``flux2``, ``qwen-image``, ``z-image``,
            ``pixart-sigma`` or ``sana``.
        repo: a local folder or hub name such as ``org/name``, instead of a preset.
        revision: commit, tag or branch on the hub.
        dtype: type of the weights; float16 on a GPU and float32 elsewhere by default.
        device: such as ``cpu`` or ``cuda:1``; a GPU if there is one by default.
        text_encoder_3: whether Stable Diffusion 3 has its third text encoder, T5 of 9 GB.
        text_tokens: the most tokens of a language model's text, `max_sequence_length` of the
            pipeline's call; its own default if left out.

    Examples:
        >>> model = ap.ModelSpec(preset="tiny").load()
        >>> model.size  # pixels a side, as it was trained
        128
    """

    preset: str | None = None
    repo: Text | None = None
    revision: Text | None = None
    dtype: DType | None = None
    device: Text | None = None
    text_encoder_3: bool = True
    text_tokens: Annotated[int, Ge(1), Le(4096)] | None = None

    def __post_init__(self) -> None:
        if (self.preset is None) == (self.repo is None):
            raise ModelError("a model needs either a preset or a repo, and not both")
        if self.preset is not None and self.preset not in PRESETS:
            known = did_you_mean(self.preset, [*PRESETS])
            hint = f"; a folder, or a name on the hub, is a repo: {self.preset}"
            raise ModelError(
                f"unknown preset {self.preset!r}{known}{hint if '/' in self.preset else ''}"
            )

    def load(self) -> Model:
        """Load the pipeline onto its device.

        Raises:
            ModelError: it can't be found, reached, or loaded, or it has no UNet to probe.
        """
        from attnprobe.models.model import Model
        from attnprobe.models.quiet import quiet_libraries

        device = device_of(self.device)
        dtype = self.dtype or ("float16" if device.type == "cuda" else "float32")
        repo = PRESETS[self.preset].repo if self.preset else self.repo
        assert repo is not None
        source = locate(repo, self.revision)
        with quiet_libraries():
            pipe = _load_pipeline(source, dtype, self.text_encoder_3)
        try:
            model = Model(pipe, device, self.preset or repo, source.revision, self.text_tokens)
            _ = model.size, model.multiple  # a config of another form fails here, not at an image
        except ModelError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"model {repo}: its configs don't go together: {reason}") from error
        return model


def device_of(name: str | None) -> Any:
    """The device of that name, by default a GPU if there is one.

    Raises:
        ModelError: it can't be used here.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "meta":
            raise NotImplementedError("it holds shapes and no numbers")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        if reason.startswith("Expected one of"):  # and then a list of all there might ever be
            reason = "unknown; allowed: cpu, cuda, cuda:1, mps and such"
        raise ModelError(f"device {name!r} can't be used: {reason}") from None
    return device


def _load_pipeline(source: Source, dtype: str, text_encoder_3: bool) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    where: dict[str, Any] = {"revision": source.revision, "local_files_only": source.local_only}
    try:
        config = DiffusionPipeline.load_config(source.repo, **where)
        if isinstance(config.get("_class_name"), list):
            raise ModelError(f"model {source.repo} brings code of its own, which is never run")
        # The checker weighs a gigabyte and only blanks pictures; a probe draws none.
        unneeded = {"safety_checker": None} if "safety_checker" in config else {}
        # Saved without a part, such as Stable Diffusion 3 without T5; diffusers wants that said.
        absent: dict[str, None] = {
            name: None for name, value in config.items() if value in ([None, None], (None, None))
        }
        if not text_encoder_3:
            if "text_encoder_3" not in config:
                raise ModelError(
                    f"model {source.repo} has no text_encoder_3 that could be left out; "
                    "leave out model.text_encoder_3"
                )
            absent |= {"text_encoder_3": None, "tokenizer_3": None}
        left_out = absent | unneeded
        kept = {name: value for name, value in config.items() if name not in left_out}
        where["dtype"] = getattr(torch, dtype)
        models = load_models(source.repo, kept, **where)
        return DiffusionPipeline.from_pretrained(
            source.repo, use_safetensors=True, **left_out, **models, **where
        )
    except ModelError:
        raise
    except Exception as error:  # broken files raise errors of every kind
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(f"model {source.repo} can't be loaded: {reason}") from error
