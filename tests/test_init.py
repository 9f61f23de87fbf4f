import ast
import subprocess
import sys
from pathlib import Path

import pytest

import attnprobe


def test_every_public_name_is_there_and_they_are_few():
    for name in attnprobe.__all__:
        assert getattr(attnprobe, name) is not None
    assert len(attnprobe.__all__) <= 34


def test_completion_shows_the_public_names_and_nothing_else():
    assert dir(attnprobe) == sorted(attnprobe.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        attnprobe.nothing  # noqa: B018


def test_type_checkers_see_the_names_that_are_loaded_late():
    tree = ast.parse(Path(attnprobe.__file__).read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    static = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert static == attnprobe._HOMES
    assert set(attnprobe.__all__) == {*static}


def test_the_package_alone_imports_nothing_heavy():
    code = "import sys, attnprobe; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    root = Path(attnprobe.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout == "set()\n"
