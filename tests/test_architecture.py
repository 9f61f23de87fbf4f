"""The order of the house: imports point one way, and no folders import each other in a circle."""

import sys
from importlib import import_module
from itertools import groupby
from pathlib import Path

import grimp
import pytest
from importlinter import cli

ROOT = Path(__file__).parents[1]

PAIRS: dict[frozenset[str], str] = {
    frozenset({"attnprobe.hooks.records", "attnprobe.hooks.storage"}): "a value saves itself"
}
"""Files that may import each other, and why."""


@pytest.fixture(scope="module")
def graph():
    """All imports, those inside functions and for type checkers too."""
    return grimp.build_graph("attnprobe", cache_dir=None)


def circles(imports):
    """The circles of a graph, given as node -> those that it imports: each a set of nodes."""
    reached = {node: {node} for node in imports}
    changed = True
    while changed:
        changed = False
        for node, others in reached.items():
            more = others.union(*(imports[other] for other in others))
            changed |= more != others
            reached[node] = more
    alike = {
        node: frozenset(o for o in others if node in reached[o]) for node, others in reached.items()
    }
    return {circle for circle in alike.values() if len(circle) > 1}


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {frozenset("bc")}
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == set()


def test_imports_keep_to_the_layers(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    status = cli.lint_imports(no_cache=True)
    assert status == cli.EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_no_folders_import_each_other_in_a_circle(graph):
    def room(module):
        return ".".join(module.split(".")[:2])

    imports = {}
    for name, modules in groupby(sorted(graph.modules, key=room), key=room):
        found = {room(o) for m in modules for o in graph.find_modules_directly_imported_by(m)}
        imports[name] = found - {name}
    assert circles(imports) == set()


def test_files_that_import_each_other_are_known(graph):
    imports = {m: set(graph.find_modules_directly_imported_by(m)) for m in graph.modules}
    assert circles(imports) == set(PAIRS)


def test_no_name_hides_a_module(graph):
    names = sorted(graph.modules - {"attnprobe.__main__"})
    for name in names:
        import_module(name)
    parts = [name.rpartition(".") for name in names if "." in name]
    hidden = [
        f"{parent}.{leaf}"
        for parent, _, leaf in parts
        if getattr(sys.modules[parent], leaf) is not sys.modules[f"{parent}.{leaf}"]
    ]
    assert hidden == []
