"""The package as it is described: what goes in, its version, its pins, its documented names."""

import re
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import attnprobe
from attnprobe.models.presets import PRESETS
from attnprobe.recipe import load_points, shipped

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INCLUDED = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
PACKAGE = Path(attnprobe.__file__).parent


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pinned}


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    extras = project["optional-dependencies"]
    optional = [required for name in extras for required in extras[name] if name != "baselines"]
    found = {required: Requirement(required) for required in [*project["dependencies"], *optional]}
    return [each for each in found.values() if each.name != "attnprobe"]


def test_recipes_go_into_the_wheel_where_they_are_looked_for():
    assert {(ROOT / inside): to for inside, to in INCLUDED.items()} == {
        shipped.folder(): "attnprobe/recipes"
    }


@pytest.mark.parametrize("name", shipped.shipped())
def test_a_shipped_recipe_loads_and_says_what_it_is(name):
    assert {point.recipe.name for point in load_points(name)} == {name}
    assert shipped.first_comment(shipped.shipped()[name])


def test_the_embedded_model_is_inside_the_package():
    folder = Path(PRESETS["tiny"].repo)
    assert folder.is_relative_to(PACKAGE)
    assert (folder / "model_index.json").is_file()
    weights = list(folder.glob("*/*.safetensors"))
    assert len(weights) == 3
    assert sum(file.stat().st_size for file in weights) < 25e6


def test_licence():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert PROJECT["project"]["license-files"] == ["LICENSE"]


def test_the_changelog_begins_with_this_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert first is not None
    assert first[1] == PROJECT["project"]["version"]


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_what_is_required_is_pinned_within_its_bounds(requirement):
    version = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def documented() -> set[int]:
    """The things with an entry of their own in the reference, by identity."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    names = [n for p in pages for n in re.findall(r"^::: (\S+)", p.read_text(), re.MULTILINE)]
    found = set()
    for name in names:
        module, _, attribute = name.rpartition(".")
        try:
            found |= {id(value) for value in vars(import_module(name)).values()}
        except ModuleNotFoundError:
            found.add(id(getattr(import_module(module), attribute)))
    return found


@pytest.mark.parametrize("name", sorted(set(attnprobe.__all__) - {"__version__"}))
def test_a_public_name_is_in_the_reference(name):
    assert id(getattr(attnprobe, name)) in documented()


@pytest.mark.parametrize("kind", ["sources", "aggregators", "groupers", "refiners", "labellers"])
def test_every_component_is_in_the_reference(kind):
    from attnprobe import registry

    ours = [e for e in registry.entries(kind) if e.package == "attnprobe"]
    assert ours
    assert {id(e.component) for e in ours} <= documented()
