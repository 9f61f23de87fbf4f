import os
import tempfile
from pathlib import Path

import pytest

from attnprobe.errors import RecipeError
from attnprobe.recipe import load_points, load_recipe
from attnprobe.recipe.shipped import first_comment, shipped
from tests.recipe.conftest import RECIPE


def test_all_shipped_recipes_load_and_say_what_they_are():
    assert {"diffseg", "diffseg-320", "diffseg-512"} <= set(shipped())
    for name, path in shipped().items():
        assert load_points(path)[0].recipe.name == name
        assert first_comment(path).endswith((".", ":"))


@pytest.mark.parametrize("name", ["diffseg", "diffseg.yaml", "recipes/diffseg.yaml"])
def test_a_shipped_recipe_is_found_by_name_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert load_recipe(name) == load_recipe(shipped()["diffseg"])


def test_a_file_comes_before_a_shipped_recipe_and_a_folder_after(write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diffseg-512").mkdir()
    write(name="diffseg.yaml")
    assert load_recipe("diffseg.yaml").name == "trial"
    assert load_recipe("diffseg-512").name == "diffseg-512"


@pytest.mark.parametrize("path", ["difseg", "mine/diffseg.yaml", "x" * 5000, "a\0b"])
def test_a_recipe_that_is_not_there_is_told_with_those_that_are(path):
    with pytest.raises(RecipeError, match=r"there is no such recipe.*shipped recipes: .*diffseg"):
        load_recipe(path)


def test_a_recipe_without_a_name_is_called_after_its_file(write):
    text = RECIPE.replace("name: trial\n", "")
    assert load_recipe(write(text, "my try (2).yaml")).name == "my-try-2"
    assert load_recipe(write(text, "+.yaml")).name == "recipe"


def test_a_file_that_may_not_be_read(tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trial.yaml"
        path.write_text(RECIPE)
        path.chmod(0)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        os.seteuid(user or 65534)  # root may read everything
        try:
            with pytest.raises(RecipeError, match=r"trial\.yaml: can't be read: Permission denied"):
                load_recipe(path)
        finally:
            os.seteuid(user)


def test_a_recipe_extends_another_and_changes_keys(write):
    base = load_recipe(write(name="base.yaml"))
    child = load_recipe(write("extends: base.yaml\ngroup: {anchors: 4}\nseed: 8\n", "child.yaml"))
    changed = base.resolved()
    changed["group"]["anchors"] = 4
    assert child.resolved() == {**changed, "name": "child", "seed": 8}


def test_lists_are_replaced_whole_and_another_component_starts_afresh(write):
    write(name="base.yaml")
    text = "extends: base.yaml\nimages: {use: photos}\ngroup: {thresholds: [0.5]}\n"
    child = load_recipe(write(text + "model: {repo: org/name}\n", "child.yaml"))
    assert [type(source).__name__ for source in child.sources] == ["Photos"]
    assert (child.group.anchors, child.group.thresholds) == (16, (0.5,))
    assert (child.model.preset, child.model.repo) == (None, "org/name")


def test_a_shipped_recipe_can_be_extended_by_name(write):
    child = load_recipe(write("extends: diffseg-512\nseed: 3\n", "child.yaml"))
    assert child.probe == load_recipe("diffseg-512").probe
    assert child.seed == 3


def test_faults_are_told_where_they_stand_also_in_the_base(write, faults, place):
    base = RECIPE.replace("anchors", "ancors")
    write(base, "base.yaml")
    child = "extends: base.yaml\nprobe: {szie: 3}\n"
    lines = faults(child, name="child.yaml")
    starts = [place(child, "szie", "child.yaml"), place(base, "ancors", "base.yaml")]
    assert [line.partition(": ")[0] for line in lines] == starts


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("extends: child.yaml\n", "extends: a recipe can't extend itself"),
        ("extends: back.yaml\n", 'back.yaml extends "child.yaml" in turn; one level is allowed'),
        ("extends: nowhere.yaml\n", "extends: nowhere.yaml: there is no such recipe"),
        ("extends: difseg\n", "did you mean diffseg"),
        ("extends: [a]\n", "extends: must be a recipe's file; got"),
        ("extends:\n", "extends: must be a recipe's file; got nothing"),
        ("extends: empty.yaml\n", "empty.yaml: the recipe is empty"),
    ],
)
def test_a_base_that_can_t_be_is_told_at_the_key(write, faults, text, sentence):
    write("extends: child.yaml\n", "back.yaml")
    write("", "empty.yaml")
    (line,) = faults(text, name="child.yaml")
    assert line.startswith("child.yaml:1:")
    assert sentence in line


def test_an_installed_package_finds_its_recipes_inside(tmp_path, monkeypatch):
    inside = tmp_path / "attnprobe" / "recipes"
    inside.mkdir(parents=True)
    (inside / "own.yaml").write_text(RECIPE)
    module = tmp_path / "attnprobe" / "recipe" / "shipped.py"
    monkeypatch.setattr("attnprobe.recipe.shipped.__file__", str(module))
    assert shipped() == {"own": Path(inside / "own.yaml")}
