"""The models of a pipeline, read whole: a weight that its file lacks would be a random number."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from attnprobe.errors import ModelError

_MODELS = {"diffusers": "ModelMixin", "transformers": "PreTrainedModel"}
"""What a library's models are instances of."""


def load_models(repo: str, config: Mapping[str, Any], **given: Any) -> dict[str, Any]:
    """Load those parts of a pipeline that have weights.

    Both libraries fill in random numbers for weights that a file lacks, or that it calls by another
    name, and say so in a notice; a pipeline's own loading doesn't hand on which ones they are.

    Args:
        repo: local folder or hub name.
        config: what stands in its ``model_index.json``, but for what is left out.
        given: of ``from_pretrained``, such as ``dtype`` and ``revision``.

    Raises:
        ModelError: a weight is missing.
    """
    models = {}
    for name, value in config.items():
        kind = _model_class(value)
        if kind is None:
            continue
        model, told = kind.from_pretrained(
            repo, subfolder=name, output_loading_info=True, use_safetensors=True, **given
        )
        if missing := sorted(told["missing_keys"]):
            raise ModelError(
                f"model {repo}: the files of its {name} lack {len(missing)} of its weights, "
                f"which would be random numbers: {', '.join(missing[:3])}"
                f"{' and others' if len(missing) > 3 else ''}"
            )
        models[name] = model
    return models


def _model_class(value: Any) -> Any:
    """The class of a part, (library, class) in the index, if it is one of weights."""
    match value:
        case [str(library), str(name)] if library in _MODELS:
            module = import_module(library)
            kind = getattr(module, name, None)
            of = getattr(module, _MODELS[library])
            return kind if isinstance(kind, type) and issubclass(kind, of) else None
        case _:
            return None
