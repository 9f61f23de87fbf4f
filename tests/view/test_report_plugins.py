"""Runs of plug-ins: what they are looked at by when a plug-in fails on it, or is gone."""

from dataclasses import dataclass
from typing import ClassVar
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from attnprobe import refiner, registry
from attnprobe.errors import RecipeError, RunError
from attnprobe.view.report import report_html, write_report
from attnprobe.view.report_run import ShownRun
from tests.view.runs import make_run, served

IMAGES = "{use: scenes, count: 2}"


@pytest.fixture(autouse=True)
def _registry_of_its_own(monkeypatch):
    registry.entries("refiners")
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))


@pytest.fixture
def moody():
    """A refiner that works on the run's images and then no more."""

    @refiner("moody")
    @dataclass(frozen=True)
    class Moody:
        """A plug-in's refiner."""

        left: ClassVar[list[int]] = [2]

        def __call__(self, segmentation, field, *, rng, image):
            """As it is, or not at all."""
            if not self.left[0]:
                raise KeyError("no more")
            self.left[0] -= 1
            return segmentation

    return Moody


def test_a_refiner_that_fails_on_the_pooled_maps_ends_no_run(tiny, tmp_path, moody):
    path = make_run(tiny, tmp_path / "run", "refine={use: moody}", images=IMAGES)
    assert moody.left == [0]
    page = (path / "report.html").read_text()
    assert page.count("data-explorer>") == 2  # explored all the same, without a slider
    shown = ShownRun.load(path)
    image = shown.outcomes[0].image
    assert shown.payload(image, [0.5, 1.0])["levels"] == []
    with pytest.raises(RunError, match="can't be regrouped: KeyError: 'no more'"):
        shown.regrouped(image, 0.5)


def test_a_run_whose_plug_in_is_gone_can_be_looked_at(tiny, tmp_path, moody):
    path = make_run(tiny, tmp_path / "run", "refine={use: moody}", "name=lost", images=IMAGES)
    del registry._entries["refiners", "moody"]
    shown = ShownRun.load(path)
    assert (shown.name, shown.recipe, shown.threshold) == ("lost", None, None)
    assert "unknown refiner 'moody'" in shown.lost
    html = report_html(shown)
    assert html.count("data-explorer>") == 2
    assert "The recipe can&#39;t be made here" in html
    write_report(path)
    with pytest.raises(RunError, match="unknown refiner 'moody'"):
        shown.regrouped(shown.outcomes[0].image, 0.5)
    with served(path) as address:
        with urlopen(f"{address}/images/0") as answer:
            assert answer.status == 200
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{address}/images/0/0/labels?threshold=0.5")


def test_a_recipe_that_is_none_is_still_refused(tiny, tmp_path):
    path = make_run(tiny, tmp_path / "run", images=IMAGES)
    (path / "recipe.yaml").write_text("- no recipe")
    with pytest.raises(RecipeError, match="a recipe is a mapping"):
        ShownRun.load(path)
