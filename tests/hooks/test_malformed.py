"""Captures that somebody has damaged or made up: a sentence, and never another error."""

import copy
import json
import os
import random
from contextlib import suppress

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import attnprobe as ap
from attnprobe import AttnProbeError
from attnprobe.errors import CaptureError
from attnprobe.hooks import Keep, TokenMaps, TopK, load_capture, recorders
from tests.conftest import small_unet
from tests.damage import copied, damages, in_time
from tests.hooks.zoo import CASES

JUNK = [
    None, True, False, 0, 1, -1, 3, 10**30, -(10**30), 1.5, float("nan"), float("inf"), "", "x",
    "é\x1b[31m", "__class__", "__setattr__", [], [1], [[]], {}, {"use": "HeadMean"}, "0", "mean",
    [0, 0, 0], [["image", 0, 1]], "9" * 5000,
]  # fmt: skip


def saved(path, keep, kind, name="UNet2DConditionModel"):
    if name == "UNet2DConditionModel":
        model, given = small_unet(), (torch.randn(2, 4, 8, 12), 500, torch.randn(2, 7, 24))
        inputs: dict = {}
    else:
        case = next(case for case in CASES if case.name == name)
        model, given, inputs = case.build(), (), case.inputs()
    with torch.no_grad(), ap.capture(model, ap.Layers(kind=kind), keep) as capture:
        model(*given, **inputs)
    capture.save(path)
    with safe_open(path, "pt") as file:
        return file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Header and tensors of five captures that are whole."""
    folder = tmp_path_factory.mktemp("captures")
    kinds = [
        (None, "self"),
        (TokenMaps({"cat": (1,), "sofa": (2, 3)}), "cross"),
        (TopK(3), "self"),
        (Keep("q", "probs"), "cross"),
    ]
    found = [saved(folder / "c.safetensors", keep, kind) for keep, kind in kinds]
    return [*found, saved(folder / "c.safetensors", None, "joint", "Lumina2Transformer2DModel")]


def places(value, path=()):
    """Every place in a JSON value, as keys and numbers that lead there."""
    yield path
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from places(item, (*path, key))


def damaged(value, draw: random.Random):
    """The value with one place in it gone, replaced, or there twice."""
    value = copy.deepcopy(value)
    path = draw.choice([*places(value)])
    if not path:
        return draw.choice(JUNK)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    change = draw.choice(["gone", "replaced", "replaced", "twice"])
    if change == "gone":
        del inside[path[-1]]
    elif change == "twice" and isinstance(inside, list):
        inside.insert(path[-1], copy.deepcopy(inside[path[-1]]))
    else:
        inside[path[-1]] = draw.choice(JUNK)
    return value


def use(records) -> None:
    """All that one does with a capture."""
    asked = [lambda: (repr(records), records.layers, records.branches, records.nbytes)]
    for name in records:
        asked += [lambda name=name: records[name], lambda name=name: records.at(name)]
    for ask in (*asked, records.fields, records.words):
        with suppress(AttnProbeError):
            ask()


def load_and_use(path) -> bool:
    """Whether the file is taken; what is not must be refused, and what is must be usable."""
    with suppress(CaptureError):
        use(load_capture(path))
        return True
    return False


def test_headers_with_one_thing_wrong(captures, tmp_path):
    """Four hundred of them, each loaded and gone through."""
    path, draw, before = tmp_path / "c.safetensors", random.Random(0), dict(vars(recorders))
    taken = 0
    for number in range(400):
        header, tensors = captures[number % len(captures)]
        header = dict(header)
        part = draw.choice(["records", "records", "records", "keep", "over_steps", "model"])
        if part in ("records", "keep"):
            header[part] = json.dumps(damaged(json.loads(header[part]), draw))
        elif draw.random() < 0.5:
            del header[part]
        else:
            header[part] = draw.choice(["", "mean", "each", "x", "9" * 5000])
        if draw.random() < 0.1:
            tensors = dict(list(tensors.items())[1:]) or {"0": torch.zeros(1)}
        save_file(tensors, path, metadata=header)
        taken += load_and_use(path)
    assert dict(vars(recorders)) == before
    assert 0 < taken < 150  # such as another number of calls


def test_bytes_that_are_changed(captures, tmp_path):
    path, draw = tmp_path / "c.safetensors", random.Random(1)
    for number in range(200):
        header, tensors = captures[number % len(captures)]
        save_file(tensors, path, metadata=header)
        data = bytearray(path.read_bytes())
        end = 8 + int.from_bytes(data[:8], "little")
        for _ in range(draw.randint(1, 3)):
            data[draw.randrange(end)] = draw.randrange(256)
        path.write_bytes(data)
        load_and_use(path)


def test_the_table_holds_every_recorder():
    from attnprobe.hooks.header import RECORDERS

    ours = {
        name: cls
        for name, cls in vars(recorders).items()
        if isinstance(cls, type) and issubclass(cls, recorders.Recorder)
    }
    del ours["Recorder"]
    assert ours == RECORDERS


@pytest.mark.parametrize(
    ("keep", "sentence"),
    [
        (
            {"use": "__setattr__", "tensors": ["HeadMean", "x"]},
            r"recorder must be one of Entropy.*",
        ),
        ({"use": "__delattr__", "tensors": ["Entropy"]}, r"Got '__delattr__'"),
        ({"use": "HeadMean", "bogus": 1}, "unexpected keyword argument 'bogus'"),
        ({"use": "TopK", "k": 0}, r"TopK.k"),
        ({"use": "Keep", "tensors": ["__dict__"]}, "tensors must be of q, k"),
        ([], "Input should be an object"),
    ],
)
def test_recorders_that_there_are_not(captures, tmp_path, keep, sentence):
    header, tensors = captures[0]
    path, before = tmp_path / "c.safetensors", dict(vars(recorders))
    save_file(tensors, path, metadata=header | {"keep": json.dumps(keep)})
    with pytest.raises(CaptureError, match=rf"is a damaged capture: .*{sentence}"):
        load_capture(path)
    assert dict(vars(recorders)) == before


def test_json_too_deep_and_numbers_too_long(captures, tmp_path):
    header, tensors = captures[0]
    path = tmp_path / "c.safetensors"
    for text in ("[" * 100_000, '{"a":' * 100_000, "9" * 100_000, "[" + "9" * 5000 + "]", "\x00"):
        for part in ("keep", "records"):
            save_file(tensors, path, metadata=header | {part: text})
            with pytest.raises(CaptureError, match="is a damaged capture"):
                load_capture(path)


@pytest.fixture(scope="module")
def saved_files(captures, tmp_path_factory):
    """The captures as files, by number."""
    folder = tmp_path_factory.mktemp("saved")
    for number, (header, tensors) in enumerate(captures):
        save_file(tensors, folder / f"{number}.safetensors", metadata=header)
    return folder


@damages(f"{number}.safetensors" for number in range(5))
def test_a_damaged_file_is_taken_or_told(saved_files, tmp_path, name, damage):
    path = copied(saved_files, tmp_path / "files") / name
    damage(path)
    assert in_time(lambda: load_and_use(path))


def test_what_is_no_file(captures, tmp_path):
    header, tensors = captures[0]
    path = tmp_path / "c.safetensors"
    save_file(tensors, path, metadata=header)
    loaded = load_capture(path)
    for make, said in ((os.mkfifo, "not a regular file"), (os.mkdir, "Is a directory")):
        path.unlink()
        make(path)
        with pytest.raises(CaptureError, match=f"can't be read as a capture: {said}"):
            load_capture(path)
        with pytest.raises(CaptureError, match=f"can't be read any more: {said}"):
            next(iter(loaded.records.values())).steps[0][0].load()
        if make is os.mkfifo:
            continue
        path.rmdir()
        path.symlink_to(path)
        with pytest.raises(CaptureError, match="Too many levels of symbolic links"):
            load_capture(path)
    with pytest.raises(CaptureError, match="can't be read as a capture"):
        load_capture("a\0b")
