import errno
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnprobe.errors import RunError
from attnprobe.run.journal import Journal

rows = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.floats(0, 1))))


@given(rows=rows, data=st.data())
def test_however_much_of_a_line_is_lost_the_others_stay(tmp_path_factory, rows, data):
    path = tmp_path_factory.mktemp("journal") / "progress.jsonl"
    journal = Journal(path)
    for row in rows:
        journal.add(row)
    assert journal.read() == rows
    whole = path.read_bytes() if rows else b""
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept])
    again = Journal(path)
    left = whole[:kept].count(b"\n")
    assert again.read() == rows[:left]
    again.add({"next": 1})
    assert Journal(path).read() == [*rows[:left], {"next": 1}]
    journal.remove()
    assert not path.exists()


def test_a_line_that_doesn_t_fit_leaves_nothing_of_itself(tmp_path):
    resource = pytest.importorskip("resource")
    journal = Journal(tmp_path / "progress.jsonl")
    journal.add({"first": "x" * 100})
    child = os.fork()
    if not child:  # a limit on files stands for the end of a disk, in a process of its own
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
        try:
            journal.add({"second": "y" * 100})
        except RunError as error:
            os._exit(0 if os.strerror(errno.ENOSPC) in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "progress.jsonl").read_bytes() == b'{"first": "' + b"x" * 100 + b'"}\n'


def test_what_is_no_journal_is_told(tmp_path):
    path = tmp_path / "progress.jsonl"
    path.write_bytes(b"\xff\n")
    with pytest.raises(RunError, match=r"progress\.jsonl: can't be read"):
        Journal(path).read()
