from dataclasses import dataclass
from typing import Annotated

import pytest
from annotated_types import Ge

from attnprobe import AttnProbeError, grouper
from attnprobe.group import DiffSeg
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
    for kind in ("sources", "aggregators", "groupers", "refiners"):
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


def test_a_plug_in_that_fails_to_load_is_named(monkeypatch):
    from attnprobe import registry

    class Point:
        name, value = "broken", "nowhere:Nothing"

        def load(self):
            raise ImportError("No module named 'nowhere'")

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()])
    registry._load.cache_clear()
    with pytest.raises(AttnProbeError, match=r"plug-in 'nowhere:Nothing' \(grouper 'broken'\)"):
        entries("groupers")
    monkeypatch.undo()
    registry._load.cache_clear()
