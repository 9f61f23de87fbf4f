"""The recipes for the two benchmarks of the paper, on miniatures and with the embedded model."""

import numpy as np
import pytest
from pyarrow import parquet

from attnprobe import cli
from attnprobe.errors import ImageError
from attnprobe.recipe import load_recipe
from tests.data.miniatures import COCO
from tests.data.test_benchmarks import of

BENCHMARKS = [("coco-stuff-27", 1.1, "data/coco"), ("cityscapes-27", 0.9, "data/cityscapes")]


@pytest.mark.parametrize(("name", "threshold", "root"), BENCHMARKS)
def test_the_recipe_is_the_published_setting_and_valid_without_the_data(name, threshold, root):
    recipe, base = load_recipe(name), load_recipe("diffseg-512")
    assert recipe.group.thresholds == (threshold,) * 3
    assert (recipe.model, recipe.probe) == (base.model, base.probe)
    assert (recipe.aggregate, recipe.refine, recipe.seed) == (base.aggregate, base.refine, 0)
    (source,) = recipe.sources
    assert (source.root, source.split, source.count) == (root, "val", None)
    with pytest.raises(ImageError, match=rf"{root}: no such folder; the dataset is had from http"):
        recipe.samples()


def test_a_run_scores_the_pictures_and_passes_over_the_faulty_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mini = of("coco-stuff-27")
    truths = mini.write(tmp_path / "coco")
    mini.write_label(tmp_path / "coco", COCO[1], np.full((23, 37), 200))
    changes = ["images.root=coco", "model.preset=tiny", "probe.size=128", "group.anchors=4"]
    words = [word for change in changes for word in ("--set", change)]
    with pytest.raises(SystemExit) as end:
        cli.main(["run", "coco-stuff-27", *words, "--no-cache", "--quiet", "-o", "run"])
    assert end.value.code == 1
    assert f"{COCO[1]}.png: labels must be among" in (tmp_path / "run/failures.jsonl").read_text()
    rows = parquet.read_table("run/scores.parquet").to_pylist()
    assert [row["image"] for row in rows] == [COCO[0], COCO[2]]
    for row in rows:
        square = truths[row["image"]][:, 7:30]  # the centre square of 37×23
        occurring = np.flatnonzero(np.add(row["tp"], row["fn"]))
        assert occurring.tolist() == sorted({*square.flat} - {-1})
        assert 0 < row["acc"] <= 1
