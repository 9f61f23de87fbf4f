"""Every notebook runs, and what it stores is what a run shows."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell):
    """What a cell shows, by kind; what libraries say on standard error is left out."""
    return [
        (output.output_type, sorted(output.get("data", {})))
        for output in cell.outputs
        if output.get("name") != "stderr"
    ]


def test_there_is_one():
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_is_stored(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
    for before, after in zip(code_cells(stored), code_cells(fresh), strict=True):
        assert before.execution_count == after.execution_count
        assert kinds(before) == kinds(after), before.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_small_and_stores_no_noise(path):
    assert path.stat().st_size < 300_000
    nbformat.validate(notebook := nbformat.read(path, as_version=4))
    shown = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert shown
    assert not [output for output in shown if output.get("name") == "stderr"]
