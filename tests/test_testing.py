"""The checks themselves: all of ours pass, and each breach of the contract is told."""

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from attnprobe import AttentionField, AttnProbeError, Segmentation, testing
from attnprobe.data.base import Classes, Drawing, Sample, no_truth
from attnprobe.fields import WordMaps
from attnprobe.registry import KINDS, entries
from attnprobe.testing import check_grouper, check_source, sample_fields, sample_words
from tests.data import miniatures, test_bsds500

OURS = [entry for kind in KINDS for entry in entries(kind) if entry.package == "attnprobe"]


def people_in(folder):
    """BSDS500 in miniature."""
    test_bsds500.write(folder)
    return {"root": str(folder)}


def saved(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (13, 9), "teal").save(path)
    return path


def rows_of(picture):
    """The folder of a dataset of the hub's form that holds the picture."""
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.Dataset.from_list([{"image": str(picture)}], features=features)
    rows.to_parquet(picture.parent / "rows" / "validation.parquet")
    return str(picture.parent / "rows")


def rooted(mini, folder):
    """A benchmark in miniature."""
    mini.write(folder)
    return {"root": str(folder)}


REQUIRED = {
    "sklearn": lambda folder: {"estimator": "DBSCAN"},
    "prompts": lambda folder: {"prompts": ("a red disc", "a blue ring")},
    "folder": lambda folder: {"path": str(saved(folder / "1.png").parent)},
    "domainnet": lambda folder: (
        {"root": str(saved(folder / "real/ant/1.jpg").parents[2])} | {"styles": "real"}
    ),
    "bsds500": people_in,
    "hf": lambda folder: {"path": rows_of(saved(folder / "1.png")), "label": None},
    **{mini.use: partial(rooted, mini) for mini in reversed(miniatures.ALL) if not mini.keys},
}
"""Parameters of components that have no defaults, by name, and the files that they read."""


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: f"{entry.kind}.{entry.name}")
def test_each_of_ours_keeps_the_contract(entry, tmp_path):
    check = getattr(testing, f"check_{entry.kind.removesuffix('s')}")
    required = REQUIRED if entry.kind != "labellers" else {}  # of which none requires any
    parameters = required[entry.name](tmp_path) if entry.name in required else {}
    check(entry.component(**parameters))


@dataclass(frozen=True)
class Halves:
    """The left half and the right.

    Args:
        first: the left one's number.
    """

    first: int = 0

    def __call__(self, field, *, rng, truth=None):
        labels = np.full(field.grid, self.first)
        labels[:, field.grid[1] // 2 :] = 1
        return Segmentation(labels)


def test_labels_alone_are_enough():
    check_grouper(Halves())


@dataclass
class Thawed:
    """Not frozen."""


@dataclass(frozen=True)
class Silent(Halves):
    first: int = 0


@dataclass(frozen=True)
class Terse(Halves):
    """Says nothing of its field."""


class Variant(Halves):
    """Of a test.

    Args:
        first: number.
    """


class Wrong(Variant):
    def __call__(self, field, *, rng, truth=None):
        return Segmentation(np.zeros((field.grid[0] + 1, field.grid[1]), int))


class Bare(Variant):
    def __call__(self, field, *, rng, truth=None):
        return np.zeros(field.grid, int)


class Moody(Variant):
    def __call__(self, field, *, rng, truth=None):
        return Segmentation(np.random.randint(9, size=field.grid))  # noqa: NPY002


class Scribbler(Variant):
    def __call__(self, field, *, rng, truth=None):
        field.rows[0] = field.rows[1]
        return super().__call__(field, rng=rng)


class TruthScribbler(Variant):
    def __call__(self, field, *, rng, truth=None):
        if truth is not None:
            truth[truth < 0] = 0
        return super().__call__(field, rng=rng)


class Contrary(Variant):
    def __call__(self, field, *, rng, truth=None):
        answer = super().__call__(field, rng=rng)
        maps = torch.stack([torch.from_numpy(answer.labels == k).float() for k in (1, 0)])
        return replace(answer, proposals=maps)


class Misnamed(Variant):
    def __call__(self, field, *, rng, truth=None):
        return replace(super().__call__(field, rng=rng), names={"0": "left"})


class Literal(Variant):
    def __call__(self, field, *, rng, truth=None):
        labels = np.zeros(field.grid, int)
        if truth is not None:
            labels[0, 0] = truth.max()
        return Segmentation(labels)


class Infinite(Variant):
    def __call__(self, field, *, rng, truth=None):
        return Segmentation(np.zeros(field.grid, int), torch.full((1, *field.grid), np.inf))


class Slow(Variant):
    def __call__(self, field, *, rng, truth=None):
        __import__("time").sleep(0.02)
        return super().__call__(field, rng=rng)


class Square(Variant):
    def __call__(self, field, *, rng, truth=None):
        if field.grid[0] != field.grid[1]:
            raise ValueError("square only")
        return super().__call__(field, rng=rng)


class Choosy(Variant):
    def __call__(self, field, *, rng, truth=None):
        if field.grid == (3, 7):
            raise AttnProbeError("not this one")
        return super().__call__(field, rng=rng)


class Strict(Variant):
    def __call__(self, field, *, rng, truth=None):
        if len(field.rows) < 21 or truth is None:
            raise AttnProbeError("too small, or no truth")
        return super().__call__(field, rng=rng)


@dataclass(frozen=True)
class Unpicklable(Halves):
    """Holds what pickle can't.

    Args:
        first: number.
        how: function.
    """

    how: object = field(default_factory=lambda: lambda: 0)


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (Halves, "give an instance, not the class"),
        (Thawed(), "Thawed: must be a frozen dataclass"),
        (Silent(), "Silent: must have a docstring"),
        (Terse(), "Terse: its docstring has no 'Args:' line for first"),
        (Unpicklable(), "Unpicklable: must survive pickling"),
        (Wrong(), r"Wrong on the field 'blobs' .*must have the field's grid \(8, 8\)"),
        (Bare(), "must answer with a Segmentation"),
        (Moody(), "two calls with one rng seed gave different labels"),
        (Scribbler(), "wrote into the field"),
        (TruthScribbler(), "with a truth: it wrote into the truth"),
        (Contrary(), "labels must be the proposals' argmax"),
        (Infinite(), "proposals must be finite"),
        (Misnamed(), "names must go from numbers to text. Got '0': 'left'"),
        (Literal(), "the numbers of the truth's classes changed the labels"),
        (Square(), "'wide blobs' .*ValueError: square only"),
        (Choosy(), "with a truth: refused ordinary input: not this one"),
    ],
)
def test_each_breach_is_told(component, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_grouper(component)


def test_a_slow_one_is_told():
    with pytest.raises(AssertionError, match="s, more than "):
        check_grouper(Slow(), seconds=0.01)


def test_degenerate_fields_may_be_refused():
    check_grouper(Strict())


def test_the_fields_are_of_all_sorts():
    fields = sample_fields()
    assert {f.grid[0] * f.grid[1] for f in fields.values()} >= {1, 2, 64}
    assert any(f.grid[0] != f.grid[1] for f in fields.values())
    assert any((f.rows == 0).any() for f in fields.values())


ASKED = []


@dataclass(frozen=True)
class OfWords:
    """Each cell to the word that it looks at the most."""

    def __call__(self, field: WordMaps, *, rng, truth=None):
        ASKED.append(field)
        return Segmentation(field.maps.argmax(0).numpy())


def test_word_maps_are_given_to_those_that_ask_for_them():
    check_grouper(OfWords())
    assert {type(field) for field in ASKED} == {WordMaps}
    assert {field.maps.shape for field in ASKED} == {m.maps.shape for m in sample_words().values()}


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_fields_without_attention_or_with_nan_are_refused_before_any_component(value):
    rows = torch.eye(6)
    rows[2] = value
    with pytest.raises(AttnProbeError, match=r"each row must sum to 1\. Row 2 sums to"):
        AttentionField(rows, (2, 3))
    if value == float("inf"):  # NaN may be looked at, but `Pipeline` gives it to no component
        with pytest.raises(AttnProbeError, match="values must be finite and 0 or more"):
            WordMaps(rows.view(6, 2, 3), tuple("abcdef"))


def board(cells):
    return Image.fromarray(np.full((cells, 8, 3), 99, np.uint8))


def labels(rows, value=0):
    return np.full((rows, 8), value)


def people(*values):
    return tuple(labels(4, value) for value in values)


READ = partial(board, 4)


def sample(name="one", read=READ, truth=no_truth):
    return Sample(name, read, truth, "here")


def noisy():
    return Image.fromarray(np.random.default_rng().integers(0, 255, (4, 8, 3), np.uint8))


def fails():
    raise ValueError("no such file")


LISTS = {
    "good": [
        sample(),
        sample("folder/true", truth=partial(labels, 4, -1)),
        sample("drawn", partial(Drawing, "a cat", 2, 1.0, 0)),
    ],
    "two classes": [sample(truth=partial(labels, 4, 1))],
    "none": [],
    "numbers": [3],
    "equal names": [sample(), sample()],
    "above": [sample("../one")],
    "absolute": [sample("/one")],
    "colon": [sample("a:b")],
    "nameless": [sample("")],
    "failing": [sample(read=fails)],
    "noisy": [sample(read=noisy)],
    "lambda": [sample(read=lambda: board(4))],
    "grey": [sample(read=partial(Image.new, "L", (8, 4)))],
    "array": [sample(read=partial(labels, 4))],
    "large truth": [sample(truth=partial(labels, 5))],
    "soft truth": [sample(truth=partial(labels, 4, 0.5))],
    "people": [sample(truth=partial(people, 1, 3))],
    "nobody": [sample(truth=partial(people))],
    "soft person": [sample(truth=partial(people, 1, 0.5))],
    "low truth": [sample(truth=partial(labels, 4, -2))],
    "high truth": [sample(truth=partial(labels, 4, 2))],
}


@dataclass(frozen=True)
class Boards:
    """A source of the tests.

    Args:
        of: which list.
    """

    of: str = "good"

    def __call__(self):
        return LISTS[self.of]


class Known(Boards):
    classes = Classes(("a", "b"))


class Fresh(Boards):
    def __call__(self):
        return [sample(f"{np.random.default_rng().integers(10**9)}")]


class Refusing(Boards):
    def __call__(self):
        raise AttnProbeError("no such folder")


class Dozing(Boards):
    def __call__(self):
        __import__("time").sleep(0.02)
        return super().__call__()


def test_a_source_of_pictures_truths_and_drawings():
    check_source(Boards())
    check_source(Known("two classes"))
    check_source(Boards("people"))


@pytest.mark.parametrize(
    ("component", "sentence"),
    [
        (Boards, "give an instance, not the class"),
        (Boards("none"), "Boards: must list one sample, or raise"),
        (Boards("numbers"), "Boards: must list samples. Got list"),
        (Refusing(), "Refusing: listed nothing: no such folder"),
        (Fresh(), "two calls listed different samples"),
        (Boards("equal names"), "names must differ"),
        (Boards("above"), "'../one' can't name a file"),
        (Boards("absolute"), "'/one' can't name a file"),
        (Boards("colon"), "'a:b' can't name a file"),
        (Boards("nameless"), "'' can't name a file"),
        (Boards("failing"), "Boards's sample 'one': ValueError: no such file"),
        (Boards("noisy"), "reading it twice gave different pictures"),
        (Boards("lambda"), "sample 'one': must survive pickling"),
        (Boards("grey"), "in mode RGB, .*Got L"),
        (Boards("array"), "in mode RGB, .*Got ndarray"),
        (Boards("large truth"), r"picture's size \(4, 8\). Got \(5, 8\)"),
        (Boards("soft truth"), "array of whole numbers"),
        (Boards("nobody"), "the truth is a tuple of none"),
        (Boards("soft person"), "array of whole numbers, or several"),
        (Boards("low truth"), "must be -1 or more. Got -2"),
        (Known("high truth"), "class 2 of a source with 2 classes"),
    ],
)
def test_each_breach_of_a_source_is_told(component, sentence):
    with pytest.raises(AssertionError, match=sentence):
        check_source(component)


def test_a_source_that_takes_long_is_told():
    with pytest.raises(AssertionError, match="s to list, more than "):
        check_source(Dozing(), seconds=0.01)
