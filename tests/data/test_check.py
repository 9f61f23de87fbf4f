"""`attnprobe data check`, on miniatures of every benchmark."""

import pytest
from PIL import Image

from attnprobe import cli
from tests.data.miniatures import ALL, COCO, SIZE
from tests.data.test_benchmarks import by_keys, of

each = pytest.mark.parametrize("mini", ALL, ids=by_keys)


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own: exit status, output, errors."""
    monkeypatch.chdir(tmp_path)

    def check(*arguments):
        with pytest.raises(SystemExit) as end:
            cli.main(["data", "check", *map(str, arguments)])
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return check


@each
def test_all_is_there(mini, tmp_path, check):
    mini.write(tmp_path / "root")
    keys = [word for key, value in mini.keys.items() for word in ("--set", f"{key}={value}")]
    status, out, err = check(mini.use, "--root", "root", *keys)
    assert (status, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == [f"{mini.use}:"]
    assert lines[1][:2] == ["pictures", "3"]
    assert lines[2][:2] == ["labels", "3"]
    assert lines[-2] == ["nothing", "is", "missing"]
    names = ", ".join(sorted(name.rpartition("/")[2] for name in mini.names))
    assert out.endswith(f"samples: {mini.use}-samples.png shows {names}\n")
    with Image.open(f"{mini.use}-samples.png") as sheet:
        assert sheet.width == 3 * round(SIZE[1] * 300 / SIZE[0]) + 4 * 12


@each
def test_what_is_missing_is_named_with_where_it_is_had(mini, tmp_path, check):
    mini.write(tmp_path)
    (tmp_path / mini.label.format(mini.names[0])).unlink()
    (tmp_path / mini.picture.format(mini.names[1])).unlink()
    status, out, err = check(mini.use, "--root", tmp_path, "--save", "x.png")
    assert status == 1
    lines = out.splitlines()
    assert f"  pictures without labels: 1 ({mini.names[0]}); had from http" in out
    what = "listed pictures are not there" if mini.listed else "labels without pictures"
    assert f"  {what}: 1 ({mini.names[1]}); had from http" in out
    assert "nothing is missing" not in lines
    assert err == ""
    assert lines[-1] == f"samples: x.png shows {mini.names[2].rpartition('/')[2]}"


@each
def test_a_whole_folder_is_missing(mini, tmp_path, check):
    mini.write(tmp_path / "root")
    top = mini.label.partition("{")[0].rstrip("/")
    (tmp_path / "root" / top).rename(tmp_path / "away")
    status, out, err = check(mini.use, "--root", "root")
    assert (status, err) == (1, "")
    assert f"  root/{top}" in out
    assert "not there, where the labels should be; had from http" in out
    assert not list(tmp_path.glob("*.png"))


def test_coco_s_list_and_split(tmp_path, check):
    of("coco-stuff-27").write(tmp_path / "root")
    (tmp_path / "ids.txt").write_text(f"{COCO[0]}\n{COCO[1]}\n")
    arguments = ("coco-stuff-27", "--root", "root", "--set", "ids=ids.txt")
    status, out, _ = check(*arguments)
    assert status == 0
    assert f"shows {COCO[0]}, {COCO[1]}\n" in out
    status, out, _ = check(*arguments, "--split", "train")
    assert status == 1
    assert "root/train2017 or root/images/train2017: not there" in out
    (tmp_path / "ids.txt").write_text("".join(f"{n:012d}\n" for n in range(7)))
    status, out, _ = check(*arguments)
    assert status == 1
    listed = "000000000000, 000000000001, 000000000002, 000000000003, 000000000004, …"
    assert f"  listed pictures are not there: 7 ({listed}); had from " in out


def test_a_label_out_of_range_is_told(tmp_path, check):
    mini = of("ade20k")
    mini.write(tmp_path / "root")
    Image.new("L", SIZE[::-1], 151).save(tmp_path / "root" / mini.label.format(mini.names[0]))
    status, out, err = check("ade20k", "--root", "root")
    assert status == 1
    assert "nothing is missing" in out
    assert "ADE_val_00000001.png: labels must be among 0-150. Got 151 instead" in err


def test_nothing_is_left_to_be_shown(tmp_path, check):
    mini = of("ade20k")
    mini.write(tmp_path / "root")
    for label in (tmp_path / "root").rglob("*.png"):
        label.unlink()
    status, out, err = check("ade20k", "--root", "root")
    assert (status, err) == (1, "")
    assert "pictures without labels: 3 (" in out
    assert "samples" not in out


def test_a_folder_of_one_s_own(tmp_path, check):
    for name in ("photos/a.jpg", "photos/b.jpg", "truth/b.png", "truth/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 6)).save(tmp_path / name)
    assert check("folder", "--root", "photos")[0] == 0
    status, out, _ = check("folder", "--root", "photos", "--set", "labels=truth")
    assert status == 1
    assert "  pictures without labels: 1 (a)\n" in out
    assert "  labels without pictures: 1 (c)\n" in out


def test_domainnet(tmp_path, check):
    for style in ("real", "sketch"):
        (tmp_path / style / "zebra").mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / style / "zebra/1.jpg")
    status, out, _ = check("domainnet", "--root", ".", "--set", "styles=[real, sketch]")
    assert status == 0
    assert "shows real--zebra--1, sketch--zebra--1\n" in out
    status, out, _ = check("domainnet", "--root", ".")
    assert status == 1
    assert "clipart: not there, where the pictures should be; had from http" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["coco-stuf-27"], "unknown source 'coco-stuf-27'; did you mean coco-stuff-27"),
        (["scenes"], "scenes: reads no files to be checked; allowed: ade20k, bsds500, camvid, "),
        (
            ["ade20k", "--split", "val"],
            "--split val: ade20k.split: must be 'validation' or 'tr",
        ),
        (["domainnet", "--split", "val"], "--split val: domainnet.split: unknown key"),
        (["ade20k", "--set", "cout=3"], "ade20k.cout: unknown key; did you mean count?"),
        (["ade20k", "--set", "count"], "--set count: must be key=value"),
        (["ade20k"], "none: no such folder; the dataset is had from http://data.csail.mit.edu"),
        (["folder"], "none: no such file, nor any that matches"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(check, arguments, sentence):
    status, out, err = check(*arguments, "--root", "none")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert sentence in err
