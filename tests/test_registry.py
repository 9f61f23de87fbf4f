import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated

import pytest
from annotated_types import Ge

from attnprobe import AttnProbeError, grouper, registry
from attnprobe.cli import main
from attnprobe.errors import PluginWarning
from attnprobe.group import DiffSeg, KMeans
from attnprobe.registry import _entries, entries, find


@pytest.fixture(autouse=True)
def _forget_what_tests_register():
    find("groupers", "diffseg")
    before = dict(_entries)
    yield
    _entries.clear()
    _entries.update(before)


def test_ours_are_found_by_name():
    assert find("groupers", "diffseg") is DiffSeg
    names = [e.name for e in entries("sources")]
    assert names == sorted(names)
    assert {"ade20k", "coco-stuff-27", "folder", "hf", "photos", "prompts", "scenes"} <= {*names}


def test_every_component_of_ours_says_what_it_is():
    for kind in ("sources", "aggregators", "groupers", "refiners", "labellers"):
        for entry in entries(kind):
            assert entry.summary.endswith(".") or entry.summary.endswith(")."), entry


def test_an_unknown_name_is_told_with_the_nearest():
    with pytest.raises(AttnProbeError, match=r"unknown grouper 'difseg'; did you mean diffseg\?"):
        find("groupers", "difseg")


def test_a_name_taken_twice_shows_both_definitions():
    with pytest.raises(AttnProbeError, match=r"attnprobe.group.diffseg.DiffSeg and by .*Mine"):

        @grouper("diffseg")
        @dataclass(frozen=True)
        class Mine:
            """Mine."""


def test_parameters_are_checked_and_converted_whenever_one_is_made():
    @grouper("checked-test")
    @dataclass(frozen=True)
    class Checked:
        """A grouper of the test's."""

        sizes: tuple[Annotated[int, Ge(1)], ...] = (1,)
        doubled: int = 0

        def __post_init__(self):
            object.__setattr__(self, "doubled", 2 * self.sizes[0])

    assert Checked([3, 4]).sizes == (3, 4)
    assert Checked([3]).doubled == 6  # its own __post_init__ runs on checked values
    with pytest.raises(AttnProbeError, match=r"Checked.sizes\[1\]: .*Got \[3, 0\] instead"):
        Checked([3, 0])


@dataclass(frozen=True)
class Good:
    """A plug-in's grouper."""

    def __call__(self, field):
        """Nothing."""


@dataclass(frozen=True)
class Unreadable:
    """One whose annotations name nothing."""

    size: "Nowhere" = 1  # noqa: F821

    def __call__(self, field):
        """Nothing."""


@dataclass(frozen=True)
class Idle:
    """One that does nothing."""


def point(name: str, load) -> SimpleNamespace:
    """An entry point, as packages have them."""
    return SimpleNamespace(name=name, value=f"package:{name}", load=load)


def fails(error: BaseException):
    def load():
        raise error

    return load


@pytest.fixture
def plugged(monkeypatch):
    """Loads groupers anew, with entry points besides ours."""

    def plug(*points):
        monkeypatch.setattr(registry, "entry_points", lambda group: list(points))
        registry._load.cache_clear()

    yield plug
    monkeypatch.undo()
    registry._disabled.clear()
    registry._load.cache_clear()


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (fails(ImportError("No module named 'nowhere'")), "No module named 'nowhere'"),
        (fails(SystemExit(3)), "3"),
        (fails(ValueError()), "ValueError"),
        (lambda: 3, "3 is no component; a frozen dataclass is needed"),
        (lambda: Idle, "Idle has no __call__"),
        (lambda: Unreadable, "name 'Nowhere' is not defined"),
    ],
)
def test_a_plug_in_that_cant_be_had_disables_itself_alone(plugged, load, why):
    plugged(point("first", lambda: Good), point("broken", load), point("last", lambda: Good))
    said = rf"the plug-in 'package:broken' \(grouper 'broken'\) is disabled: {re.escape(why)}"
    with pytest.warns(PluginWarning, match=said):
        assert find("groupers", "diffseg") is DiffSeg
    names = [entry.name for entry in entries("groupers")]
    assert {"first", "last", "kmeans"} <= {*names}
    assert "broken" not in names
    with pytest.raises(AttnProbeError, match=said):
        find("groupers", "broken")


def test_a_name_that_is_taken_is_told_and_stays(plugged):
    plugged(
        point("kmeans", lambda: Good), point("mine", lambda: Good), point("mine", lambda: KMeans)
    )
    with pytest.warns(PluginWarning) as warned:
        assert find("groupers", "kmeans") is KMeans
    ours, own = (f"{c.__module__}.{c.__qualname__}" for c in (KMeans, Good))
    assert [str(each.message).partition("disabled: ")[2] for each in warned] == [
        f"grouper 'kmeans' is defined twice: by {ours} and by {own}",
        f"grouper 'mine' is defined twice: by {own} and by {ours}",
    ]
    assert find("groupers", "mine") is Good


def test_what_a_broken_module_registered_is_forgotten(plugged):
    def load():
        grouper("half")(Good)
        raise ImportError("then it broke")

    plugged(point("whole", load))
    with pytest.warns(PluginWarning, match="then it broke"):
        assert "half" not in [entry.name for entry in entries("groupers")]


def test_a_module_that_registers_itself_is_no_clash(plugged, recwarn):
    plugged(point("own", lambda: grouper("own")(Good)))
    assert find("groupers", "own") is Good
    assert not [each for each in recwarn if each.category is PluginWarning]


def test_the_command_line_tells_it_in_a_note(plugged, capsys):
    plugged(point("broken", fails(ImportError("no such thing"))))
    with pytest.raises(SystemExit) as ended:
        main(["list", "groupers"])
    assert ended.value.code == 0
    told = capsys.readouterr()
    assert "kmeans" in told.out
    assert told.err == (
        "note: the plug-in 'package:broken' (grouper 'broken') is disabled: no such thing\n"
    )
