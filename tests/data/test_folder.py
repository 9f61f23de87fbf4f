import os
import pickle
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from attnprobe.data.folder import Folder
from attnprobe.errors import ComponentError, ImageError
from attnprobe.registry import find


@pytest.fixture
def make(tmp_path):
    """Write small pictures below a folder, each of its own grey; other files as text."""

    def write(*names):
        for level, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() in (".png", ".jpg", ".gif"):
                Image.new("L", (2, 2), level).save(path, "PNG")
            else:
                path.write_text("no picture")
        return tmp_path

    return write


def names(*path):
    return [sample.name for sample in Folder(path if len(path) > 1 else path[0])()]


def test_a_folder_in_natural_order_with_its_subfolders(make):
    root = make("img10.png", "img2.png", "Img1.png", "b/2/x.png", "b/10/x.png", "a/z.png")
    assert names(root) == ["a--z", "b--2--x", "b--10--x", "Img1", "img2", "img10"]


def test_other_files_and_hidden_ones_are_passed_over(make):
    root = make(
        "a.png", "notes.txt", ".hidden.png", ".git/b.png", "c.PNG", "x.png/d.png", "noend", "e.npz"
    )
    assert names(root) == ["a", "c", "x.png--d"]


def test_listing_reads_no_pixels_and_reading_reads_the_right_ones(make):
    root = make("0.png", "1.png", "2.png")
    (root / "text.jpg").write_text("no picture")
    *good, bad = Folder(root)()
    for level, sample in enumerate(good):
        assert np.asarray(sample.read()).tolist() == [[[level] * 3] * 2] * 2
        assert sample.truth() is None
        assert sample.where == str(root / f"{level}.png")
    assert bad.name == "text"
    with pytest.raises(ImageError, match=r"text\.jpg: not a picture"):
        bad.read()


def test_samples_can_be_sent_to_another_process(make):
    (sample,) = Folder(make("a.png"))()
    assert pickle.loads(pickle.dumps(sample)).read().size == (2, 2)


def test_a_file(make):
    root = make("deep/a b.png", "deep/c.png")
    assert names(root / "deep/a b.png") == ["a b"]


def test_a_file_whatever_its_name(make):
    root = make("a[1].jpg", "a1.jpg", "what?.png", "whats.png", "picture", ".hidden.png")
    assert names(root / "a[1].jpg") == ["a[1]"]
    assert names(root / "what?.png") == ["what?"]
    assert names(root / "picture") == ["picture"]
    assert names(root / ".hidden.png") == [".hidden"]


def test_patterns(make):
    root = make(
        "a1.jpg", "a2.jpg", "b1.jpg", "a.txt", ".a3.jpg", "d/a4.jpg", "d/e/a5.jpg", ".f/a6.jpg"
    )
    assert names(root / "a*") == ["a1", "a2"]
    assert names(root / "[ab]1.jpg") == ["a1", "b1"]
    assert names(root / "*/*.jpg") == ["d--a4"]
    assert names(root / "**/a*.jpg") == ["a1", "a2", "d--a4", "d--e--a5"]
    assert names(root / "**") == ["a1", "a2", "b1", "d--a4", "d--e--a5"]
    assert names(root / "d/**/*.jpg") == ["a4", "e--a5"]


def test_brackets_of_a_folder_that_exists_make_no_pattern(make):
    root = make("run[1]/a.jpg", "run1/b.jpg")
    assert names(root / "run[1]") == ["a"]
    assert names(root / "run[1]/*.jpg") == ["a"]
    assert names(root / "run[12]/*.jpg") == ["run1--b"]


def test_relative_paths_and_the_home_directory(make, monkeypatch):
    root = make("p/a.png")
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", str(root))
    for path in ("p", "p/a.png", "p/*.png", "./p/../p", "~/p", "~/p/*"):
        (sample,) = Folder(path)()
        assert sample.name == "a"
        assert Path(sample.where).is_absolute()


def test_a_list_keeps_its_order_and_has_no_file_twice(make):
    root = make("b.png", "a.png", "c/2.png", "c/10.png")
    assert names(root / "c", root / "b.png") == ["c--2", "c--10", "b"]
    assert names(root / "b.png", root / "*.png") == ["b", "a"]
    assert names(root / "c/2.png", root / "c/10.png") == ["2", "10"]


def test_names_are_unique(make):
    root = make("a.png", "a.jpg", "b.gif", "c--d.png", "c/d.png", "c/e.png")
    assert names(root) == ["a.jpg", "a.png", "b", "c--d.png", "c--e", "c--d.png-2"]


@settings(max_examples=60, deadline=None)
@given(
    st.sets(
        st.builds(
            "".join,
            st.tuples(
                st.sampled_from(["", "a/", "a--", "a/b/", "a/b--"]),
                st.sampled_from(["a", "b", "a.png", "b.png-2", "1", "10"]),
                st.sampled_from([".png", ".jpg", ".PNG"]),
            ),
        ),
        min_size=1,
    )
)
def test_every_file_is_listed_once_under_a_name_of_its_own(paths):
    with tempfile.TemporaryDirectory() as root:
        for path in paths:
            file = Path(root, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        samples = Folder(root)()
    assert {sample.where for sample in samples} == {str(Path(root, path)) for path in paths}
    assert len({sample.name for sample in samples}) == len(paths)
    assert not any(os.sep in sample.name for sample in samples)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 2000), min_size=2))
def test_numbers_come_in_order(numbers):
    with tempfile.TemporaryDirectory() as root:
        for number in numbers:
            Path(root, f"{number}.png").touch()
        listed = [int(sample.name) for sample in Folder(root)()]
    assert all(one < next for one, next in pairwise(listed))


def test_links_are_followed_but_not_in_circles(make):
    root = make("a/1.png", "b/2.png")
    for name in ("loop", "again", "more"):
        (root / "a" / name).symlink_to(root)
        (root / "b" / name).symlink_to(root / "a")
    assert names(root) == ["a--1", "b--2"]
    assert names(root / "**/*.png") == ["a--1", "b--2"]
    assert names(root / "b/more/more/b") == ["2", "again--1"]


def test_a_link_to_a_folder_elsewhere_is_entered(make):
    root = make("elsewhere/1.png", "here/2.png")
    (root / "here/more").symlink_to(root / "elsewhere")
    assert names(root / "here") == ["2", "more--1"]


def test_a_link_to_nowhere_is_listed_and_fails_when_read(make):
    root = make("a.png")
    (root / "b.png").symlink_to(root / "nowhere.png")
    assert names(root) == ["a", "b"]
    with pytest.raises(ImageError, match=r"b\.png: can't be read: No such file"):
        Folder(root)()[1].read()


def test_a_name_that_is_no_text(make):
    root = make("a.png")
    (root / "a.png").rename(os.fsdecode(os.fsencode(root) + b"/\xff.png"))
    (sample,) = Folder(root)()
    assert sample.name == "?"
    assert sample.where.encode() == f"{root}/?.png".encode()
    assert sample.read().size == (2, 2)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("empty", "no images in this folder"),
        ("only-text", "no images in this folder"),
        ("missing.png", "no such file, nor any that matches"),
        ("missing/*.png", "no such file, nor any that matches"),
        ("only-text/*", "no such file, nor any that matches"),
    ],
)
def test_nothing_there(make, path, fault):
    root = make("only-text/notes.txt")
    (root / "empty").mkdir()
    with pytest.raises(ImageError) as caught:
        Folder(root / path)()
    assert str(caught.value).startswith(f"{root / path}: {fault}; allowed: .jpg .jpeg .png")


def test_what_can_not_be_searched(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.txt").touch()
    for path in ("pipe", "notes.txt/*"):
        with pytest.raises(ImageError, match=r": can't be searched: Not a directory"):
            Folder(tmp_path / path)()


def test_no_permission(make, unprivileged):
    root = make("a.png", "b/c.png")
    (root / "b").chmod(0)
    for path in (root, root / "b", root / "b/*"):
        with unprivileged(), pytest.raises(ImageError) as caught:
            Folder(path)()
        assert str(caught.value) == f"{path}: can't be searched: Permission denied"


def test_a_name_too_long_for_any_file(tmp_path):
    with pytest.raises(ImageError, match="aaa: "):
        Folder(tmp_path / ("a" * 300))()


@pytest.mark.parametrize("path", ["", (), ("",), 3, None])
def test_parameters(path):
    with pytest.raises(ComponentError, match=r"Folder\.path"):
        Folder(path)


def test_the_registry_has_it(make):
    root = make("a.png")
    assert find("sources", "folder")(path=[str(root)]).path == (str(root),)
