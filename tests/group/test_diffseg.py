from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from attnprobe import AttentionField, AttnProbeError
from attnprobe.aggregate import Multiscale
from attnprobe.distances import symmetric_kl
from attnprobe.errors import SettingWarning
from attnprobe.group import DiffSeg
from attnprobe.group.diffseg import anchor_positions, anchor_tokens, token_rank
from attnprobe.testing import check_grouper
from tests.golden.fields import attention

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = (0, 1, 4, 5)


def golden_fields(case) -> list[AttentionField]:
    return [
        AttentionField(rows=attention(case[f"feat{s}"], float(case["sharp"])), grid=(s, s))
        for s in (64, 32, 16, 8)
    ]


def by_appearance(labels: np.ndarray) -> np.ndarray:
    """Renumber labels by the order in which they first occur."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].reshape(labels.shape)


@pytest.fixture(scope="module", params=CASES)
def golden(request):
    case = np.load(GOLDEN / f"case{request.param}.npz")
    return case, Multiscale()(golden_fields(case))


def test_aggregated_values_of_the_released_program(golden):
    case, field = golden
    index = torch.from_numpy(case["agg_idx"].astype(np.int64)).unbind(1)
    values = field.rows.view(64, 64, 64, 64)[index].numpy()
    np.testing.assert_allclose(values, case["agg_val"], rtol=1e-6)


def test_labels_of_the_released_program(golden):
    case, field = golden
    thresholds = tuple(float(t) for t in np.atleast_1d(case["tau"]))
    grouper = DiffSeg(
        anchors=int(case["num_points"]), thresholds=thresholds, refine=bool(case["refine"])
    )
    labels = grouper(field).resized((512, 512)).labels
    equal = by_appearance(labels) == by_appearance(case["labels"])
    assert equal.mean() >= 0.997


@pytest.mark.parametrize(
    ("side", "anchors", "expected"),
    [
        (64, 16, list(range(1, 62, 4))),
        (32, 16, list(range(0, 31, 2))),
        (5, 1, [2]),
        (1, 16, [0]),
        (3, 16, [0, 1, 2]),
    ],
)
def test_anchor_positions(side, anchors, expected):
    assert anchor_positions(side, anchors).tolist() == expected


def softmaxed(height, width, seed=0):
    n = height * width
    logits = 2 * torch.randn(n, n, generator=torch.Generator().manual_seed(seed))
    return AttentionField(logits.softmax(1), (height, width))


def test_token_rank_is_the_stationary_distribution():
    rows = softmaxed(5, 8).rows
    values, vectors = np.linalg.eig(rows.double().numpy().T)
    expected = vectors[:, values.real.argmax()].real
    np.testing.assert_allclose(token_rank(rows), expected / expected.sum(), atol=1e-5)


def test_token_rank_of_a_chain_that_goes_round_is_even():
    rows = torch.eye(6).roll(1, 1)
    assert token_rank(rows).allclose(torch.full((6,), 1 / 6))


def test_anchors_by_token_rank_and_at_random():
    field = softmaxed(5, 8)
    ranked = anchor_tokens(field, 3, "tokenrank", None)
    assert set(ranked.tolist()) == set(token_rank(field.rows).topk(9).indices.tolist())
    drawn = [anchor_tokens(field, 3, "random", np.random.default_rng(s)) for s in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len(drawn[0].unique()) == 9
    for places in ("grid", "random", "tokenrank"):
        tokens = anchor_tokens(field, 9, places, np.random.default_rng(0))
        assert sorted(tokens.tolist()) == list(range(40))
    with pytest.raises(AttnProbeError, match="random needs a generator; call it with rng"):
        DiffSeg(places="random")(field)


@pytest.mark.parametrize("places", ["random", "tokenrank"])
def test_the_contract_holds_wherever_anchors_lie(places):
    check_grouper(DiffSeg(places=places, min_area=3, thresholds=(0.5, 0.5)))


def test_small_proposals_lose_their_tokens_to_the_next_best():
    field = softmaxed(6, 6)
    grouper = DiffSeg(anchors=6, thresholds=(0.1,))
    whole = grouper(field)
    sizes = np.bincount(whole.labels.ravel(), minlength=36)
    assert sizes.min() < 2 <= sizes.max()
    found = replace(grouper, min_area=2)(field)
    assert np.bincount(found.labels.ravel())[np.unique(found.labels)].min() >= 2
    kept = whole.proposals[torch.from_numpy(sizes >= 2)]
    assert torch.equal(found.proposals, kept)
    assert replace(grouper, min_area=99)(field).count == 1


def test_symmetric_kl_is_its_definition():
    x, y = (torch.rand(n, 30, dtype=torch.float64).add(0.01) for n in (4, 6))
    x, y = x / x.sum(1, keepdim=True), y / y.sum(1, keepdim=True)
    difference = x[:, None] - y[None]
    expected = 0.5 * (difference * (x.log()[:, None] - y.log()[None])).sum(-1)
    torch.testing.assert_close(symmetric_kl(x, y), expected)


def released_merge(maps, thresholds, anchors, reuse):
    """The method as the page has it, one pair at a time, in float64."""

    def distance(a, b):
        return 0.5 * ((a - b) * (np.log(a) - np.log(b))).sum()

    proposals = [
        np.mean([m for m in maps if distance(a, m) < thresholds[0]], axis=0) for a in anchors
    ]
    for threshold in thresholds[1:]:
        used, merged = set(), []
        for i, proposal in enumerate(proposals):
            if i in used:
                continue
            near = [j for j, q in enumerate(proposals) if distance(proposal, q) < threshold]
            near = near if reuse else [j for j in near if j not in used]
            used.update(near)
            merged.append(np.mean([proposals[j] for j in near], axis=0))
        proposals = merged
    return np.array(proposals)


@pytest.mark.parametrize("variant", ["released", "paper"])
@pytest.mark.parametrize("grid", [(6, 6), (4, 9), (1, 7)])
def test_merging_equals_a_loop_over_pairs(variant, grid):
    generator = torch.Generator().manual_seed(3)
    n = grid[0] * grid[1]
    centres = torch.randn(3, n, generator=generator)
    owner = torch.randint(3, (n,), generator=generator)
    logits = 1.2 * centres[owner] + 0.5 * torch.randn(n, n, generator=generator)
    field = AttentionField(logits.softmax(1), grid)
    thresholds = (0.9, 0.35, 0.5)
    places = [anchor_positions(side, 3) for side in grid]
    maps = field.rows.double().numpy()
    anchors = [maps[y * grid[1] + x] for y in places[0].tolist() for x in places[1].tolist()]
    expected = released_merge(maps, thresholds, anchors, reuse=variant == "released")
    segmentation = DiffSeg(anchors=3, thresholds=thresholds, variant=variant)(field)
    proposals = segmentation.proposals.flatten(1).numpy()
    assert len(proposals) == len(expected)
    np.testing.assert_allclose(proposals, expected, rtol=1e-5)


def test_the_variants_differ():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 64, generator=generator)
    field = AttentionField(logits.softmax(1), (8, 8))
    thresholds = (0.7, 0.1, 0.1)
    released, paper = (
        DiffSeg(anchors=8, thresholds=thresholds, variant=v)(field).proposals
        for v in ("released", "paper")
    )
    assert released.shape != paper.shape or not torch.equal(released, paper)


def test_uniform_field_is_one_segment():
    field = AttentionField(torch.full((36, 36), 1 / 36), (6, 6))
    assert DiffSeg()(field).count == 1


def test_maps_with_exact_zeros_stay_apart():
    """Distances to such rows are NaN: no anchor collects any, and each stays itself."""
    field = AttentionField(torch.eye(16), (4, 4))
    assert DiffSeg(anchors=4)(field).count == 16


def test_the_field_is_not_changed():
    rows = torch.rand(36, 36, generator=torch.Generator().manual_seed(0))
    field = AttentionField(rows / rows.sum(1, keepdim=True), (6, 6))
    before = field.rows.clone()
    DiffSeg(refine=True, anchors=3, thresholds=(0.3,))(field)
    assert torch.equal(field.rows, before)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"anchors": 0}, "DiffSeg.anchors: .*greater than or equal to 1. Got 0 instead"),
        ({"thresholds": ()}, "DiffSeg.thresholds: .*at least 1 item"),
        ({"thresholds": (1.0, -1.0)}, r"DiffSeg.thresholds\[1\]: .*greater than 0"),
        ({"variant": "other"}, "DiffSeg.variant: .*'released' or 'paper'"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        DiffSeg(**parameters)


def test_a_number_is_the_threshold_of_all_three_passes():
    field = golden_fields(np.load(GOLDEN / "case0.npz"))
    aggregated = Multiscale()(field)
    one, three = DiffSeg(thresholds=1.1), DiffSeg(thresholds=(1.1, 1.1, 1.1))
    assert one.passes == three.passes == (1.1, 1.1, 1.1)
    assert np.array_equal(one(aggregated).labels, three(aggregated).labels)


def test_a_single_pass_is_allowed_and_told():
    with pytest.warns(SettingWarning, match="one pass, which merges no proposals; the number 0.9"):
        single = DiffSeg(thresholds=(0.9,))
    assert single.passes == (0.9,)
