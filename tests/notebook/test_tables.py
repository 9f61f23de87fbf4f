import pytest
import torch

import attnprobe as ap
from attnprobe.evaluate import image_scores
from attnprobe.notebook.tables import records_html, results_html
from attnprobe.run import Outcome, Results, RunFolder
from tests.notebook.test_segmentation import Parsed


def cells(html):
    """A table's rows of text."""
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    rows = body.removesuffix("</tr>").split("</tr>")
    return [Parsed(f"<div>{row}</div>".replace("<tr>", "")) for row in rows if row]


def test_a_capture_is_a_row_a_layer(unet):
    with ap.capture(unet, keep=ap.PerHead(heads=(0,))) as captured, torch.no_grad():
        unet(torch.zeros(1, 4, 12, 16), 1, torch.zeros(1, 5, 24))
    html = records_html(captured.records)
    parsed = Parsed(html)
    assert parsed.text.startswith(repr(captured.records))
    assert len(parsed.tags["tr"]) == 1 + len(captured.layers)
    first = captured.layers[0]
    assert f"{first['name']}selfdown{first['heads']}12×161" in parsed.text
    assert "<td>cross</td>" in html


def test_a_capture_before_it_ran(unet):
    html = Parsed(records_html(ap.capture(unet).records))
    assert html.text.startswith("Records(0 layers")
    assert len(html.tags["tr"]) == 1


@pytest.fixture
def results(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder:
        results = Results(folder, "a <recipe>", ["good", "bad", "free", "<img src=x>", "left"])
        truth = torch.tensor([[0, 0, 1, 1]]).numpy()
        results.take(
            [
                Outcome("good", "", 0.1, 2, image_scores(truth, truth)),
                Outcome("bad", "", 0.1, 1, image_scores(0 * truth, truth)),
                Outcome("free", "", 0.1, 7),
                Outcome("<img src=x>", "", 0.1, error="can't be <read>"),
            ]
        )
        yield results


def test_a_run_is_a_row_an_image_worst_first(results):
    html = results_html(results)
    parsed = Parsed(html)
    assert parsed.text.startswith(
        "a <recipe>: 3 of 5 images done, 1 failed, mean ACC 0.750, mean mIoU 0.625"
    )
    assert [row.text for row in cells(html)] == [
        "<img src=x>can't be <read>",
        "bad10.5000.250",
        "good21.0001.000",
        "free7",
    ]
    assert "img" not in parsed.tags
    assert "read" not in parsed.tags


def test_an_error_has_the_cells_that_are_left(results):
    assert '<td>&lt;img src=x&gt;</td><td colspan="3">can&#x27;t be' in results_html(results)


def test_of_many_images_the_first_hundred_are_shown(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder:
        names = [f"{number}" for number in range(250)]
        results = Results(folder, "many", names)
        results.take(Outcome(name, "", 0.1, 3) for name in names)
        html = Parsed(results_html(results))
    assert "the first 100 of 250" in html.text
    assert len(html.tags["tr"]) == 101
