import numpy as np
import pytest
import sklearn.cluster
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from attnprobe import AttnProbeError
from attnprobe.group import KMeans
from attnprobe.group.counts import by_gap
from attnprobe.group.lloyd import Means, Nearest, Space, kmeans_means, lloyd, plus_plus
from tests.group.fields import blocks, grouped, permuted, rng, thirds, uniform


def softmaxed(n, width, seed, spread=1.5):
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(n, width, generator=generator)).softmax(1)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 60), width=st.integers(2, 40), clusters=st.integers(1, 8), seed=st.integers(0)
)
def test_labels_are_scikit_learn_s_from_the_same_start(n, width, clusters, seed):
    rows = softmaxed(n, width, seed % 2**31)
    start = rows[torch.from_numpy(rng(seed).permutation(n)[:clusters])]
    theirs = sklearn.cluster.KMeans(len(start), init=start.numpy(), n_init=1).fit(rows.numpy())
    means = kmeans_means(rows, start)
    ours = Space(rows).scores(means).argmax(1).numpy()
    assert np.array_equal(ours, theirs.labels_)
    np.testing.assert_allclose(means.numpy(), theirs.cluster_centers_, atol=1e-5)


def test_empty_clusters_take_the_farthest_rows_as_in_scikit_learn():
    rows = softmaxed(40, 10, seed=1)
    start = torch.cat([rows[:2], rows.new_full((2, 10), 50.0) + torch.arange(2)[:, None]])
    theirs = sklearn.cluster.KMeans(4, init=start.numpy(), n_init=1).fit(rows.numpy())
    ours = Space(rows).scores(kmeans_means(rows, start)).argmax(1).numpy()
    assert len(np.unique(ours)) == 4
    assert adjusted_rand_score(ours, theirs.labels_) == 1


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "kl"])
def test_divergences_are_their_definitions(geometry):
    x, c = softmaxed(9, 7, seed=2), softmaxed(4, 7, seed=3)
    expected = {
        "euclidean": 0.5 * torch.cdist(x, c) ** 2,
        "cosine": 1 - torch.cosine_similarity(x[:, None], c[None], dim=2),
        "kl": (x[:, None] * (x[:, None].log() - c[None].log())).sum(2),
    }[geometry]
    torch.testing.assert_close(Space(x, geometry).divergences(c), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "kl"])
def test_steps_never_make_it_worse(geometry):
    space = Space(softmaxed(80, 30, seed=4), geometry)

    def cost(means):
        return float(space.divergences(means).amin(1).sum())

    start = space.points[:5]
    once = Means(space, 5)(space.scores(start).argmax(1), start)
    end = lloyd(space, start)
    assert cost(end) <= cost(once) * (1 + 1e-5) <= cost(start) * (1 + 2e-5)
    assert cost(end) < 0.99 * cost(start)


@settings(max_examples=60, deadline=None)
@given(
    geometry=st.sampled_from(["euclidean", "cosine", "kl"]),
    clusters=st.integers(1, 9),
    far=st.sampled_from([0.3, 0.03, 0.003]),
    seed=st.integers(0, 999),
)
def test_rows_out_of_doubt_keep_their_nearest_mean(geometry, clusters, far, seed):
    space = Space(softmaxed(200, 30, seed), geometry)
    nearest, means = Nearest(space), space.points[:clusters]
    for step in range(8):
        assert torch.equal(nearest(means), space.scores(means).argmax(1))
        means = (1 - far) * means + far * softmaxed(clusters, 30, seed + step)


def test_few_rows_are_looked_at_twice():
    space = Space(grouped(thirds(18, 20)).rows)
    nearest, means = Nearest(space), lloyd(space, space.points[::8][:3])
    nearest(means)
    doubtful = nearest._doubtful(*space.planes(means + 1e-4 * softmaxed(3, 360, 0)))
    assert len(doubtful) < 10


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "kl"])
@pytest.mark.parametrize("grid", [(6, 9), (3, 12), (1, 30)])
def test_known_groups_are_found(geometry, grid):
    groups = thirds(*grid)
    found = KMeans(clusters=3, geometry=geometry)(grouped(groups), rng=rng())
    assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) == 1
    assert found.proposals.shape == (3, *grid)
    assert found.proposals.min() >= 0


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(27)))
def test_the_order_of_tokens_does_not_matter(order):
    groups, order = thirds(3, 9), np.array(order)
    found = KMeans(clusters=3)(permuted(grouped(groups, strength=4), order), rng=rng())
    assert adjusted_rand_score(groups.ravel()[order], found.labels.ravel()) == 1


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "kl"])
def test_no_more_clusters_than_distinct_rows(geometry):
    field = blocks(4, 3, 5)
    found = KMeans(clusters=8, geometry=geometry)(field, rng=rng())
    assert found.labels.tolist() in [
        [[a] * 4 + [b] * 3 + [c] * 5] for a in range(3) for b in range(3) for c in range(3)
    ]
    assert found.count == 3
    assert KMeans(geometry=geometry)(uniform(4, 5), rng=rng()).count == 1
    assert KMeans(geometry=geometry)(uniform(1, 1), rng=rng()).labels.tolist() == [[0]]


def test_enlarging_is_kmeans_on_enlarged_rows():
    field = grouped(thirds(6, 9), noise=1.0)
    found = KMeans(clusters=3)(field, rng=rng(1))
    space = Space(field.rows)
    means = torch.stack(
        [field.rows[torch.from_numpy(found.labels.ravel() == k)].mean(0) for k in range(3)]
    )
    maps = field.rows.T.reshape(1, 54, 6, 9)
    enlarged = torch.nn.functional.interpolate(maps, scale_factor=3, mode="bilinear")
    rows = enlarged[0].flatten(1).T
    expected = torch.cdist(rows, means).argmin(1).view(18, 27).numpy()
    assert (found.resized((18, 27)).labels == expected).mean() > 0.99
    assert torch.equal(space.scores(means).argmax(1), torch.from_numpy(found.labels.ravel()).long())


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "kl"])
@pytest.mark.parametrize("clusters", [2, 3, 5])
def test_the_silhouette_finds_the_number(clusters, geometry):
    groups = np.repeat(np.arange(20)[None] * clusters // 20, 6, axis=0)
    grouper = KMeans(clusters="silhouette", geometry=geometry)
    assert grouper(grouped(groups), rng=rng()).count == clusters


def test_the_silhouette_keeps_to_its_candidates_and_leaves_a_uniform_field_whole():
    groups = np.arange(20)[None].repeat(6, axis=0) * 5 // 20
    for candidates in [(2, 3), (6, 7)]:
        grouper = KMeans(clusters="silhouette", candidates=candidates)
        assert candidates[0] <= grouper(grouped(groups), rng=rng()).count <= candidates[1]
    assert KMeans(clusters="silhouette")(uniform(5, 5), rng=rng()).count == 1


@pytest.mark.parametrize("geometry", ["euclidean", "cosine", "kl"])
@pytest.mark.parametrize("clusters", [2, 3, 5, 8])
def test_the_gap_finds_the_number(clusters, geometry):
    groups = np.repeat(np.arange(20)[None] * clusters // 20, 6, axis=0)
    grouper = KMeans(clusters="gap", geometry=geometry)
    assert grouper(grouped(groups), rng=rng()).count == clusters


def gap_statistic(points, candidates, seed):
    """Section 4 of the paper, with scikit-learn's K-Means; the box along the components."""
    dice = rng(seed)
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    low, high = (centred @ axes.T).min(0), (centred @ axes.T).max(0)
    tried = range(candidates[0], candidates[1] + 2)

    def logs(data):
        fits = [sklearn.cluster.KMeans(k, n_init=3, random_state=0).fit(data) for k in tried]
        return np.log([fit.inertia_ for fit in fits])

    drawn = [logs(dice.uniform(low, high, points.shape) @ axes) for _ in range(20)]
    gaps = np.mean(drawn, 0) - logs(points)
    errors = np.std(drawn, 0) * np.sqrt(1 + 1 / 20)
    enough = gaps[:-1] >= gaps[1:] - errors[1:]
    return tried[int(enough.argmax())]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_the_gap_s_number_is_that_of_an_implementation_with_scikit_learn(clusters, seed):
    dice = rng(seed)
    centres = 4 * np.array([(0, 0), (1, 0), (0, 1), (2, 1)])[:clusters]
    points = np.concatenate([dice.normal(c, 0.7, (40, 2)) for c in centres])
    expected = gap_statistic(points, (2, 6), seed)
    assert expected == clusters
    assert by_gap(Space(torch.from_numpy(points).float()), (2, 6), rng(seed)) == expected


def test_the_gap_keeps_to_its_candidates_and_leaves_a_uniform_field_whole():
    groups = np.arange(20)[None].repeat(6, axis=0) * 5 // 20
    for candidates in [(2, 3), (4, 4), (6, 7)]:
        grouper = KMeans(clusters="gap", candidates=candidates)
        assert candidates[0] <= grouper(grouped(groups), rng=rng()).count <= candidates[1]
    assert KMeans(clusters="gap")(uniform(5, 5), rng=rng()).count == 1
    assert KMeans(clusters="gap")(uniform(1, 1), rng=rng()).count == 1
    assert KMeans(clusters="gap")(blocks(4, 3, 5), rng=rng()).count == 3


def test_numbers_are_compared_on_a_subset():
    groups = np.repeat(np.arange(32)[None] * 4 // 32, 24, axis=0)  # 768 tokens
    for clusters in ("gap", "silhouette"):
        found = KMeans(clusters=clusters, candidates=(2, 6))(grouped(groups), rng=rng())
        assert adjusted_rand_score(groups.ravel(), found.labels.ravel()) == 1


def test_the_true_number_leaves_void_out():
    field = grouped(thirds(6, 9))
    truth = np.array([[-1, 7, 7], [2, 9, -1]])
    assert KMeans(clusters="truth")(field, rng=rng(), truth=truth).count == 3
    assert KMeans(clusters="truth")(field, rng=rng(), truth=np.full((2, 2), -1)).count == 1
    with pytest.raises(AttnProbeError, match="KMeans: clusters is 'truth', but this image comes"):
        KMeans(clusters="truth")(field, rng=rng())


def test_starts_are_distinct_rows_drawn_by_the_generator_alone():
    rows = softmaxed(50, 20, seed=5)
    first, second = (plus_plus(Space(rows), 6, rng(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert len(first.unique(dim=0)) == 6
    assert (first[:, None] == rows).all(2).any(1).all()
    assert not torch.equal(first, plus_plus(Space(rows), 6, rng(4)))


@settings(deadline=None)
@given(st.data())
def test_there_are_as_many_starts_as_distinct_rows(data):
    """However near they lie, whatever their size, and each once."""
    geometry = data.draw(st.sampled_from(["euclidean", "cosine", "kl"]))
    distinct, width = data.draw(st.integers(1, 8)), data.draw(st.sampled_from([2, 5, 64]))
    scale, shift = data.draw(st.sampled_from([(1, 0), (1e-4, 1), (1e-7, 1 / width), (1e3, 0)]))
    values = np.random.default_rng(data.draw(st.integers(0, 99))).random((distinct, width))
    again = data.draw(st.lists(st.integers(0, distinct - 1), max_size=30))
    rows = torch.from_numpy((values * scale + shift).astype(np.float32))[[*range(distinct), *again]]
    space = Space(rows, geometry)
    wanted = data.draw(st.integers(1, 12))
    starts = plus_plus(space, wanted, rng(0))
    assert len(starts) == min(wanted, len(space.points.unique(dim=0)))
    assert len(starts.unique(dim=0)) == len(starts)
    assert (starts[:, None] == space.points).all(2).any(1).all()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"clusters": 0}, "KMeans.clusters: .*greater than or equal to 1"),
        ({"clusters": "many"}, "KMeans.clusters: "),
        ({"geometry": "l1"}, "KMeans.geometry: .*'euclidean', 'cosine' or 'kl'"),
        ({"candidates": (5, 2)}, "KMeans.candidates: .*least must not be over the most"),
    ],
)
def test_bad_parameters(parameters, message):
    with pytest.raises(AttnProbeError, match=message):
        KMeans(**parameters)


def test_labels_of_a_large_field_are_scikit_learn_s():
    """On 4096 rows of 4096, K = 6, from the same start."""
    rows = grouped(thirds(64, 64) + 3 * thirds(64, 64).T, noise=1.0, strength=0.6).rows
    start = rows[::700][:6]
    means = kmeans_means(rows, start)
    other = sklearn.cluster.KMeans(6, init=start.numpy(), n_init=1).fit(rows.numpy())
    assert (Space(rows).scores(means).argmax(1).numpy() == other.labels_).mean() > 0.999
