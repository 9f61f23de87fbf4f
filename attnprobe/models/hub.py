"""Where a model's files are: a local folder, the local cache, or the Hugging Face hub."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from attnprobe.errors import ModelError
from attnprobe.files import regular
from attnprobe.models.presets import PRESETS

WEIGHTS = (".safetensors", ".ckpt", ".bin", ".pt", ".pth")
"""How single files of weights are called."""

NO_NETWORK_NEEDED = "--model tiny needs no network"


@dataclass(frozen=True)
class Source:
    """A model that was found.

    Args:
        repo: local folder or hub name.
        revision: commit on the hub, or None for a folder.
        local_only: whether to load without asking the hub.
    """

    repo: str
    revision: str | None
    local_only: bool


def locate(repo: str, revision: str | None = None) -> Source:
    """Find a diffusers pipeline.

    Raises:
        ModelError: no such folder or hub name, not a pipeline, no safetensors, or no network.
    """
    folder = Path(os.path.expanduser(repo))
    if is_local(repo):
        return _locate_folder(repo, folder, revision)
    if "://" in repo:
        name = "/".join(repo.partition("://")[2].split("/")[1:3])
        hint = f"; did you mean {name}?" if name.count("/") == 1 else ""
        raise ModelError(
            f"model {repo}: a model on the hub is named org/name, without address{hint}"
        )
    if repo in PRESETS:
        raise ModelError(f"model {repo}: that is a preset's name; give it as preset, not as repo")
    return _locate_on_hub(repo, revision)


def is_local(repo: str) -> bool:
    """Whether a place on this machine is meant, whether or not something is there."""
    there = os.path.exists(os.path.expanduser(repo))
    return there or repo.startswith((".", "/", "~")) or repo.endswith(WEIGHTS)


def _locate_folder(repo: str, folder: Path, revision: str | None) -> Source:
    if folder.is_file():
        raise ModelError(
            f"model {repo}: is a file, and a model is a folder in diffusers' form; write one with "
            "diffusers.StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER)"
        )
    if not folder.is_dir():
        raise ModelError(f"model {repo}: there is no such folder")
    if not (folder / "model_index.json").is_file():
        raise ModelError(
            f"model {repo}: the folder holds no model_index.json, so it is no diffusers pipeline"
        )
    if revision is not None:
        raise ModelError(f"model {repo}: a local folder has no revision. Got {revision!r}.")
    _refuse_pipes(repo, folder)
    return Source(str(folder), None, local_only=True)


def _refuse_pipes(repo: str, folder: Path) -> None:
    """Refuse a folder in which a file is none, for reading it might never end."""
    try:
        for place in (folder, *filter(Path.is_dir, folder.iterdir())):
            for path in place.iterdir():
                if path.exists() and not path.is_dir():
                    regular(path)
    except OSError as error:
        raise ModelError(
            f"model {repo}: {error.filename} can't be read: {error.strerror}"
        ) from None


def _locate_on_hub(repo: str, revision: str | None) -> Source:
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        info = HfApi().model_info(repo, revision=revision, timeout=15)
    except HFValidationError:
        raise ModelError(
            f"model {repo!r} is neither a folder nor a name on the hub, such as org/name"
        ) from None
    except GatedRepoError:
        raise ModelError(
            f"model {repo}: its owners ask for a login; accept their terms on the hub and run "
            f"`hf auth login` ({NO_NETWORK_NEEDED})"
        ) from None
    except RevisionNotFoundError:
        raise ModelError(f"model {repo}: the hub has no revision {revision!r} of it") from None
    except RepositoryNotFoundError:
        raise ModelError(
            f"model {repo}: the hub has no public model of that name ({NO_NETWORK_NEEDED})"
        ) from None
    except Exception as error:  # which class says "no connection" changes with the hub's client
        if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
            raise ModelError(f"model {repo}: the hub refused it: {error}") from None
        cached = try_to_load_from_cache(repo, "model_index.json", revision=revision)
        if isinstance(cached, str):
            return Source(repo, Path(cached).parent.name, local_only=True)  # snapshots/<commit>/
        raise ModelError(
            f"the Hugging Face hub can't be reached, and its local cache has no {repo} "
            f"(looked for model_index.json); {NO_NETWORK_NEEDED}"
        ) from None
    files = {sibling.rfilename for sibling in info.siblings or []}
    if "model_index.json" not in files:
        raise ModelError(f"model {repo}: no model_index.json there, so it is no diffusers pipeline")
    if not any(name.endswith(".safetensors") for name in files):
        raise ModelError(f"model {repo}: it has no safetensors weights; others are not loaded")
    return Source(repo, info.sha, local_only=False)
