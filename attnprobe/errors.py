"""The one exception family: what was given, what is allowed, where."""


class AttnProbeError(Exception):
    """A fault in what the user gave, told in a sentence; the command line shows it untraced."""


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
