"""Every notebook runs, and what it stores is what a run shows."""

import os
import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from jupyter_client import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def noise(output):
    """What libraries say while they load: standard error, and bars where ipywidgets is there."""
    bar = "application/vnd.jupyter.widget-view+json" in output.get("data", {})
    return bar or output.get("name") == "stderr"


def kinds(cell):
    """What a cell shows, by kind, without noise; printed lines may come together or apart."""
    shown = [
        (output.output_type, sorted(output.get("data", {})))
        for output in cell.outputs
        if not noise(output)
    ]
    pairs = pairwise([None, *shown])
    return [kind for before, kind in pairs if kind != before or kind[0] != "stream"]


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs if not noise(output))


def test_there_is_one():
    assert NOTEBOOKS


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One for all, in which libraries are imported once."""
    manager, hub = KernelManager(kernel_name="python3"), tmp_path_factory.mktemp("hub")
    # No weights but those that come along.
    manager.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HOME": str(hub)})
    yield manager
    manager.shutdown_kernel(now=True)


ANEW = """
%reset -f
from matplotlib_inline.backend_inline import set_matplotlib_formats
set_matplotlib_formats("png")
del set_matplotlib_formats
%cd -q {place}
"""
"""What makes the kernel as a new one: no names, pictures in the usual form."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_is_stored(path, tmp_path, kernel):
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    fresh.cells.insert(0, nbformat.v4.new_code_cell(ANEW.format(place=tmp_path)))
    NotebookClient(fresh, km=kernel, timeout=300).execute()
    counts = [cell.execution_count for cell in code_cells(stored)]
    assert counts == list(range(1, len(counts) + 1)), "it was run from its first cell to its last"
    for before, after in zip(code_cells(stored), code_cells(fresh)[1:], strict=True):
        assert kinds(before) == kinds(after), before.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_stores_no_noise(path):
    assert path.stat().st_size < 1_500_000
    nbformat.validate(notebook := nbformat.read(path, as_version=4))
    shown = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert shown
    assert not [output for output in shown if noise(output)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_names_no_file_of_the_machine_it_ran_on(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in code_cells(notebook):
        plain = [str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs]
        for said in (printed(cell), *plain):
            assert not re.search(r"/(home|root|tmp|work|usr|Users)/|0x[0-9a-f]{6}", said)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        place = os.path.normpath(ROOT / "docs" / "notebooks" / link)  # as pages, not as files
        assert os.path.isfile(place) or "://" in link, link
