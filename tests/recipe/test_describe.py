from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Le, MinLen
from pydantic.json_schema import SkipJsonSchema

from attnprobe import registry
from attnprobe.errors import RecipeError
from attnprobe.recipe.description import NESTED, describe, keys
from attnprobe.recipe.docstring import Docstring
from attnprobe.recipe.json_schema import SECTIONS
from attnprobe.registry import grouper

OURS = [entry for kind in registry.KINDS for entry in registry.entries(kind)]


@pytest.fixture
def stripes():
    @grouper("stripes")
    @dataclass(frozen=True)
    class Stripes:
        """Stripes of one width (Doe 2020).

        They run
        down.

        Args:
            width: of a stripe,
                pixels.
            count (int): how many; ``truth``: as many as there are.
            angles: in degrees.

        Raises:
            KeyError: never.
        """

        width: Annotated[int, Ge(1), Le(9)]
        count: Annotated[int, Ge(1)] | Literal["truth"] = "truth"
        angles: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (45.0,)
        pair: tuple[int, int] | None = None
        where: Annotated[object, SkipJsonSchema()] = None

    return Stripes


def test_all_is_said_in_words(stripes):
    package = __name__.partition(".")[0]
    assert describe("groupers.stripes") == (
        f"""\
groupers.stripes ({package})
Stripes of one width (Doe 2020).

They run down.

keys:
  width: a whole number, at least 1, at most 9; must be given
      of a stripe, pixels.
  count: a whole number, at least 1 or truth; default: truth
      how many; truth: as many as there are.
  angles: a list of at least 1, each a number, greater than 0; default: [45.0]
      in degrees.
  pair: [a whole number, a whole number] or nothing; default: nothing
"""
    )
    assert describe("stripes") == describe("groupers.stripes")


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: f"{entry.kind}.{entry.name}")
def test_every_key_of_our_components_has_a_meaning(entry):
    described = describe(f"{entry.kind}.{entry.name}")
    assert entry.summary.split()[0] in described
    assert [key.name for key in keys(entry.component) if not key.meaning] == []


@pytest.mark.parametrize("name", [*SECTIONS, *NESTED, "layers"])
def test_sections_are_described_too(name):
    assert "keys:\n" in describe(name)
    assert "\n  where: " not in describe(name)  # which only Python can say
    component = {**SECTIONS, **NESTED, "layers": NESTED["probe.layers"]}[name]
    assert all(key.meaning for key in keys(component))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("difseg", "there is no 'difseg' to describe; did you mean groupers.diffseg"),
        ("grouper.diffseg", "did you mean groupers.diffseg"),
        ("modle", "did you mean model?"),
        ("", "there is no '' to describe; allowed: model, probe"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(name, sentence):
    with pytest.raises(RecipeError) as caught:
        describe(name)
    assert sentence in str(caught.value)


def test_a_name_that_several_kinds_have_must_be_said_in_full():
    registry.refiner("both")(dataclass(frozen=True)(type("A", (), {"__doc__": "A."})))
    registry.grouper("both")(dataclass(frozen=True)(type("B", (), {"__doc__": "B."})))
    with pytest.raises(RecipeError, match=r"'both' is several: groupers\.both, refiners\.both; s"):
        describe("both")
    assert describe("refiners.both").endswith("A.\n\nno keys\n")


def test_a_docstring_may_lack_anything():
    assert Docstring.parse("") == Docstring("", "", {})
    assert Docstring.parse("One.\n\nArgs:\n    a: b").keys == {"a": "b"}
    assert Docstring.parse("One\nline.\n\nMore.\n\nReturns:\n    x: y") == Docstring(
        "One line.", "More.", {}
    )
