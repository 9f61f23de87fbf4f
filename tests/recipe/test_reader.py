import pytest

from attnprobe.errors import RecipeError
from attnprobe.recipe import load_recipe
from attnprobe.recipe.reader import LARGEST, in_a_line, read_yaml, to_yaml
from attnprobe.recipe.tree import Faults
from tests.recipe.conftest import RECIPE


def read(text, faults=None):
    value = read_yaml(text, lambda line, column: f"{line}:{column}", noted := Faults())
    assert (faults or []) == noted
    return value


def test_values_know_the_place_of_their_key_and_their_own():
    value = read("a: 1\nb:\n  - x\n  - {c: [true]}\n")
    assert (value.data["a"].key_place, value.data["a"].place) == ("1:1", "1:4")
    inner = value.at(("b", 1, "c"))
    assert (inner.key_place, inner.place, inner.at((0,)).place) == ("4:6", "4:9", "4:10")


def test_scalars_are_those_of_yaml_1_2():
    text = "[1e-3, 0x1F, yes, true, ~, '5', .inf, 2024-01-01, -7, 1_000]"
    expected = [1e-3, 31, "yes", True, None, "5", float("inf"), "2024-01-01", -7, 1000]
    assert read(text).plain() == expected


def test_an_empty_value_stands_where_its_key_does():
    assert read("a: 1\nb:\n\nc: 2\n").data["b"].place == "2:1"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1: a: given twice; first at 1:1"),
        ("a: {b: 1, b: 2}", "1:11: a.b: given twice; first at 1:5"),
        ("? [x, y]\n: 1\n", "1:3: a key must be a word"),
        ("a: !!python/name:os.system x", "1:4: a: the tag !!python/name:os.system isn't allowed"),
        ("a: [1, !!int x]", "1:8: a.1: 'x' can't be read as int"),
        (r'a: "\ud800"', "1:4: a: half of a surrogate pair is no text"),
    ],
)
def test_what_a_recipe_may_not_hold_is_noted_with_its_place(text, fault):
    noted = Faults()
    read_yaml(text, lambda line, column: f"{line}:{column}", noted)
    assert len(noted) == 1
    assert noted[0].startswith(fault)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "the recipe is empty"),
        ("# only a comment\n", "the recipe is empty"),
        ("- a\n- b\n", "a recipe is a mapping"),
        ("just words", "a recipe is a mapping"),
        ("name: x\n\tseed: 1\n", "trial.yaml:2:1: a tab in the indentation"),
        (b"name: caf\xe9\n", "trial.yaml:1: not UTF-8 text (byte 0xe9)"),
        ("name: x\x00y", "trial.yaml:1:1: not valid YAML: the character '\\x00'"),
        ("name: [x\n", "trial.yaml:1:7: not valid YAML: this [ isn't closed"),
        ("a: {b: [x}\n", "trial.yaml:1:8: not valid YAML: this [ isn't closed"),
        ("a: {b: 1\n", "trial.yaml:1:4: not valid YAML: this { isn't closed"),
        ("a: 1\nb:2\n", "trial.yaml:2:1: not valid YAML: a key wants a colon and a space"),
        ("a: 1\n  b: 2\n", "trial.yaml:2:4: not valid YAML: no colon can be here; is the line"),
        ("a:\n  b: 1\n c: 2\n", "trial.yaml:3:2: not valid YAML: this line isn't indented as"),
        ("a: @b\n", "token; text that begins so needs quotes"),
        ("name: x\n---\nname: y\n", "trial.yaml:2:1: not valid YAML: expected a single document"),
        ("name: *x\n", "undefined alias 'x'; text that begins with * needs quotes"),
        ("#" * (LARGEST + 1), "1,000,001 bytes; a recipe has at most 1,000,000"),
        ("[" * 50_000, "at most 10,000 values"),
        ("[" + "1," * 50_000 + "]", "at most 10,000 values"),
        ("a: &a [*a]", "32 levels"),
    ],
)
def test_a_file_that_is_no_recipe_is_told_in_a_line(faults, content, sentence):
    (line,) = faults(content)
    assert line.startswith("trial.yaml")
    assert sentence in line


def test_anchors_may_be_used_but_may_not_explode(faults, write):
    text = RECIPE.replace("0.8]", "0.8], variant: &v paper").replace("seed: 7", "seed: &s 7")
    assert load_recipe(write(text)).group.variant == "paper"
    bomb = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    for one, next_one in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{next_one}: &{next_one} [{', '.join([f'*{one}'] * 10)}]\n"
    (line,) = faults(bomb)
    assert "at most 10,000 values, anchors counted in full" in line


def test_a_byte_order_mark_and_foreign_line_ends_are_no_fault(write):
    plain = load_recipe(write())
    assert load_recipe(write(b"\xef\xbb\xbf" + RECIPE.encode())) == plain
    assert load_recipe(write(RECIPE.replace("\n", "\r\n"))) == plain


def test_a_folder_and_a_device_are_no_recipes(tmp_path):
    for path in (tmp_path, "/dev/null"):
        with pytest.raises(RecipeError, match="a recipe is a file"):
            load_recipe(path)


@pytest.mark.parametrize(
    "text",
    [
        "\x85",
        "a\u2028b",
        "\ufeff",
        "a\r\n\tb",
        "\x00",
        "word " * 90 + "\n" + "word " * 90,
        "'\"\\" * 70,
    ],
)
def test_any_text_reads_back_as_it_was_written(text):
    data = {"key": text, "list": [text, "x"]}
    assert read(to_yaml(data)).plain() == data


def test_yaml_is_written_in_the_order_given_and_reads_back():
    data = {"z": [1, 0.5, None, True], "a": {"y": "1e3", "b": ["null", "é", "a: b #"]}, "m": {}}
    assert list(read(to_yaml(data)).data) == ["z", "a", "m"]
    assert read(to_yaml(data)).plain() == data


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "0x" + "f" * 5000])
def test_a_number_that_nobody_could_print_is_told(tmp_path, number):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"extends: diffseg\nseed: {number}\n")
    with pytest.raises(RecipeError, match="can't be read as int") as error:
        load_recipe(path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    "text", ["?0", "? a", "-a", ":a", "a: b", "#a", "null", "1", "", "é\n", "a,b"]
)
def test_text_in_brackets_reads_back(text):
    for written in (in_a_line([text]), to_yaml([text])):
        assert read(written).plain() == [text]
