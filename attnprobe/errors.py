"""The one exception family: what was given, what is allowed, where."""

from __future__ import annotations

import difflib


class AttnProbeError(Exception):
    """A fault in what the user gave, told in a sentence; the command line shows it untraced.

    Examples:
        >>> try:
        ...     ap.load_recipe("diffseg", ["group.anchors=0"])
        ... except ap.AttnProbeError as error:
        ...     print(error)
        --set group.anchors=0: group.anchors: must be greater than or equal to 1; got 0
    """


class ComponentError(AttnProbeError):
    """A component's parameter is out of its range, or a name is unknown or taken twice."""


class RecipeError(AttnProbeError):
    """A recipe can't be read, or says something that isn't allowed."""


class ImageError(AttnProbeError):
    """A picture can't be read or used."""


class ModelError(AttnProbeError):
    """A model can't be found, loaded, or probed."""


class CaptureError(AttnProbeError):
    """Attention could not be captured as asked."""


class RunError(AttnProbeError):
    """A run's folder can't be written, or a run can't go on."""


class SettingWarning(UserWarning):
    """A setting is allowed, and seldom what is meant."""


class PluginWarning(UserWarning):
    """A plug-in is disabled, for it can't be imported or its name is taken; nothing else is."""


def did_you_mean(given: str, allowed: list[str]) -> str:
    """The end of a message about an unknown name: the nearest names, then all of them."""
    near = difflib.get_close_matches(str(given), allowed, n=2, cutoff=0.6)
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    return f"{hint} allowed: {', '.join(allowed) or 'none'}"
