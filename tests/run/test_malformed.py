"""Run folders of another form: whatever is in a file, what reads it answers in a sentence."""

import io
import json
import os
import shutil
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from rich.console import Console

from attnprobe.errors import AttnProbeError, RunError
from attnprobe.export.run import export_run
from attnprobe.recipe import load_recipe
from attnprobe.run.compare import compare
from attnprobe.run.folder import RunFolder
from attnprobe.run.kept_maps import load_maps
from attnprobe.run.measured import measured
from attnprobe.run.rerun import repetition
from attnprobe.run.results import Results
from attnprobe.run.resume import earlier_run, refuse_to_replace
from attnprobe.view.report import report_html
from attnprobe.view.report_run import ShownRun
from attnprobe.view.server.app import Gallery
from attnprobe.view.terminal.comparison import show_comparison
from attnprobe.view.terminal.runs import show_results
from tests.damage import damages, examples, in_time
from tests.run.conftest import run_of

JSON_FILES = ("images.json", "summary.json", "timings.json", "environment.json")
FILES = (*JSON_FILES, "failures.jsonl", "progress.jsonl", "scores.parquet", "recipe.yaml")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two scenes, one of which failed."""
    recipe = load_recipe("diffseg", ["images={use: scenes, count: 2}"])
    bad, good = recipe.samples()

    def fail():
        raise OSError("away")

    output = tmp_path_factory.mktemp("finished") / "run"
    changes = "images={use: scenes, count: 2}"
    done = run_of(changes, output=output, samples=[replace(bad, read=fail), good])
    list(done)
    (done.folder.path / "progress.jsonl").write_text(
        json.dumps(done.results.outcomes[1].line()) + "\n"
    )
    return done.folder.path


@pytest.fixture
def whole(finished, tmp_path):
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def readers(path):
    """All that reads a run's folder."""
    folder, console = RunFolder(path), Console(file=io.StringIO())
    recipe = load_recipe("diffseg", ["images={use: scenes, count: 2}"])
    return [
        lambda: Results.load(folder).summary(),
        lambda: Results.load(folder).table(),
        lambda: show_results(Results.load(folder), console),
        lambda: show_comparison(compare([path, path]), console),
        lambda: measured(folder),
        lambda: refuse_to_replace(folder),
        lambda: earlier_run(folder, recipe, recipe.samples()),
        lambda: repetition(folder, folder),
        lambda: report_html(ShownRun.load(path)),
        lambda: export_run(path, "rle", path / "export" / "rle"),
        lambda: Gallery([ShownRun.load(path)]).entries[0].scores,
    ]


def assert_only_sentences(path):
    """Every reader answers, or says what is wrong; how many said so."""
    said = 0
    for read in readers(path):
        try:
            read()
        except AttnProbeError:
            said += 1
    return said


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\x1b[31m", "../../x", "scene-test-0000", 10**30]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, path=()):
    """The paths of all values within one."""
    yield path
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        yield from places(inner, (*path, key))


def put(value, path, new):
    if not path:
        return new
    value = dict(value) if isinstance(value, dict) else list(value)
    value[path[0]] = put(value[path[0]], path[1:], new)
    return value


@settings(max_examples=examples(20), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_is_read_or_told(whole, tmp_path_factory, data):
    path = tmp_path_factory.mktemp("malformed") / "run"
    shutil.copytree(whole, path)
    name = data.draw(st.sampled_from(FILES))
    if name == "recipe.yaml":
        text = (path / name).read_text()
        cut = data.draw(st.integers(0, len(text)))
        (path / name).write_text(text[:cut] + data.draw(st.text(max_size=20)) + text[cut + 5 :])
    elif name == "scores.parquet":
        rows = parquet.read_table(path / name).to_pylist()
        where = data.draw(st.sampled_from(sorted(rows[0])))
        new = data.draw(values)
        table = pa.Table.from_pylist(
            [{key: v for key, v in row.items() if key != where} for row in rows]
        )
        with suppress(pa.ArrowException, OverflowError):
            table = table.append_column(where, pa.array([new] * len(rows)))
            parquet.write_table(table, path / name)  # not every value can be written
    else:
        text = (path / name).read_text()
        lines = text.splitlines() if name.endswith(".jsonl") else [text]
        value = json.loads(lines[0])
        where = data.draw(st.sampled_from(list(places(value))))
        lines[0] = json.dumps(put(value, where, data.draw(values)))
        (path / name).write_text("\n".join(lines) + "\n")
    assert_only_sentences(path)
    shutil.rmtree(path.parent)


@damages([*FILES, "labels/{}.png", "overlays/{}.png", "maps/{}.npz"])
def test_a_damaged_file_is_read_or_told(whole, name, damage):
    image = next((whole / "labels").iterdir()).stem
    damage(whole / name.format(image))
    assert in_time(lambda: assert_only_sentences(whole))


@pytest.mark.parametrize("kind", ["labels/{}.png", "overlays/{}.png"])
def test_a_picture_that_is_a_link_to_itself_is_told(whole, kind):
    image = next((whole / "labels").iterdir()).stem
    path = whole / kind.format(image)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(RunError, match="can't be read: a link that leads in a circle"):
        ShownRun.load(whole)._inside(path)
    assert_only_sentences(whole)


@pytest.mark.parametrize("key", ["ari", "fp", "valid", "segments"])
def test_a_line_that_lacks_a_number_beside_its_others_is_told(whole, key):
    path = whole / "progress.jsonl"
    line = json.loads(path.read_text())
    del line[key]
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(RunError, match=f"(one of its rows lacks '{key}'|can't be read)"):
        Results.load(RunFolder(whole))


@pytest.mark.parametrize("name", [*FILES, "labels/{}.png", "overlays/{}.png", "maps/{}.npz"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_a_file_s_place_is_told(whole, name, make):
    image = next((whole / "labels").iterdir()).stem
    path = whole / name.format(image)
    path.unlink()
    make(path)
    said = []
    assert in_time(lambda: said.append(assert_only_sentences(whole)))
    assert len(said) == 1
    with pytest.raises(RunError, match="can't be read"):
        load_maps(path)


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        header((10**12,)),
        header((10**6, 10**6)),
        header((2**40,)) + bytes(100),
        header((50_000_000,)) + bytes(50_000_000),  # 50 kB packed
        header((-1,)),
        header((4,), "|O"),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
)
def test_a_large_array_in_a_small_file_is_told(tmp_path, content):
    path = tmp_path / "a.npz"
    archive(path, roots=content, scales=content, grids=content, picture=content)
    assert path.stat().st_size < 300_000
    with pytest.raises(RunError, match="can't be read"):
        load_maps(path)


def test_a_large_table_in_a_small_file_is_told(whole):
    table = parquet.read_table(whole / "scores.parquet")
    big = pa.concat_tables([table.slice(0, 1)] * 12).combine_chunks()
    columns = {name: pa.array([big[name][0].as_py()] * 11_000_000, big[name].type)
               for name in ("segments",)}  # fmt: skip
    rest = {name: pa.nulls(11_000_000, big[name].type) for name in table.column_names
            if name not in columns}  # fmt: skip
    parquet.write_table(pa.table({**rest, **columns}), whole / "scores.parquet")
    assert (whole / "scores.parquet").stat().st_size < 500_000
    with pytest.raises(RunError, match="are too many"):
        Results.load(RunFolder(whole))


def test_names_that_move_a_terminal_s_cursor_are_shown_as_letters(whole):
    evil = "\x1b[2J\x1b]0;owned\x07"
    for name in ("failures.jsonl", "images.json"):
        text = (whole / name).read_text()
        (whole / name).write_text(text.replace("scene-test-0000", json.dumps(evil)[1:-1]))
    file = io.StringIO()
    show_results(Results.load(RunFolder(whole)), Console(file=file, force_terminal=False))
    assert "?[2J" in file.getvalue()
    assert not {"\x1b", "\x07"} & set(file.getvalue())


def test_a_name_in_an_error_is_shown_as_letters(attnprobe):
    status, _, err = attnprobe("report", "no\x1b[31msuch")
    assert status == 2
    assert err == "error: no?[31msuch: no such folder\n"


@pytest.mark.parametrize("command", ["view", "report", "compare", "rerun"])
@pytest.mark.parametrize("name", ["summary.json", "scores.parquet", "images.json"])
def test_commands_say_it_in_a_sentence(whole, attnprobe, command, name):
    (whole / name).write_bytes(b'{"images": {}, "mean": 3, "name": [1')
    status, out, err = attnprobe(command, whole)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "unexpected" not in err
