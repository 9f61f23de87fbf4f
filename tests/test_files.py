import pytest

from attnprobe.errors import AttnProbeError
from attnprobe.files import write_whole


def test_a_file_appears_whole_under_its_name(tmp_path):
    path = tmp_path / "a.txt"
    with write_whole(path) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".txt"
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stop", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_what_was_there(tmp_path, stop):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half():
        with write_whole(str(path)) as temporary:
            temporary.write_text("half")
            raise stop

    with pytest.raises(stop):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with write_whole(path) as one, write_whole(path) as two:
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_what_can_not_be_written_is_one_sentence(tmp_path):
    missing = tmp_path / "missing" / "a.txt"
    with pytest.raises(AttnProbeError) as caught, write_whole(missing) as temporary:
        temporary.write_text("new")
    assert str(caught.value) == f"{missing}: can't be written: No such file or directory"
    with pytest.raises(AttnProbeError, match="Is a directory"), write_whole(tmp_path) as temporary:
        temporary.write_text("new")
    (tmp_path / "file").touch()
    with (
        pytest.raises(AttnProbeError, match="Not a directory"),
        write_whole(tmp_path / "file" / "a.txt") as temporary,
    ):
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
