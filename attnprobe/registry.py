"""Names to components: the decorators that register them and the checks on their parameters.

A component is a frozen dataclass whose fields are its recipe keys, with constraints in their
types, and whose ``__call__`` does the work. Ours register when their folder is imported, everybody
else's through an entry point such as ``attnprobe.groupers``.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import threading
import typing
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from attnprobe.errors import ComponentError, PluginWarning, did_you_mean

T = TypeVar("T", bound=type)

#: Kind of component -> the package whose import registers ours.
KINDS = {
    "sources": "attnprobe.data",
    "aggregators": "attnprobe.aggregate",
    "groupers": "attnprobe.group",
    "refiners": "attnprobe.refine",
    "labellers": "attnprobe.label",
}


@dataclass(frozen=True)
class Entry:
    """One registered component."""

    kind: str
    name: str
    component: type
    package: str

    @property
    def summary(self) -> str:
        """First line of the component's docstring."""
        return (inspect.getdoc(self.component) or "").partition("\n")[0]

    @property
    def place(self) -> str:
        """Module and class, for messages that must show a definition."""
        return f"{self.component.__module__}.{self.component.__qualname__}"


_entries: dict[tuple[str, str], Entry] = {}


def register(kind: str, name: str) -> Callable[[T], T]:
    """Return a class decorator that registers a component of `kind` under `name`.

    Raises:
        ComponentError: the name is taken (both definitions are shown).
    """

    def decorate(component: T) -> T:
        entry = Entry(kind, name, component, component.__module__.partition(".")[0])
        old = _entries.get((kind, name))
        if old is not None and old.place != entry.place:
            raise ComponentError(
                f"{kind[:-1]} {name!r} is defined twice: by {old.place} and by {entry.place}"
            )
        checked(component)
        _entries[kind, name] = entry
        return component

    return decorate


def source(name: str) -> Callable[[T], T]:
    """Register an image source, which lists samples and takes nothing.

    Raises:
        ComponentError: the name is taken (both definitions are shown).

    Examples:
        >>> from dataclasses import dataclass
        >>> from functools import partial
        >>> @ap.source("one_picture")
        ... @dataclass(frozen=True)
        ... class OnePicture:
        ...     "A picture without a truth."
        ...     path: str = "photo.jpg"
        ...
        ...     def __call__(self):
        ...         read = partial(ap.read_image, self.path)
        ...         return [ap.Sample("one", read, truth=lambda: None, where=self.path)]
        >>> recipe = ap.load_recipe("diffseg", ["images={use: one_picture}"])
        >>> [sample.name for sample in recipe.samples()]
        ['one']
    """
    return register("sources", name)


def aggregator(name: str) -> Callable[[T], T]:
    """Register an aggregator, which folds one field a layer into one.

    Raises:
        ComponentError: the name is taken (both definitions are shown).

    Examples:
        >>> from dataclasses import dataclass
        >>> @ap.aggregator("first_layer")
        ... @dataclass(frozen=True)
        ... class FirstLayer:
        ...     "The field of the first layer alone."
        ...
        ...     def __call__(self, fields):
        ...         return fields[0]
        >>> ap.load_recipe("diffseg", ["aggregate={use: first_layer}"]).aggregate
        FirstLayer()
    """
    return register("aggregators", name)


def grouper(name: str) -> Callable[[T], T]:
    """Register a grouper, which cuts a field into segments.

    Raises:
        ComponentError: the name is taken (both definitions are shown).

    Examples:
        >>> from dataclasses import dataclass
        >>> @ap.grouper("stripes")
        ... @dataclass(frozen=True)
        ... class Stripes:
        ...     "Upright stripes, equally wide."
        ...     count: int = 2
        ...
        ...     def __call__(self, field, *, rng=None, truth=None):
        ...         height, width = field.grid
        ...         stripes = np.arange(width) * self.count // width
        ...         return ap.Segmentation(np.tile(stripes, (height, 1)))
        >>> recipe = ap.load_recipe("diffseg", ["group={use: stripes, count: 3}"])
        >>> recipe.build().segment("photo.jpg").count
        3
    """
    return register("groupers", name)


def refiner(name: str) -> Callable[[T], T]:
    """Register a refiner, which makes a segmentation a better one.

    Raises:
        ComponentError: the name is taken (both definitions are shown).

    Examples:
        >>> from dataclasses import dataclass
        >>> @ap.refiner("mirrored")
        ... @dataclass(frozen=True)
        ... class Mirrored:
        ...     "The segmentation, left for right."
        ...
        ...     def __call__(self, segmentation, field, *, rng, image=None):
        ...         return ap.Segmentation(segmentation.labels[:, ::-1].copy())
        >>> ap.load_recipe("diffseg", ["refine=[{use: mirrored}]"]).refine
        (Mirrored(),)
    """
    return register("refiners", name)


def labeller(name: str) -> Callable[[T], T]:
    """Register a labeller, which gives segments names.

    Raises:
        ComponentError: the name is taken (both definitions are shown).

    Examples:
        >>> from dataclasses import dataclass
        >>> @ap.labeller("first_word")
        ... @dataclass(frozen=True)
        ... class FirstWord:
        ...     "All of a picture is called by its prompt's first word."
        ...
        ...     def __call__(self, segmentation, subject, *, rng):
        ...         whole = np.zeros_like(segmentation.labels)
        ...         return ap.Segmentation(whole, names={0: subject.prompt.split()[0]})
        >>> changes = ["label={use: first_word}", "probe.prompt=Peking in spring"]
        >>> ap.load_recipe("diffseg", changes).build().segment("photo.jpg").names
        {0: 'Peking'}
    """
    return register("labellers", name)


_disabled: dict[tuple[str, str], str] = {}
"""Why a plug-in's component isn't there, by kind and name."""

_lock = threading.RLock()


@functools.cache
def _load(kind: str) -> None:
    """Import ours and all plug-ins; one that can't be had disables itself and is warned of."""
    importlib.import_module(KINDS[kind])
    with _lock:
        for point in entry_points(group=f"attnprobe.{kind}"):
            before = dict(_entries)
            try:
                _adopt(kind, point)
            except (Exception, SystemExit) as error:
                _entries.clear()  # a module that breaks off may have registered some
                _entries.update(before)
                why = " ".join(str(error).split()) or type(error).__name__
                said = (
                    f"the plug-in {point.value!r} ({kind[:-1]} {point.name!r}) is disabled: {why}"
                )
                _disabled[kind, point.name] = said
                warnings.warn(said, PluginWarning, stacklevel=3)


def _adopt(kind: str, point: EntryPoint) -> None:
    """Register what an entry point leads to, unless its module has.

    Raises:
        ComponentError: it is no component, or another has its name.
    """
    component = point.load()
    if not (isinstance(component, type) and is_dataclass(component)):
        raise ComponentError(f"{component!r} is no component; a frozen dataclass is needed")
    if not any("__call__" in vars(each) for each in component.__mro__):
        raise ComponentError(f"{component.__qualname__} has no __call__")
    _adapters(component)  # so that annotations which can't be read harm no other component
    if (kind, point.name) in _entries and _entries[kind, point.name].component is component:
        return
    register(kind, point.name)(component)


def entries(kind: str) -> list[Entry]:
    """All components of a kind, ours and plug-ins', by name."""
    _load(kind)
    return sorted((e for (k, _), e in _entries.items() if k == kind), key=lambda e: e.name)


def find(kind: str, name: str) -> type:
    """The component class of that kind and name.

    Raises:
        ComponentError: unknown name, the nearest known ones are shown; or its plug-in is disabled.
    """
    _load(kind)
    if (kind, name) in _entries:
        return _entries[kind, name].component
    if (kind, name) in _disabled:
        raise ComponentError(_disabled[kind, name])
    known = [entry.name for entry in entries(kind)]
    near = did_you_mean(name, known)
    raise ComponentError(
        f"unknown {kind[:-1]} {name!r}{near}; a package adds others by the entry point "
        f"attnprobe.{kind}"
    )


def checked(component: T) -> T:
    """Make a dataclass check its parameters against their annotations whenever one is made.

    Its own ``__post_init__``, where it has one, runs after the check and may rely on it.
    """
    if "_attnprobe_checked" in vars(component):
        return component
    # dataclass's __init__ calls __post_init__ only if there was one when it was generated.
    hook = "__post_init__" if hasattr(component, "__post_init__") else "__init__"
    own = getattr(component, hook)

    @functools.wraps(own)
    def check_then_own(self: Any, *args: Any, **kwargs: Any) -> None:
        if hook == "__init__":
            own(self, *args, **kwargs)
            check_parameters(self)
        else:
            check_parameters(self)
            own(self, *args, **kwargs)

    setattr(component, hook, check_then_own)
    component._attnprobe_checked = True  # type: ignore[attr-defined]
    return component


def check_parameters(instance: Any) -> None:
    """Check (and convert, a list to a tuple say) each field against its annotation.

    Raises:
        ComponentError: "<Class>.<field> must be … . Got … instead."
    """
    from pydantic import ValidationError

    component: Any = type(instance)
    for name, adapter in _adapters(component).items():
        given = getattr(instance, name)
        try:
            object.__setattr__(instance, name, adapter.validate_python(given))
        except ValidationError as error:
            first = error.errors()[0]
            where = "".join(f"[{p}]" for p in first["loc"] if isinstance(p, int))
            raise ComponentError(
                f"{type(instance).__name__}.{name}{where}: {first['msg']}. Got {given!r} instead."
            ) from None


@functools.cache
def _adapters(component: Any) -> dict[str, Any]:
    from pydantic import TypeAdapter

    hints = typing.get_type_hints(component, include_extras=True)
    return {field.name: TypeAdapter(hints[field.name]) for field in fields(component)}
